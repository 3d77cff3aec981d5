"""Which kernels are soft and which sharp, by the names that the vendors give them."""

import pytest

from monai_lung.io.kernels import Sharpness, sharpness

SOFT = ("B10f", "B30f", "B31s", "Br40d", "Br40d\\3", "I30f", "I31f\\3", "J30s", "D30f", "Qr40", "Hr38")
SOFT += (
    "FC08",
    "FC13",
    "FC18",
    "FC03",
    "SOFT",
    "STANDARD",
    "STND",
    "Soft Tissue",
    "B",
    "A",
    "C",
    "B_SOFT_B",
    "Routine",
)
SHARP = ("B50f", "B70f", "B80s", "Bl57d", "Br64", "I70f", "I80s\\5", "J70h", "Qr69", "U90u", "FC30", "FC51", "FC55")
SHARP += ("FC86", "LUNG", "BONE", "BONEPLUS", "EDGE", "ULTRA", "HRES", "D", "E", "L", "YB", "EC", "LUNG_C", "B_SHARP_C")
BETWEEN = ("", "B46f", "DETAIL", "CHST", "Br49", "something", "12")


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        *((name, Sharpness.SOFT) for name in SOFT),
        *((name, Sharpness.SHARP) for name in SHARP),
        *((name, Sharpness.BETWEEN) for name in BETWEEN),
    ],
)
def test_kernels_of_each_vendor(kernel, expected):
    assert sharpness(kernel) is expected
