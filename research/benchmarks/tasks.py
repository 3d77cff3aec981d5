"""The measured tasks: one row for each, in the order in which they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from research.benchmarks.inputs import NODULES, SLICES

STUDIES = 3
SECTIONS = {
    "start": "Start-up",
    "limit": "What the machine can do",
    "whole": "The whole way",
    "read": "Reading",
    "lungs": "Lungs",
    "networks": "Networks over a whole CT",
    "totalsegmentator": "TotalSegmentator without its networks",
    "slices": "Scaling with slices",
    "nodules": "Scaling with nodules",
    "threads": "Scaling with threads",
    "studies": "Scaling with studies",
}


@dataclass(frozen=True)
class Task:
    """One row.

    Attributes:
        name: of its result.
        section: of the page, a key of `SECTIONS`.
        label: in the page's tables.
        call: "module:function" of this package; takes a `child.Job`, gives a `child.Run`.
        given: its input, a name that `inputs.find_input` knows; "" for none.
        repeats: runs after the first.
        limit_s: no further run is begun that would end later than this many seconds of runs.
        peer: runs in the peers' environment.
        threads: None takes all cores.
        quick: whether it belongs to a quick run.
        devices: where it makes sense.
        options: of the call.
    """

    name: str
    section: str
    label: str
    call: str
    given: str = "scan"
    repeats: int = 3
    limit_s: float = 30.0
    peer: bool = False
    threads: int | None = None
    quick: bool = True
    devices: tuple[str, ...] = ("cpu", "cuda")
    options: Mapping[str, Any] = field(default_factory=dict)


def _start() -> list[Task]:
    rows = [
        ("python", "`python -c ''`, to compare with", "bare_python"),
        ("import", '`python -c "import monai_lung"`', "import_package"),
        ("help", "`monai-lung --help`", "help_command"),
        ("import-networks", "torch, MONAI and the four networks loaded", "import_networks"),
    ]
    return [Task(name, "start", label, f"own:{call}", "", 3) for name, label, call in rows]


def _limit() -> list[Task]:
    conv, product = "limits:convolutions", "limits:products"
    one: dict[str, Any] = {"repeats": 0, "limit_s": 60.0}
    single, half = {"dtype": "float32"}, {"dtype": "bfloat16"}
    return [
        Task("conv-fp32", "limit", "3D convolutions, float32", conv, "", options=single, **one),
        Task("conv-bf16", "limit", "3D convolutions, bfloat16", conv, "", options=half, **one),
        Task("product-fp32", "limit", "matrix product, float32", product, "", options=single, **one),
        Task("product-bf16", "limit", "matrix product, bfloat16", product, "", devices=("cuda",), options=half, **one),
        Task("memory", "limit", "memory, copying 256 MB", "limits:memory", "", **one),
        Task("disk", "limit", "disk, the scan's files", "limits:disk", **one),
        Task("decoder", "limit", "JPEG-LS decoding, one thread", "limits:decoder", "packed", repeats=1),
    ]


def _whole() -> list[Task]:
    return [
        Task("whole", "whole", "whole way, in a process that stays", "own:whole", repeats=3, limit_s=60),
        Task("command", "whole", "`monai-lung analyze`", "own:analyze_command", repeats=1, limit_s=60),
    ]


def _read() -> list[Task]:
    pydicom, itk = {"reader": "PydicomReader"}, {"reader": "ITKReader"}
    chain: dict[str, Any] = {"call": "readers:monai_resampled", "repeats": 1}
    return [
        Task("read-own", "read", "**monai-lung `read_ct`**", "readers:own", repeats=7),
        Task("read-sitk", "read", "SimpleITK `ImageSeriesReader`", "readers:simple_itk", repeats=7),
        Task("read-pydicom", "read", "pydicom, a page of code", "readers:bare_pydicom", repeats=5),
        Task("read-monai-pydicom", "read", "MONAI `LoadImage`, PydicomReader", "readers:monai", options=pydicom),
        Task("read-monai-itk", "read", "MONAI `LoadImage`, ITKReader", "readers:monai", options=itk, peer=True),
        Task("resample-own", "read", "**monai-lung, read and resample**", "readers:own_resampled", repeats=5),
        Task("resample-pydicom", "read", "MONAI chain, PydicomReader", options=pydicom, **chain),
        Task("resample-itk", "read", "MONAI chain, ITKReader", options=itk, peer=True, **chain),
        Task("packed-own", "read", "**monai-lung `read_ct`**, JPEG-LS files", "readers:own", "packed"),
        Task("packed-sitk", "read", "SimpleITK, JPEG-LS files", "readers:simple_itk", "packed"),
        Task("packed-pydicom", "read", "pydicom, JPEG-LS files", "readers:bare_pydicom", "packed", repeats=0),
    ]


def _peers() -> list[Task]:
    once: dict[str, Any] = {"repeats": 0, "peer": True, "limit_s": 0.0}
    return [
        Task("lungs-own", "lungs", "**monai-lung `segment_lungs`**", "own:lungs", repeats=7),
        Task("lungmask", "lungs", "lungmask R231, random weights", "peers:lungmask", **once),
        Task("find-own", "networks", "**monai-lung, finding stage**", "naive:find_stage", repeats=3),
        Task("find-whole", "networks", "the same network, whole volume at once", "naive:whole_volume", repeats=1),
        Task("find-grid", "networks", "the same network, windows over all", "naive:window_grid", repeats=0),
        Task("nnunet", "networks", "nnU-Net-like at 1.5 mm, random weights", "peers:nnunet_like", **once),
        Task("retinanet", "networks", "MONAI's RetinaNet detector, random weights", "detection:retinanet", **once),
        Task("total-read", "totalsegmentator", "DICOM to NIfTI", "total_segmentator:read", **once),
        Task("total-resample", "totalsegmentator", "to 1.5 mm", "total_segmentator:resample", **once),
        Task("total-back", "totalsegmentator", "117 labels back", "total_segmentator:resample_back", **once),
        Task("total-post", "totalsegmentator", "small pieces removed", "total_segmentator:postprocess", **once),
    ]


def _scaling() -> list[Task]:
    once: dict[str, Any] = {"repeats": 0, "quick": False}
    rows = [Task(f"slices-{n}", "slices", f"{n}", "own:whole", f"slices-{n}", **once) for n in SLICES]
    rows += [Task("thin-1000", "slices", "1000 of 0.7 mm", "own:whole", "thin-1000", **once)]
    rows += [Task(f"nodules-{n}", "nodules", f"{n}", "own:whole", f"nodules-{n}", **once) for n in NODULES]
    rows += [Task(f"threads-{n}", "threads", f"{n}", "own:whole", threads=n, repeats=0) for n in (1, 2)]
    return [*rows, Task("studies", "studies", "", "own:studies", repeats=0, options={"count": STUDIES})]


TASKS = (*_start(), *_limit(), *_whole(), *_read(), *_peers(), *_scaling())
"""Every task."""


def chosen(device: str, *, quick: bool) -> list[Task]:
    """The tasks of a run, in order."""
    return [t for t in TASKS if device in t.devices and not (quick and (t.peer or not t.quick))]
