"""Findings in words: numbers with as many digits as they are worth, and their units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from monai_lung.model import Advice, Growth, Measurements, Nodule, Point, Rating

GUIDELINE_TITLES = {
    "lung_rads_2022": "Lung-RADS v2022",
    "fleischner_2017": "Fleischner 2017",
    "brock": "Brock",
}
"""In the order in which they are shown."""

UNKNOWN = "unknown"

_DIRECTIONS = ("RL", "AP", "IS")
_UNITS = {"mm": "mm", "mm3": "mm³", "ml": "ml", "hu": "HU", "days": "days", "percent": "%"}
_SHOWN_ITEMS = 6


def number(value: float | None, decimals: int = 1) -> str:
    """A number with fixed decimals; "unknown" for None and what isn't finite."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value:.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def percent(probability: float | None) -> str:
    """A probability in 0 ... 1 as per cent: whole, with one decimal below 10 %."""
    if probability is None or not math.isfinite(probability):
        return UNKNOWN
    return f"{100 * probability:.{0 if probability >= 0.1 else 1}f} %"


def interval(low: float, high: float) -> str:
    """A range of probabilities."""
    return f"{percent(low).removesuffix(' %')}–{percent(high)}"


def malignancy(rating: Rating) -> str:
    """The calibrated probability with its interval."""
    return f"{percent(rating.malignancy_probability)} ({interval(*rating.malignancy_interval)})"


def volume(mm3: float | None) -> str:
    """A volume: whole mm3, from 10 ml up in ml."""
    if mm3 is None or not math.isfinite(mm3):
        return UNKNOWN
    return f"{mm3 / 1000:.1f} ml" if mm3 >= 10_000 else f"{mm3:.0f} mm³"


def axes(measurements: Measurements) -> str:
    """Long by short axis."""
    return f"{number(measurements.long_axis_mm)} × {number(measurements.short_axis_mm)} mm"


def position(measurements: Measurements) -> str:
    """Side and third."""
    if measurements.side is None:
        return "place in the lungs unknown"
    return f"{measurements.side} lung, {measurements.third} third"


def point(point_mm: Point) -> str:
    """An LPS position with the direction instead of a sign, as "56.0 L, 86.0 P, 116.0 I"."""
    parts = (
        f"{abs(value):.1f} {names[value >= 0]}" if math.isfinite(value) else UNKNOWN
        for value, names in zip(point_mm, _DIRECTIONS, strict=True)
    )
    return ", ".join(parts)


def along(plane: str, first_mm: Point, spacing_mm: float, index: int) -> str:
    """Where a slice of a box lies, as "116.0 mm I"."""
    axis = ("sagittal", "coronal", "axial").index(plane)
    mm = first_mm[axis] + index * spacing_mm
    return f"{abs(mm):.1f} mm {_DIRECTIONS[axis][mm >= 0]}"


def measurements(m: Measurements) -> list[tuple[str, str]]:
    """All sizes, as terms and values."""
    low, high = m.hu_percentiles[0], m.hu_percentiles[-1]
    lines = [
        ("Long × short axis", axes(m)),
        ("Mean diameter", f"{number(m.mean_diameter_mm)} mm"),
        ("Largest 3D diameter", f"{number(m.max_diameter_3d_mm)} mm"),
        ("Volume", volume(m.volume_mm3)),
        ("Sphere of that volume", f"{number(m.equivalent_diameter_mm)} mm"),
        ("Texture", m.texture),
        ("Mean HU (5–95 %)", f"{number(m.mean_hu, 0)} ({number(low, 0)} to {number(high, 0)})"),
    ]
    if m.texture == "part-solid":
        solid = f"{number(m.solid_diameter_mm)} mm, {volume(m.solid_volume_mm3)}"
        lines.append(("Solid part", solid if m.solid_volume_mm3 else "too small to be measured"))
    if m.pleura_distance_mm is not None:
        touches = m.pleura_distance_mm <= 0
        lines.append(("Pleura", "touches" if touches else f"{number(m.pleura_distance_mm)} mm away"))
    lines.append(("Centre (LPS)", f"{point(m.center_mm)} mm"))
    return lines


def seconds(timing_s: Mapping[str, float]) -> list[tuple[str, str]]:
    """Time of each stage, and of all together."""
    lines = [(stage, f"{number(value)} s") for stage, value in timing_s.items()]
    return [*lines, ("all", f"{number(sum(timing_s.values()))} s")] if lines else []


def category(advice: Advice) -> str:
    """What goes into a table: the category, its alternatives by risk, or Brock's probability."""
    if advice.category is not None:
        return advice.category.replace("-", " ") + advice.modifier
    if advice.probability is not None:
        return percent(advice.probability)
    if advice.probability_range is not None:
        return interval(*advice.probability_range)
    if advice.by_risk:
        return " / ".join(dict.fromkeys(advice.by_risk.values()))
    return "needs " + (words(advice.missing[-1]) if len(advice.missing) == 1 else "more input")


def by_risk(advice: Advice) -> str:
    """What each risk would mean, as "low: F2, high: F3"; "" where it makes no difference."""
    return ", ".join(f"{risk}: {code}" for risk, code in advice.by_risk.items())


def words(name: str) -> str:
    """A field's name without its unit, as words."""
    stem, _, unit = name.rpartition("_")
    return (stem if unit in _UNITS and stem else name).replace("_", " ")


def named(name: str, value: object) -> str:
    """A field with its value and unit: ("mean_mm", 6.5) is "mean 6.5 mm"."""
    unit = _UNITS.get(name.rpartition("_")[2], "") if "_" in name else ""
    return f"{words(name)} {_value(value)} {unit}".rstrip()


def rule(advice: Advice) -> str:
    """The cell that fired."""
    return advice.rule.replace(">=", "≥").replace("<=", "≤")


def inputs(advice: Advice) -> str:
    """What went into an advice, in one line; what isn't known is left to `missing`."""
    return ", ".join(named(name, value) for name, value in _flat(advice.inputs) if value is not None)


def missing(advice: Advice) -> str:
    """What would have been needed, in one line."""
    return ", ".join(words(name) for name in advice.missing)


def _flat(values: Mapping[str, object]) -> list[tuple[str, object]]:
    """Scalars of a mapping and of the mappings in its lists, the latter only where there is one."""
    flat: list[tuple[str, object]] = []
    for name, value in values.items():
        if isinstance(value, Sequence) and not isinstance(value, str) and value and isinstance(value[0], Mapping):
            flat += list(value[0].items()) if len(value) == 1 else [(name, len(value))]
        else:
            flat.append((name, value))
    return flat


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    if isinstance(value, Sequence) and not isinstance(value, str):
        more = ", …" if len(value) > _SHOWN_ITEMS else ""
        return ", ".join(_value(v) for v in value[:_SHOWN_ITEMS]) + more
    return str(value)


def growth(change: Growth) -> list[tuple[str, str]]:
    """A nodule against the prior, as terms and what is said of each (without sizes)."""
    lines: list[tuple[str, str]] = [("Status", change.status)]
    if change.volume_change_percent is not None:
        lines.append(("Volume change", f"{change.volume_change_percent:+.0f} %".replace("-", "\N{MINUS SIGN}")))
    if change.doubling_days is not None:
        lines.append(("Doubling time", f"{number(change.doubling_days, 0)} days"))
    if change.interval_days is not None:
        lines.append(("Interval", f"{change.interval_days} days"))
    return lines


def heading(nodule: Nodule) -> str:
    """A nodule in one line."""
    m = nodule.measurements
    return f"{m.texture.capitalize()}, {number(m.mean_diameter_mm)} mm, {position(m)}"
