"""`python tools/monai_deploy/app -i FOLDER -o FOLDER`, as MONAI Deploy starts an application."""

import logging
import sys

from app import run

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    sys.exit(run())
