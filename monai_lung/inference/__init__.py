"""The networks at work: `find`, `delineate`, `rate`. Each takes a CT and what the stage before found."""

from monai_lung.inference.delineate import delineate, within_lungs
from monai_lung.inference.find import find
from monai_lung.inference.networks import Networks, load_networks
from monai_lung.inference.rate import rate, rate_likely

__all__ = ["Networks", "delineate", "find", "load_networks", "rate", "rate_likely", "within_lungs"]
