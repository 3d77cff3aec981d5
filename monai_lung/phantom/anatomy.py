"""The phantom's chest, in LPS mm: the origin lies in the midline, between the lungs, a little below the carina.

Every organ is a signed distance (negative inside) that is exact enough near its surface for a soft edge. The measures
are those of a grown person with the arms raised, rounded; nothing is taken from a patient.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from monai_lung.phantom.canvas import Canvas, Field, tube_distance
from monai_lung.phantom.trees import Points, Tube, grow_tree

AIR_HU, FAT_HU, SOFT_HU, LUNG_HU = -1000.0, -95.0, 45.0, -865.0


def _tube(start: tuple[float, float, float], end: tuple[float, float, float], radius_mm: float) -> Tube:
    return Tube(np.array(start, float), np.array(end, float), radius_mm)


AORTA = (
    _tube((-12, -18, -30), (-16, -22, 55), 14),
    _tube((-16, -22, 55), (0, 0, 72), 13),
    _tube((0, 0, 72), (26, 38, 60), 12.5),
    _tube((26, 38, 60), (25, 42, -60), 12),
    _tube((25, 42, -60), (12, 42, -170), 11),
)
GREAT_VESSELS = (
    *AORTA,
    _tube((12, -22, -10), (20, -8, 28), 13),  # pulmonary trunk
    _tube((18, -6, 26), (-34, 4, 10), 10),  # right pulmonary artery
    _tube((20, -6, 28), (40, 8, 18), 10),  # left pulmonary artery
    _tube((-28, -12, 0), (-26, -14, 95), 9),  # superior vena cava
    _tube((-26, -14, 95), (-45, -30, 150), 7),
    _tube((-26, -14, 95), (35, -35, 125), 6),
    _tube((-8, -12, 72), (-18, -8, 160), 6),  # branches of the arch
    _tube((10, 5, 75), (14, 0, 160), 5),
    _tube((20, 14, 72), (26, 12, 160), 5.5),
)
ESOPHAGUS = _tube((3, 34, 160), (8, 36, -110), 7)
MAIN_AIRWAYS = (
    _tube((0, 10, 200), (0, 14, 40), 8.5),
    _tube((0, 14, 40), (-34, 14, 14), 6.5),
    _tube((0, 14, 40), (42, 18, 6), 6),
)
ROOTS_MM = {"right": (-36.0, 8.0, 10.0), "left": (42.0, 12.0, 8.0)}


def _cross_section(x: Field, y: Field, z: Field, side: int) -> Field:
    """Distance to the inner chest wall of one side (+1 left, -1 right): an egg that tapers towards the apex."""
    rise = np.clip((z + 60) / 195, 0, 1)
    profile = np.sqrt(np.maximum(1 - rise**2, 1e-4))
    wide, deep = 74 * profile, 92 * profile
    dx, dy = x - side * 58 * profile, y - 2 - 14 * rise**2
    rho = np.maximum((np.abs(dx / wide) ** 2.3 + np.abs(dy / deep) ** 2.3) ** np.float32(1 / 2.3), 1e-3)
    return np.sqrt(dx**2 + dy**2) * (1 - 1 / rho)


def wall_distance(x: Field, y: Field, z: Field) -> Field:
    """Signed distance in mm to the inner chest wall: the pleural space of both sides together."""
    return np.minimum(_cross_section(x, y, z, 1), _cross_section(x, y, z, -1))


def diaphragm_distance(x: Field, y: Field, z: Field) -> Field:
    """Signed distance in mm to the diaphragm's domes, negative above it; the right one stands higher."""
    right = _dome(x + 62, y - 4, z, -70)
    left = _dome(x - 66, y - 2, z, -84)
    return np.maximum(right, left)


def _dome(dx: Field, dy: Field, z: Field, top_mm: float) -> Field:
    height = top_mm - 72 * ((dx / 74) ** 2 + (dy / 92) ** 2)
    slope = np.sqrt(1 + (144 * dx / 74**2) ** 2 + (144 * dy / 92**2) ** 2)
    return (height - z) / slope


def heart_distance(x: Field, y: Field, z: Field) -> Field:
    """Signed distance in mm to the heart, an ellipsoid that leans to the left."""
    dx, dy, dz = x - 20, y + 28, z + 52
    along, across = 0.88 * dx - 0.48 * dz, 0.48 * dx + 0.88 * dz
    rho = np.sqrt((along / 58) ** 2 + (dy / 46) ** 2 + (across / 50) ** 2) + 1e-3
    return np.sqrt(dx**2 + dy**2 + dz**2) * (1 - 1 / rho)


def vertebra_distance(x: Field, y: Field, z: Field) -> Field:
    """Signed distance in mm to the column of vertebral bodies."""
    rho = np.sqrt((x / 19) ** 2 + ((y - 64) / 15) ** 2) + 1e-3
    return np.sqrt(x**2 + (y - 64) ** 2) * (1 - 1 / rho) + 0 * z


def lung_distance(x: Field, y: Field, z: Field) -> tuple[Field, Field]:
    """Signed distances in mm to the surfaces of the right and the left lung."""
    half_width = 5 + 24 * np.exp(-(((y - 10) / 34) ** 2)) + 6 * np.clip((z - 40) / 60, 0, 1)
    organs = np.minimum(heart_distance(x, y, z) - 4, vertebra_distance(x, y, z) - 3)
    for part in AORTA:
        organs = np.minimum(organs, tube_distance(part, x, y, z) - 2)
    limits = np.maximum(diaphragm_distance(x, y, z) + 3, -organs)
    right = np.maximum(np.maximum(_cross_section(x, y, z, -1), half_width + x), limits)
    left = np.maximum(np.maximum(_cross_section(x, y, z, 1), half_width - x), limits)
    return right, left


def nearer_lung_distance(x: Field, y: Field, z: Field) -> Field:
    """Signed distance in mm to the surface of the lungs."""
    return np.minimum(*lung_distance(x, y, z))


def lung_distance_at(points_mm: Points) -> NDArray[np.float64]:
    """Signed distance in mm to the nearer lung's surface, of points (n, 3)."""
    x, y, z = np.asarray(points_mm, np.float64).T
    return np.asarray(nearer_lung_distance(x, y, z))


@cache
def trees(seed: int) -> tuple[tuple[Tube, ...], tuple[Tube, ...]]:
    """Vessels (arteries and veins) and airways of both lungs."""
    rng = np.random.default_rng(seed)
    vessels: list[Tube] = []
    airways: list[Tube] = []
    for side, name in ((-1, "right"), (1, "left")):
        root = np.array(ROOTS_MM[name])
        free = _inside(side, root)
        for start, count in (((0, -6, 4), 420), ((-4 * side, -2, -22), 320)):
            targets = _spread(side, count, 3.0, rng)
            vessels += grow_tree(root + start, targets, free, leaf_radius_mm=0.8, largest_mm=7.5, rng=rng)
        targets = _spread(side, 36, 14.0, rng)
        airways += grow_tree(root + np.array((0, 6, 2)), targets, free, leaf_radius_mm=0.9, largest_mm=5.0, rng=rng)
    return tuple(vessels), tuple(airways)


def _inside(side: int, root: Points) -> Callable[[Points], NDArray[np.bool_]]:
    """Where the tree of one side may grow: in its lung and around its root."""

    def inside(points: Points) -> NDArray[np.bool_]:
        x, y, z = points.T
        lung = lung_distance(x, y, z)[0 if side < 0 else 1]
        return (lung < -1) | (np.linalg.norm(points - root, axis=1) < 24)

    return inside


def _spread(side: int, count: int, depth_mm: float, rng: np.random.Generator) -> Points:
    """Random points of a lung, at least so deep under its surface."""
    low, high = np.array([4.0, -90, -140]), np.array([132.0, 96, 134])
    found = np.empty((0, 3))
    while len(found) < count:
        points = rng.uniform(low, high, (count * 4, 3)) * (side, 1, 1)
        x, y, z = points.T
        found = np.concatenate([found, points[lung_distance(x, y, z)[0 if side < 0 else 1] < -depth_mm]])
    return found[:count]


def paint_chest(canvas: Canvas, *, seed: int, blood_hu: float) -> None:
    """Paint table, body, bones, mediastinum, abdomen, lungs, vessels and airways."""
    x, y, z = canvas.x, canvas.y, canvas.z
    _paint_table(canvas)
    wall = wall_distance(x, y, z)
    _paint_body(canvas, wall)
    _paint_bones(canvas, wall)
    _paint_inner(canvas, wall, blood_hu)
    _paint_lungs(canvas, seed, blood_hu)


def _paint_table(canvas: Canvas) -> None:
    x, y = canvas.x, canvas.y
    middle = np.abs(y - 146 + x**2 / 900) / 1.1
    plate = np.maximum(middle - 12, np.abs(x) - 205) + 0 * canvas.z
    canvas.paint(plate, -30.0)
    canvas.paint(plate + 3, -930.0)


def _paint_body(canvas: Canvas, wall: Field) -> None:
    x, y, z = canvas.x, canvas.y, canvas.z
    shoulders = 14 * np.clip((z - 60) / 70, 0, 1)
    wide, deep = 164 + shoulders, 119 - 0.6 * shoulders
    rho = (np.abs(x / wide) ** 2.5 + np.abs((y - 9) / deep) ** 2.5) ** np.float32(1 / 2.5) + 1e-3
    body = np.sqrt(x**2 + (y - 9) ** 2) * (1 - 1 / rho)
    canvas.paint(body, 25.0)
    canvas.paint(body + 1.5, FAT_HU)
    streaks = 4 * np.sin(x / 11 + y / 17) * np.sin(y / 9 - z / 23)
    canvas.paint(np.maximum(body + 13, 14 - wall) + streaks, 58.0)  # muscles of the back, shoulders and chest
    canvas.paint(np.maximum(wall - 12.5, body + 12), 55.0)  # between the ribs


def _paint_bones(canvas: Canvas, wall: Field) -> None:
    y, z = canvas.y, canvas.z
    phase = np.mod(z - 0.42 * y, 27) - 13.5
    ribs = 4 * (np.sqrt(((wall - 6.5) / 3.8) ** 2 + (phase / 6.8) ** 2) - 1)
    cartilage = np.maximum(ribs, y + 62)
    _bone(canvas, np.maximum(ribs, -62 - y), 480, 170, 1.4)
    canvas.paint(cartilage, 105.0)
    if part := canvas.part((-20, -100, -75), (20, -84, 105)):
        _bone(part, _box(part, (0, -92, 15), (17, 5.5, 85)), 380, 130, 1.5)
    for side in (-1, 1):
        if part := canvas.part((side * 112 - 45, 30, 10), (side * 112 + 45, 125, 130)):
            dx, dy, dz = part.x - side * 112, part.y - 78, part.z - 70
            plate = np.abs(0.62 * side * dx + 0.78 * dy) - 3.2
            _bone(part, np.maximum(plate, np.sqrt(dx**2 + dy**2 + (dz / 1.4) ** 2) - 40), 450, 220, 1.2)
        clavicle = _tube((side * 18, -72, 104), (side * 150, -20, 150), 5.5)
        if part := canvas.part((min(side * 10, side * 160), -82, 94), (max(side * 10, side * 160), -10, 160)):
            _bone(part, tube_distance(clavicle, part.x, part.y, part.z), 600, 200, 1.6)
    if part := canvas.part((-38, 44, -1000), (38, 120, 1000)):
        _paint_spine(part)


def _box(canvas: Canvas, center: tuple[float, float, float], half: tuple[float, float, float]) -> Field:
    """Distance to a box, exact enough outside of its corners."""
    x, y, z = (np.abs(a - c) - h for a, c, h in zip((canvas.x, canvas.y, canvas.z), center, half, strict=True))
    return np.maximum(np.maximum(x, y), z)


def _paint_spine(canvas: Canvas) -> None:
    x, y, z = canvas.x, canvas.y, canvas.z
    level = np.abs(np.mod(z, 24) - 12)
    canvas.paint(_box(canvas, (0, 88, 0), (34, 18, 2000)), 55.0)
    processes = np.maximum(np.maximum(np.abs(x) - 34, np.abs(y - 84) - 4), level - 7)
    spinous = np.maximum(np.maximum(np.abs(x) - 3, np.abs(y - 103) - 11), level - 8)
    canal = np.sqrt(x**2 + (y - 86) ** 2) + 0 * z
    for part in (processes, spinous, canal - 13):
        _bone(canvas, part, 430, 230, 1.6)
    canvas.paint(canal - 9, 15.0)
    canvas.paint(canal - 5, 40.0)  # the cord
    body = vertebra_distance(x, y, z)
    _bone(canvas, np.maximum(body, 2.5 - level), 420, 165, 1.6)
    canvas.paint(np.maximum(body, level - 2.5), 75.0)  # discs


def _bone(canvas: Canvas, distance: Field, cortex_hu: float, marrow_hu: float, cortex_mm: float) -> None:
    canvas.paint(distance, cortex_hu)
    canvas.paint(distance + cortex_mm, marrow_hu)


def _paint_inner(canvas: Canvas, wall: Field, blood_hu: float) -> None:
    """The mediastinum: heart, great vessels and esophagus in fat; and what lies under the diaphragm."""
    x, y, z = canvas.x, canvas.y, canvas.z
    narrow = 1 - 0.35 * np.clip((z - 70) / 60, 0, 1)
    between = (np.sqrt((x / 40) ** 2 + ((y + 6) / (74 * narrow)) ** 2) - 1) * 40
    inner = np.maximum(np.minimum(wall, between), -vertebra_distance(x, y, z))
    canvas.paint(inner, FAT_HU)
    if part := canvas.part((-140, -110, -1000), (140, 110, -60)):
        _paint_abdomen(part, blood_hu)
    if part := canvas.part((-50, -85, -125), (90, 30, 20)):
        heart = heart_distance(part.x, part.y, part.z)
        part.paint(heart, SOFT_HU)
        part.paint(heart + 9, blood_hu)
    for tube in GREAT_VESSELS:
        canvas.paint_tube(tube, blood_hu, brighten=True)
    canvas.paint_tube(ESOPHAGUS, 40.0, brighten=True)


def _paint_abdomen(canvas: Canvas, blood_hu: float) -> None:
    """Liver, stomach with its gas, and spleen in fat, under the diaphragm."""
    x, y, z = canvas.x, canvas.y, canvas.z
    wall, diaphragm = wall_distance(x, y, z), diaphragm_distance(x, y, z)
    below = np.maximum(wall + 1, -diaphragm)
    canvas.paint(np.maximum(wall, -2 - diaphragm), SOFT_HU)  # the diaphragm itself
    canvas.paint(below + 2, FAT_HU)
    canvas.paint(np.maximum(below + 1, 0.8 * (x - 30) - 0.1 * (z + 90)), 58.0 + 0.15 * (blood_hu - SOFT_HU))  # liver
    stomach = np.sqrt(((x - 62) / 1.1) ** 2 + (y + 22) ** 2 + ((z + 128) / 1.2) ** 2) - 34
    canvas.paint(np.maximum(below + 3, stomach), SOFT_HU)
    lumen = np.maximum(below + 6, stomach + 4)
    canvas.paint(lumen, 15.0)
    canvas.paint(np.maximum(lumen, y + 30), -980.0)
    spleen = np.sqrt((x - 92) ** 2 + ((y - 48) / 1.3) ** 2 + (z + 135) ** 2) - 34
    canvas.paint(np.maximum(below + 3, spleen), 52.0 + 0.3 * (blood_hu - SOFT_HU))


def _paint_lungs(canvas: Canvas, seed: int, blood_hu: float) -> None:
    x, y, z = canvas.x, canvas.y, canvas.z
    lungs = nearer_lung_distance(x, y, z)
    gravity = 0.28 * (y - 10)  # the back of the lungs is denser in a patient who lies on it
    coarse = np.sin(x / 7 + z / 13) * np.sin(y / 8 - z / 11)
    fine = np.sin(x / 3.1 - y / 4.3) * np.sin(z / 5 + y / 3.7)
    canvas.paint(lungs, LUNG_HU + gravity + 9 * (coarse + fine))
    vessels, airways = trees(seed)
    for tube in vessels:
        canvas.paint_tube(tube, blood_hu, brighten=True)
    for tube in (*MAIN_AIRWAYS, *airways):
        wall_mm = 0.4 + 0.1 * tube.radius_mm
        canvas.paint_tube(Tube(tube.start_mm, tube.end_mm, tube.radius_mm + wall_mm), 20.0, brighten=True)
    for tube in (*MAIN_AIRWAYS, *airways):
        canvas.paint_tube(tube, -990.0, brighten=False)
