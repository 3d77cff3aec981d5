"""Findings in words: numbers with as many digits as they are worth, and their units."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence

from monai_lung.clinical.guidelines.fleischner_texts import describe
from monai_lung.clinical.rounding import round_half_up
from monai_lung.model import Advice, Growth, Measurements, Nodule, Point, Rating, Report

GUIDELINE_TITLES = {
    "lung_rads_2022": "Lung-RADS v2022",
    "fleischner_2017": "Fleischner 2017",
    "brock": "Brock",
}

UNKNOWN = "unknown"

LEAST, MOST = 0.01, 0.95
"""Probabilities beyond these are shown as "< 1 %" and "> 95 %"."""

_UNITS = {"mm": "mm", "mm3": "mm³", "ml": "ml", "hu": "HU", "days": "days", "percent": "%"}
_SHOWN_ITEMS = 6

EMPHYSEMA_PERCENT = 5.0
"""Share of a lung below -950 HU from which on emphysema is suggested, as COPDGene counts it."""


def titles(guidelines: Mapping[str, Advice]) -> dict[str, str]:
    """The titles of the guidelines that were asked, in the order in which they are shown: that of `guidelines`."""
    return {key: GUIDELINE_TITLES[key] for key in guidelines}


def date(day: datetime.date | None) -> str:
    """Year-month-day; "unknown date" for None."""
    return day.isoformat() if day else "unknown date"


def image(nodule: Nodule) -> str:
    """The DICOM image that shows the axes, as "series 3, image 54"; "" where there is none."""
    if nodule.image_number is None:
        return ""
    series = "" if nodule.series_number is None else f"series {nodule.series_number}, "
    return f"{series}image {nodule.image_number}"


def number(value: float | None, decimals: int = 1) -> str:
    """A number with fixed decimals; "unknown" for None and what isn't finite."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{round_half_up(value, decimals):.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def percent(probability: float | None) -> str:
    """A probability in 0 ... 1 as whole per cent; "< 1 %" and "> 95 %" at the ends, where no figure is certain."""
    if probability is None or not math.isfinite(probability):
        return UNKNOWN
    whole = round_half_up(100 * probability)
    if probability < LEAST:
        return f"< {100 * LEAST:.0f} %"
    return f"> {100 * MOST:.0f} %" if probability > MOST else f"{whole:.0f} %"


def interval(low: float, high: float) -> str:
    """A range of probabilities."""
    first, last = percent(low), percent(high)
    if first == last:
        return first
    return f"{first if last.startswith('>') else first.removesuffix(' %')} to {last}"


def malignancy(rating: Rating) -> str:
    """The calibrated probability with its interval."""
    return f"{percent(rating.malignancy_probability)} ({interval(*rating.malignancy_interval)})"


def volume(mm3: float | None) -> str:
    """A volume: whole mm3, from 10 ml up in ml."""
    if mm3 is None or not math.isfinite(mm3):
        return UNKNOWN
    return f"{number(mm3 / 1000)} ml" if mm3 >= 10_000 else f"{number(mm3, 0)} mm³"


def axes(measurements: Measurements) -> str:
    """Long by short axis."""
    return f"{number(measurements.long_axis_mm)} × {number(measurements.short_axis_mm)} mm"


def position(measurements: Measurements) -> str:
    """Side and third."""
    if measurements.side is None:
        return "place in the lungs unknown"
    return f"{measurements.side} lung, {measurements.third} third"


def point(point_mm: Point) -> str:
    """A position in DICOM's patient coordinates, as "x 56.0, y 86.0, z −116.0"."""
    return ", ".join(f"{axis} {number(value)}" for axis, value in zip("xyz", point_mm, strict=True))


def along(plane: str, first_mm: Point, spacing_mm: float, index: int) -> str:
    """Where a slice of a box lies in DICOM's patient coordinates, as "z −116.0 mm"."""
    axis = ("sagittal", "coronal", "axial").index(plane)
    return f"{'xyz'[axis]} {number(first_mm[axis] + index * spacing_mm)} mm"


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
    if m.core_mean_hu is not None:
        lines.append(("Mean HU of the core", number(m.core_mean_hu, 0)))
    if m.benign_pattern:
        what = "fat" if m.benign_pattern == "fat" else f"{m.benign_pattern} calcium"
        lines.append(("Benign pattern", what))
    if m.texture == "part-solid":
        solid = f"{number(m.solid_diameter_mm)} mm, {volume(m.solid_volume_mm3)}"
        lines.append(("Solid part", solid if m.solid_volume_mm3 else "too small to be measured"))
    if m.pleura_distance_mm is not None:
        touches = m.pleura_distance_mm <= 0
        lines.append(("Pleura", "touches" if touches else f"{number(m.pleura_distance_mm)} mm away"))
    if others := [what for what in m.attachment if what != "pleura"]:
        check = " (check that it is a nodule)" if {"hilum", "diaphragm"} & set(others) else ""
        lines.append(("Touches", ", ".join(others) + check))
    if m.juxtapleural_shape:
        lines.append(("Shape", "flat at the pleura, like a lymph node"))
    if m.apex_distance_mm is not None:
        lines.append(("Below the apex", f"{number(m.apex_distance_mm, 0)} mm"))
    lines.append(("Centre (DICOM)", f"{point(m.center_mm)} mm"))
    return lines


def facts(nodule: Nodule) -> list[tuple[str, str]]:
    """The image that shows a nodule, and its measurements, as terms and values."""
    shown = [("Image", image(nodule))] if image(nodule) else []
    return [*shown, *measurements(nodule.measurements)]


def seconds(timing_s: Mapping[str, float]) -> list[tuple[str, str]]:
    """Time of each stage, and of all together."""
    lines = [(stage, f"{number(value)} s") for stage, value in timing_s.items()]
    return [*lines, ("all", f"{number(sum(timing_s.values()))} s")] if lines else []


def category(advice: Advice) -> str:
    """The entry for a table: the category, its alternatives by risk, or Brock's probability."""
    if advice.label:
        return advice.label
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
    """The category for each risk, as "low: F2, high: F3"; "" where it makes no difference."""
    return ", ".join(f"{risk}: {describe(code)}" for risk, code in advice.by_risk.items())


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
    """The known inputs of an advice, in one line; unknown ones are in `missing`."""
    return ", ".join(named(name, value) for name, value in _flat(advice.inputs) if value is not None)


def missing(advice: Advice) -> str:
    """The missing inputs, in one line."""
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


def growth(grown: Growth) -> list[tuple[str, str]]:
    """A nodule against the prior, as terms and what is said of each (without sizes)."""
    lines: list[tuple[str, str]] = [("Status", grown.status)]
    if grown.volume_change_percent is not None:
        lines.append(("Volume change", f"{_signed(grown.volume_change_percent)} %"))
    if grown.doubling_days is not None:
        lines.append(("Doubling time", f"{number(grown.doubling_days, 0)} days"))
    if grown.interval_days is not None:
        lines.append(("Interval", f"{grown.interval_days} days"))
    return lines


def heading(nodule: Nodule) -> str:
    """A nodule in one line."""
    m = nodule.measurements
    return f"{m.texture.capitalize()}, {number(m.mean_diameter_mm)} mm, {position(m)}"


def change(grown: Growth) -> str:
    """A nodule against the prior, in a phrase: what it is, how much, and what it was."""
    words_of = {"new": "new", "not-covered": "not covered by the prior", "same-day": "prior of the same day"}
    parts = [words_of.get(grown.status, grown.status)]
    if grown.status == "new" and grown.prior_visible is not None:
        parts[0] = "new, visible before" if grown.prior_visible else "new, not visible before"
    if grown.volume_change_percent is not None:
        parts.append(f"volume {_signed(grown.volume_change_percent)} %")
    if grown.solid_change_mm:
        parts.append(f"solid part {_signed(grown.solid_change_mm, 1)} mm")
    if grown.doubling_days is not None:
        parts.append(f"doubling time {number(grown.doubling_days, 0)} days")
    if grown.prior_volume_mm3 is not None:
        texture = f", {grown.prior_texture}" if grown.prior_texture and grown.solid_change_mm else ""
        was = f"{number(grown.prior_mean_diameter_mm)} mm, {volume(grown.prior_volume_mm3)}{texture}"
        parts.append(f"was {was}" + (f" on {date(grown.prior_date)}" if grown.prior_date else ""))
    return ", ".join(parts)


def emphysema(report: Report) -> list[str]:
    """The share of low attenuation with its caveats, and where it's high what follows; [] where it wasn't measured."""
    shares = report.lungs.low_attenuation_percent
    if shares is None:
        return []
    each = [f"{side} {number(v)} %" for side, v in zip(("right", "left"), shares, strict=True) if v is not None]
    kernel = f"kernel {report.ct.series.kernel}, " if report.ct.series and report.ct.series.kernel else ""
    said = f"Lung below -950 HU: {', '.join(each)}".replace("-", "\N{MINUS SIGN}")
    lines = [f"{said} ({kernel}slices {number(report.ct.spacing_mm[2])} mm apart)."]
    most = max((v for v in shares if v is not None), default=0.0)
    if most > EMPHYSEMA_PERCENT and report.person.emphysema is None:
        lines.append(
            "More than 5 % suggests emphysema. A sharp kernel's noise raises the share, thick slices and shallow "
            "breath lower it. If you see emphysema, --emphysema makes Brock count it; so far it isn't counted."
        )
    return lines


def _signed(value: float, decimals: int = 0) -> str:
    return f"{value:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")
