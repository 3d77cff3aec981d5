"""A synthetic chest CT whose truth is known exactly, to try and test the software with."""

from monai_lung.phantom.files import write_phantom
from monai_lung.phantom.make import Phantom, make_phantom
from monai_lung.phantom.nodules import TrueNodule
from monai_lung.phantom.shapes import Contour, PhantomNodule, parse_nodule, read_contour
from monai_lung.phantom.spec import PhantomSpec

__all__ = [
    "Contour",
    "Phantom",
    "PhantomNodule",
    "PhantomSpec",
    "TrueNodule",
    "make_phantom",
    "parse_nodule",
    "read_contour",
    "write_phantom",
]
