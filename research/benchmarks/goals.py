"""The goals, beside the figures reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from research.benchmarks.figures import Results, conv_peak, network_rate, part, ratio, typical

NAMES = ("find", "delineate", "rate", "malignancy")


@dataclass(frozen=True)
class Goal:
    """One aim.

    Attributes:
        text: what is asked.
        bound: of the value; `most` says which side.
        unit: of both.
        value: of the results, None where something wasn't measured.
        most: the value must not be more than the bound; else not less.
        devices: where it is asked.
    """

    text: str
    bound: float
    unit: str
    value: Callable[[Results], float | None]
    most: bool = True
    devices: tuple[str, ...] = ("cpu",)

    def reached(self, results: Results) -> bool | None:
        """Whether it is reached, None where it wasn't measured."""
        value = self.value(results)
        return None if value is None else (value <= self.bound if self.most else value >= self.bound)


def _seconds(task: str) -> Callable[[Results], float | None]:
    return lambda results: typical(results, task)


def _peak_mb(task: str) -> Callable[[Results], float | None]:
    return lambda results: results.get(task, {}).get("peak_mb")


def _times(slow: str, fast: str) -> Callable[[Results], float | None]:
    return lambda results: ratio(typical(results, slow), typical(results, fast))


def _of_conv_peak(results: Results) -> float | None:
    share = ratio(network_rate(results, NAMES), conv_peak(results))
    return None if share is None else 100 * share


def _of_matrix_peak(results: Results) -> float | None:
    share = ratio(network_rate(results, NAMES), part(results, "product-bf16", "peak_gflops"))
    return None if share is None else 100 * share


BOTH = ("cpu", "cuda")
GOALS = (
    Goal("lungs, against lungmask R231", 50, "x", _times("lungmask", "lungs-own"), most=False, devices=BOTH),
    Goal("whole way, against an nnU-Net-like network over the CT", 20, "x", _times("nnunet", "whole"), most=False),
    Goal("reading, against MONAI's PydicomReader", 6, "x", _times("read-monai-pydicom", "read-own"), most=False),
    Goal("reading, against MONAI's ITKReader", 6, "x", _times("read-monai-itk", "read-own"), most=False),
    Goal("reading, against SimpleITK's series reader", 1, "x", _times("read-sitk", "read-own"), most=False),
    Goal("whole way after imports", 6, "s", _seconds("whole")),
    Goal("whole way as a command", 9, "s", _seconds("command")),
    Goal("memory of the command", 1500, "MB", _peak_mb("command")),
    Goal("lungs", 0.7, "s", _seconds("lungs-own")),
    Goal("networks, of the convolution peak", 50, "%", _of_conv_peak, most=False),
    Goal("memory at 1,000 slices of 0.7 mm", 3000, "MB", _peak_mb("thin-1000")),
    Goal("`import monai_lung`", 0.5, "s", _seconds("import"), devices=BOTH),
    Goal("`monai-lung --help`", 0.3, "s", _seconds("help"), devices=BOTH),
    Goal("whole way after load", 1.5, "s", _seconds("whole"), devices=("cuda",)),
    Goal("networks, of the bf16 matrix peak", 35, "%", _of_matrix_peak, most=False, devices=("cuda",)),
)
