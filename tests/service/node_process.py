"""A node with the stub's analysis: `node_process.py CONFIG`, until a signal."""

from __future__ import annotations

import sys
from pathlib import Path

import stub_analysis

from monai_lung.service import log
from monai_lung.service.config import read_config
from monai_lung.service.node import serve

if __name__ == "__main__":
    log.set_up()
    serve(read_config(Path(sys.argv[1])), stub_analysis.make_stub)
