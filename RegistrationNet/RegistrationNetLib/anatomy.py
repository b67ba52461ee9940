"""An analytic head: T1-like intensity and tissue label at any point, so that images are drawn, never resampled.

Shapes are signed distances in mm (negative inside) in the head's own frame: LPS axes, origin in the middle of the
brain. They are painted one over the other from the skin inwards; the cortex is folded by the zero surfaces of
narrow-band noise, which wind as sulci do.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
Labels = NDArray[np.uint8]


class Tissue(IntEnum):
    """Label values of a drawn head; OUTSIDE is air, inside sinuses too."""

    OUTSIDE = 0
    SOFT_TISSUE = 1
    SKULL = 2
    CSF = 3
    CORTEX = 4
    WHITE_MATTER = 5
    VENTRICLES = 6
    CAUDATE = 7
    PUTAMEN = 8
    PALLIDUM = 9
    THALAMUS = 10
    HIPPOCAMPUS = 11
    CEREBELLUM = 12
    BRAINSTEM = 13
    EYES = 14


LANDMARKS: dict[str, tuple[float, float, float]] = {
    "left eye": (32, -76, -22),
    "right eye": (-32, -76, -22),
    "left frontal horn": (9, -34, 11),
    "right frontal horn": (-9, -34, 11),
    "left atrium": (21, 28, 15),
    "right atrium": (-21, 28, 15),
    "left thalamus": (11, 8, 7),
    "right thalamus": (-11, 8, 7),
    "left putamen": (27, -4, 4),
    "right putamen": (-27, -4, 4),
    "left hippocampus": (28, 4, -18),
    "right hippocampus": (-28, 4, -18),
    "fourth ventricle": (0, 35, -34),
    "pons": (0, 18, -32),
    "third ventricle": (0, 6, 2),
}
"""Points of the head's frame, mm, on structures a reader would find again."""

_SOFT_EDGE_MM = 0.8
"""Half the width over which one tissue passes into the next: the partial volume of a voxel."""

_LATERAL_VENTRICLE = ((9, -35, 10, 4), (9, -20, 17, 6), (12, 4, 23, 5.5), (21, 27, 16, 7), (23, 48, 8, 3))
_TEMPORAL_HORN = ((21, 27, 13, 4.5), (33, 14, -8, 2.5), (34, -8, -17, 2))
_CAUDATE = ((14, -25, 9, 6), (17, -10, 19, 4), (21, 8, 24, 2.5))
_HIPPOCAMPUS = ((25, -6, -20, 5), (28, 6, -17, 4), (29, 19, -8, 3))
_BRAINSTEM = ((6, 8, -8, 9), (0, 17, -30, 14), (0, 30, -62, 8), (0, 38, -130, 6.5))


@dataclass(frozen=True, eq=False)
class Head:
    """One individual: the noise that folds its cortex and textures its soft tissue comes from `seed`."""

    seed: int = 0

    def draw(self, points: NDArray[np.floating]) -> tuple[Values, Labels]:
        """T1-like intensity (air 0, white matter about 140) and `Tissue` at points (..., 3), head frame, mm."""
        p = np.ascontiguousarray(np.moveaxis(np.asarray(points, np.float32), -1, 0).reshape(3, -1))
        canvas = _Canvas.blank(p)
        self._paint_face(canvas)
        self._paint_skull(canvas)
        self._paint_orbits(canvas)
        cavity = _cavity(_mirrored(p))
        brain = canvas.part(cavity < _SOFT_EDGE_MM)
        self._paint_brain(brain, cavity[brain.where])
        canvas.put(brain)
        self._paint_brainstem(canvas)
        shape = np.shape(points)[:-1]
        return canvas.intensity.reshape(shape), canvas.label.reshape(shape)

    def _paint_face(self, canvas: _Canvas) -> None:
        skin = _skin(canvas.p)
        canvas.paint(skin, 150, Tissue.SOFT_TISSUE)
        head = canvas.part(skin < -1)
        q = _mirrored(head.p)
        texture = _noise(head.p, wavelength=24, seed=7 * self.seed + 1)
        fascia = _noise_distance(head.p, wavelength=42, seed=7 * self.seed + 6)
        muscle = np.maximum(skin[head.where] + 4 - np.minimum(texture, 1), 0.5 - fascia)
        head.paint(muscle, 80 + 9 * texture, Tissue.SOFT_TISSUE)
        head.paint(_ellipsoid(q, (28, -60, -56), (12, 14, 15)), 4, Tissue.OUTSIDE)
        head.paint(np.maximum(_ellipsoid(q, (0, -66, -50), (13, 26, 20)), 1.5 - q[0]), 6, Tissue.OUTSIDE)
        head.paint(_ellipsoid(q, (7, -64, -54), (3, 20, 8)), 95, Tissue.SOFT_TISSUE)
        canvas.put(head)

    def _paint_skull(self, canvas: _Canvas) -> None:
        outer = _cavity(_mirrored(canvas.p)) - 6.5
        bone = canvas.part(outer < _SOFT_EDGE_MM)
        depth = -outer[bone.where]
        bone.paint(-depth, 20, Tissue.SKULL)
        marrow = _noise(bone.p, wavelength=30, seed=7 * self.seed + 2)
        bone.paint(np.abs(depth - 3.4) - 1.1 - 0.7 * marrow, 100, Tissue.SKULL)
        canvas.put(bone)

    def _paint_orbits(self, canvas: _Canvas) -> None:
        orbits = canvas.part((canvas.p[1] < -30) & (np.abs(canvas.p[2] + 22) < 20))
        q = _mirrored(orbits.p)
        orbits.paint(_ellipsoid(q, (31, -64, -22), (17, 25, 16)), 165, Tissue.SOFT_TISSUE)
        orbits.paint(_tube(q, ((30, -66, -22, 3), (16, -38, -18, 2.5))), 95, Tissue.SOFT_TISSUE)
        eye = _ellipsoid(q, (32, -76, -22), (12, 12, 12))
        orbits.paint(eye, 90, Tissue.EYES)
        orbits.paint(eye + 1.5, 30, Tissue.EYES)
        orbits.paint(_ellipsoid(q, (32, -85, -22), (4.5, 2.2, 4.5)), 105, Tissue.EYES)
        canvas.put(orbits)

    def _paint_brain(self, canvas: _Canvas, inner: Values) -> None:
        p, q = canvas.p, _mirrored(canvas.p)
        canvas.paint(inner, 32, Tissue.CSF)
        canvas.paint(np.minimum(np.abs(inner) - 0.5, np.abs(p[0]) - 0.3), 55, Tissue.CSF)
        cerebellum = _cerebellum(q)
        folia = self._folia(p, -cerebellum)
        canvas.paint(folia, 92, Tissue.CEREBELLUM)
        canvas.paint(np.maximum(folia + 1.8, cerebellum + 2.2), 132, Tissue.CEREBELLUM)
        cortex = self._pial(p, _cerebrum(q))
        canvas.paint(cortex, 90, Tissue.CORTEX)
        canvas.paint(np.minimum(cortex + 2.8, _callosum(q)), 140, Tissue.WHITE_MATTER)
        for shape, value, tissue in self._deep(q):
            canvas.paint(shape, value, tissue)

    def _pial(self, p: Values, hull: Values) -> Values:
        """The cerebrum's surface: its hull, split by the fissure between the hemispheres and folded by sulci."""
        wave = _noise(p, wavelength=40, seed=7 * self.seed + 3)
        fissure = np.maximum(np.abs(p[0] + wave) - 1.0, -_ellipsoid(p, (0, 8, 3), (40, 39, 28)))
        smooth = np.maximum(hull, -fissure)
        folded = _noise_distance(_along_surface(p), wavelength=26, seed=7 * self.seed + 4, count=40)
        depth = 15 + 5 * wave
        core = _ellipsoid(p, (0, 6, 5), (38, 52, 30))
        sulci = np.max([folded - 1.1 - 0.05 * smooth, -smooth - depth, -core], axis=0)
        return np.maximum(smooth, -sulci)

    def _folia(self, p: Values, depth: Values) -> Values:
        wave = _noise(p, wavelength=45, seed=7 * self.seed + 5)
        radius = np.sqrt((p[1] - 26) ** 2 + (p[2] + 22) ** 2 + 0.15 * p[0] ** 2)
        angle = np.arctan2(p[2] + 22, p[1] - 26) * 30 + 3 * wave
        sheet = np.abs(np.sin(np.pi * angle / 7.5)) * 7.5 / np.pi * radius / 30
        return np.maximum(-depth, -np.maximum(sheet - 0.7, depth - 9))

    def _deep(self, q: Values) -> list[tuple[Values, float, Tissue]]:
        third = np.maximum(_ellipsoid(q, (0, 6, 1), (2.8, 16, 11)), -20 - q[2])
        lateral = np.minimum(_tube(q, _LATERAL_VENTRICLE), _tube(q, _TEMPORAL_HORN))
        septum = np.maximum(lateral, 0.9 - q[0])
        return [
            (_tube(q, _HIPPOCAMPUS), 94, Tissue.HIPPOCAMPUS),
            (_ellipsoid(q, (27, -4, 4), (5.5, 17, 11)), 101, Tissue.PUTAMEN),
            (_ellipsoid(q, (20, -1, 2), (4.5, 10, 7)), 121, Tissue.PALLIDUM),
            (_tube(q, _CAUDATE), 97, Tissue.CAUDATE),
            (_ellipsoid(q, (11, 8, 7), (9, 15, 9)), 112, Tissue.THALAMUS),
            (septum, 30, Tissue.VENTRICLES),
            (third, 30, Tissue.VENTRICLES),
        ]

    def _paint_brainstem(self, canvas: _Canvas) -> None:
        stem = canvas.part(np.hypot(canvas.p[0], canvas.p[1] - 22) < 40)
        q = _mirrored(stem.p)
        cord = _tube(q, _BRAINSTEM[2:])
        stem.paint(cord - 9, 25, Tissue.SKULL)
        stem.paint(cord - 4, 32, Tissue.CSF)
        stem.paint(_tube(q, _BRAINSTEM), 128, Tissue.BRAINSTEM)
        stem.paint(_ellipsoid(q, (0, 35, -34), (6, 4, 9)), 30, Tissue.VENTRICLES)
        canvas.put(stem)


@dataclass(eq=False)
class _Canvas:
    """Points and what has been painted on them so far; `where` are their places in the canvas they came from."""

    p: Values
    intensity: Values
    label: Labels
    where: NDArray[np.intp]

    @classmethod
    def blank(cls, p: Values) -> _Canvas:
        count = p.shape[1]
        return cls(p, np.zeros(count, np.float32), np.zeros(count, np.uint8), np.arange(count))

    def part(self, inside: NDArray[np.bool_]) -> _Canvas:
        where = np.flatnonzero(inside)
        return _Canvas(self.p[:, where], self.intensity[where], self.label[where], where)

    def put(self, part: _Canvas) -> None:
        self.intensity[part.where], self.label[part.where] = part.intensity, part.label

    def paint(self, distance: Values, intensity: Any, tissue: Tissue) -> None:
        cover = np.clip(0.5 - distance / (2 * _SOFT_EDGE_MM), 0, 1)
        self.intensity += cover * (intensity - self.intensity)
        self.label[distance < 0] = tissue


def _mirrored(p: Values) -> Values:
    """Left and right alike: x -> |x|."""
    return np.stack([np.abs(p[0]), p[1], p[2]])


def _ellipsoid(p: Values, center: tuple[float, ...], radii: tuple[float, ...]) -> Values:
    """Signed distance, first order exact at the surface."""
    c, r = (np.array(v, np.float32)[:, None] for v in (center, radii))
    unit = (p - c) / r
    length = np.linalg.norm(unit, axis=0)
    return np.asarray(length * (length - 1) / np.maximum(np.linalg.norm(unit / r, axis=0), 1e-6))


def _tube(p: Values, course: tuple[tuple[float, ...], ...]) -> Values:
    """Signed distance of a tube along points (x, y, z, radius)."""
    parts = [_cone(p, np.array(a, np.float32), np.array(b, np.float32)) for a, b in pairwise(course)]
    return np.asarray(np.min(parts, axis=0))


def _cone(p: Values, a: Values, b: Values) -> Values:
    axis = b[:3] - a[:3]
    offset = p - a[:3, None]
    along = np.clip(axis @ offset / (axis @ axis), 0, 1)
    return np.asarray(np.linalg.norm(offset - axis[:, None] * along, axis=0) - (a[3] + (b[3] - a[3]) * along))


def _union(a: Values, b: Values, blend: float) -> Values:
    """The nearer of two surfaces, joined by a fillet about `blend` mm wide."""
    return np.asarray(np.minimum(a, b) - np.maximum(blend - np.abs(a - b), 0) ** 2 / (4 * blend))


def _skin(p: Values) -> Values:
    q = _mirrored(p)
    surface = _ellipsoid(p, (0, 5, 10), (78, 99, 77))
    surface = _union(surface, _ellipsoid(q, (0, -40, -60), (58, 54, 62)), 20)
    surface = _union(surface, _ellipsoid(q, (0, -97, -46), (11, 15, 18)), 14)
    surface = _union(surface, _tube(q, ((0, 14, -50, 62), (0, 34, -170, 52))), 25)
    surface = _union(surface, _cavity(q) - 12, 20)
    return _union(surface, _ellipsoid(q, (78, 14, -22), (7, 15, 27)), 6)


def _cerebrum(q: Values) -> Values:
    main = _ellipsoid(q, (0, 5, 12), (64, 84, 60))
    flat = np.maximum(main, -17 - 0.06 * q[1] - q[2])
    return _union(flat, _ellipsoid(q, (40, -3, -16), (22, 40, 25)), 5)


def _cavity(q: Values) -> Values:
    """The inside of the skull: what the brain fills, and three millimetres of fluid."""
    return _union(_cerebrum(q), _cerebellum(q), 10) - 3


def _cerebellum(q: Values) -> Values:
    return _union(_ellipsoid(q, (24, 48, -37), (28, 27, 20)), _ellipsoid(q, (0, 48, -33), (14, 22, 20)), 6)


def _callosum(q: Values) -> Values:
    arch = np.maximum(_ellipsoid(q, (0, 8, 3), (22, 42, 31)), -_ellipsoid(q, (0, 8, 1), (60, 35, 26)))
    return np.asarray(np.maximum(arch, 2 - q[2]))


def _along_surface(p: Values) -> Values:
    """Points drawn out towards one shell, so that noise sampled there folds along the surface, not into the depth."""
    center = np.array((0, 5, 5), np.float32)[:, None]
    offset = p - center
    offset[0] *= 1.25
    return np.asarray(center + offset * (65 / np.maximum(np.linalg.norm(offset, axis=0), 8)) ** np.float32(0.75))


def _noise(p: Values, wavelength: float, seed: int) -> Values:
    """Smooth noise of unit variance at points (3, N): a sum of cosines, exact anywhere."""
    _, phase = _waves(p, wavelength, seed, count=12)
    return np.asarray(np.cos(phase).sum(0) * np.float32(np.sqrt(2 / 12)))


def _noise_distance(p: Values, wavelength: float, seed: int, count: int = 16) -> Values:
    """About how far a point is from the zero surface of such noise, mm: its value over its slope."""
    k, phase = _waves(p, wavelength, seed, count)
    slope = np.linalg.norm(k.T @ np.sin(phase), axis=0)
    least = 0.8 * 2 * np.pi / wavelength * np.sqrt(count / 2)
    return np.asarray(np.abs(np.cos(phase).sum(0)) / np.maximum(slope, np.float32(least)))


def _waves(p: Values, wavelength: float, seed: int, count: int) -> tuple[Values, Values]:
    """Wave vectors (count, 3) of random direction and nearly one length, and their phases at the points (count, N)."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(count, 3))
    length = 2 * np.pi / (wavelength * rng.uniform(0.85, 1.2, size=(count, 1)))
    k = (direction / np.linalg.norm(direction, axis=1, keepdims=True) * length).astype(np.float32)
    return k, k @ p + rng.uniform(0, 2 * np.pi, size=(count, 1)).astype(np.float32)
