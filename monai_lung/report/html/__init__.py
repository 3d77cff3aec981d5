"""`report.html`: everything of one case on one page, in one file that asks for nothing else."""

from monai_lung.report.html.page import write

__all__ = ["write"]
