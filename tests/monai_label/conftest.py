"""The app's own modules, those that need no MONAI Label."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "monai_label" / "app"))
