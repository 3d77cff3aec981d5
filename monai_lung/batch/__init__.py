"""Any function over many cases: in this process, in a few of this machine, or on a Ray cluster."""

from monai_lung.batch.work import Result, Work, attempt, in_order

__all__ = ["Result", "Work", "attempt", "in_order"]
