"""How soft or sharp a CT was reconstructed, by the name of its kernel: one table of families, a row a vendor's group.

DICOM has no code for it: ConvolutionKernel (0018,1210) holds the vendor's own name. Siemens gives the strength of its
iterative reconstruction as a second value, which doesn't count here.

Sources:
- Siemens: SOMATOM Sensation, operating instructions A60, p. 316 (B10 to B40 soft to standard, B50 to B80 for higher
  sharpness; an ending of s or f is the rotation's); Physics Pulse "Siemens CT reconstruction kernels"
  (diagnosticradphys.com, 2025): families B, H, Q, U and their subgroups, a number that rises with the sharpness.
  I and J are the B and H of the iterative SAFIRE, D of dual energy.
- GE, Philips: Matsumoto et al., Proc. SPIE 6510 (2007), in the order of their sharpness: soft, standard, lung, bone,
  bone plus; B, C, D, E, L. Strub et al., AJR 189:W115 (2007): bone and lung are GE's kernels of high resolution.
  Data dictionary of the NLST: Philips C is a soft kernel, D one of the lung.
- Canon (Toshiba): Journal of the Korean Society of Radiology 2018 (FC13 of soft tissue, FC55 of the lung); BRIDG 5.3.1
  (FC03 of soft tissue); NLST: FC10 soft, FC30 and FC50 to FC82 of bone and lung.
"""

from __future__ import annotations

import re
from enum import IntEnum


class Sharpness(IntEnum):
    """Of a kernel; an unknown kernel ranks between soft and sharp."""

    SOFT = 0
    BETWEEN = 1
    SHARP = 2


SIEMENS_STANDARD, SIEMENS_SHARP = 44, 50
"""The highest number of a soft or standard kernel, and the lowest of a sharp one."""

_SIEMENS = re.compile(r"(?:[BHQU][RFLVCPABDET]?|[CDIJSTVY])(\d\d)[A-Z]{0,2}")
_FAMILIES: tuple[tuple[str, re.Pattern[str], Sharpness], ...] = (
    ("Canon bone, lung", re.compile(r"FC[3578]\d.*"), Sharpness.SHARP),
    ("Canon body, head", re.compile(r"FC[01246]\d.*"), Sharpness.SOFT),
    ("Philips lung, bone", re.compile(r"[DEL]|Y[A-D]|E[A-C]"), Sharpness.SHARP),
    ("Philips body", re.compile(r"[ABC]"), Sharpness.SOFT),
    ("GE, and words of all", re.compile(r".*(?:LUNG|BONE|EDGE|SHARP|ULTRA|HRES|HI[-_ ]?RES).*"), Sharpness.SHARP),
    ("GE, and words of all", re.compile(r".*(?:DETAIL|CHST|CHEST).*"), Sharpness.BETWEEN),
    ("GE, and words of all", re.compile(r".*(?:SOFT|SMOOTH|STANDARD|STND|STD|ROUTINE).*"), Sharpness.SOFT),
)


def sharpness(kernel: str) -> Sharpness:
    """Of the kernel that a header names, several values with a backslash between them."""
    name = kernel.split("\\")[0].strip().upper()
    for _, pattern, answer in _FAMILIES:
        if pattern.fullmatch(name):
            return answer
    siemens = _SIEMENS.fullmatch(name)
    if not siemens:
        return Sharpness.BETWEEN
    number = int(siemens[1])
    if number <= SIEMENS_STANDARD:
        return Sharpness.SOFT
    return Sharpness.SHARP if number >= SIEMENS_SHARP else Sharpness.BETWEEN
