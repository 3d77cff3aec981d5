from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for the builder beside this file
from page_browser import browser, open_report  # noqa: F401
from report_builder import assert_dicom_valid, make_report  # noqa: F401
