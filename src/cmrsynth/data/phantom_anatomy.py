"""The phantom's heart: analytic short-axis contours of LV, myocardium and RV that contract.

Lengths are in mm. A short-axis plane has x to the right and y downwards with the origin at the LV's centre, and z
runs from the mitral plane at end-diastole (0) towards the apex. Angles run from x towards y. `contraction` is 0 at
end-diastole and 1 at end-systole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NUM_ANGLES = 360
ANGLES = np.linspace(-np.pi, np.pi, NUM_ANGLES, endpoint=False)
RV_WALL_MM = 3.0
ATRIAL_WALL_MM = 2.0
PATHOLOGIES = ("normal", "dilated", "hypertrophic", "infarct", "abnormal_rv")


@dataclass(frozen=True)
class Heart:
    """Shape and motion of one heart.

    Args:
        radius: of the LV cavity at the base at end-diastole.
        wall: thickness of the myocardium at end-diastole, before regional changes.
        length: of the LV cavity, base to apex, at end-diastole.
        radial_shortening: share by which the cavity's radius shrinks.
        longitudinal_shortening: share by which the long axis shrinks; the base comes down, the apex stays.
        septum: direction of the RV as seen from the LV.
        modes: (M, 2) amplitude (share of the radius) and phase of the deformations of order 2, 3, ...
        thickening: (centre, half width, share) of a region with a thicker wall; share 0 for none.
        scar: (centre, half width, depth) of a thin region that does not move; depth 0 for none.
        septal_flattening: share by which the septal side of the LV is pushed in.
        rv_width: of the RV cavity between septum and free wall, at the base.
        rv_span: half its extent along the septum, relative to the LV's outer radius.
        rv_shortening: share by which that width shrinks.
        papillary: radius of the papillary muscles, and the angle by which they are turned from their usual place.
        trabeculae: (K, 3) amplitude, phase and twist per mm along z of the endocardial roughness of order 9, 10, ...
    """

    radius: float
    wall: float
    length: float
    radial_shortening: float
    longitudinal_shortening: float
    septum: float
    modes: np.ndarray
    thickening: tuple[float, float, float]
    scar: tuple[float, float, float]
    septal_flattening: float
    rv_width: float
    rv_span: float
    rv_shortening: float
    papillary: tuple[float, float]
    trabeculae: np.ndarray


@dataclass(frozen=True)
class Contours:
    """The heart's outlines in one plane at T moments.

    Args:
        endocardium: (T, NUM_ANGLES) radius of the LV cavity at `ANGLES`, as an expert draws it.
        rough_endocardium: (T, NUM_ANGLES) the same with the trabeculae as they are.
        epicardium: (T, NUM_ANGLES) outer radius of the myocardium.
        rv_centre, rv_across, rv_along: (T,) the RV's ellipse: distance of its centre from the LV's along `septum`,
            semi-axes along and across `septum`. `rv_across` is 0 where there is no RV.
        level: (T,) position between base (0) and apex (1); negative in the atrium.
        edge: (T,) width over which the slice's thickness blurs the outlines.
    """

    endocardium: np.ndarray
    rough_endocardium: np.ndarray
    epicardium: np.ndarray
    rv_centre: np.ndarray
    rv_across: np.ndarray
    rv_along: np.ndarray
    level: np.ndarray
    edge: np.ndarray


def draw_heart(pathology: str, rng: np.random.Generator) -> Heart:
    """Return a random heart with one of the `PATHOLOGIES`.

    Normal sizes follow Petersen et al. 2017 (doi:10.1186/s12968-017-0327-9): EDV about 125 ml, ejection fraction
    about 0.6, end-diastolic wall 8-10 mm. A hypertrophic septum is thicker than 15 mm (Elliott et al. 2014,
    doi:10.1093/eurheartj/ehu284), a dilated LV ejects less than 0.4.
    """
    radius, wall, ejection = rng.uniform(23.5, 26.5), rng.uniform(8.0, 9.6), rng.uniform(0.56, 0.66)
    rv_width, rv_ejection = rng.uniform(27.0, 33.0), rng.uniform(0.5, 0.62)
    septum = np.pi + rng.normal(0.2, 0.22)  # towards the left and a little up
    thickening, scar, flattening, papillary = (0.0, 1.0, 0.0), (0.0, 1.0, 0.0), rng.uniform(0.0, 0.05), 4.6
    match pathology:
        case "dilated":
            radius, wall = rng.uniform(31.0, 35.5), rng.uniform(6.2, 7.6)
            ejection, rv_ejection = rng.uniform(0.17, 0.33), rng.uniform(0.35, 0.5)
        case "hypertrophic":
            radius, wall, papillary = rng.uniform(19.5, 22.5), rng.uniform(11.0, 13.0), 5.8
            thickening = (septum + rng.normal(0.0, 0.4), rng.uniform(0.9, 1.5), rng.uniform(0.5, 0.8))
            ejection = rng.uniform(0.66, 0.76)
        case "infarct":
            radius, wall, ejection = rng.uniform(26.0, 29.5), rng.uniform(7.8, 9.2), rng.uniform(0.44, 0.52)
            scar = (rng.uniform(-np.pi, np.pi), rng.uniform(0.9, 1.35), rng.uniform(0.42, 0.55))
        case "abnormal_rv":
            rv_width, rv_ejection = rng.uniform(43.0, 52.0), rng.uniform(0.2, 0.36)
            flattening, ejection = rng.uniform(0.12, 0.2), rng.uniform(0.5, 0.6)
    longitudinal = 0.25 * ejection
    return Heart(
        radius=radius,
        wall=wall,
        length=rng.uniform(86.0, 97.0) * (radius / 24.5) ** 0.35,
        radial_shortening=1 - np.sqrt((1 - ejection) / (1 - longitudinal)),
        longitudinal_shortening=longitudinal,
        septum=septum,
        modes=np.stack([rng.normal(0, 0.09, 4) / np.arange(2, 6) ** 1.5, rng.uniform(-np.pi, np.pi, 4)], 1),
        thickening=thickening,
        scar=scar,
        septal_flattening=flattening,
        rv_width=rv_width,
        rv_span=rng.uniform(1.12, 1.28) * (1.1 if pathology == "abnormal_rv" else 1.0),
        rv_shortening=1 - (1 - rv_ejection) ** 0.62,
        papillary=(papillary * rng.uniform(0.8, 1.2), rng.normal(0.0, 0.25)),
        trabeculae=_draw_trabeculae(rng),
    )


def _draw_trabeculae(rng: np.random.Generator) -> np.ndarray:
    roughness = 0.45 * rng.uniform(0.6, 1.3) * np.abs(rng.standard_normal(18))
    return np.stack([roughness, rng.uniform(-np.pi, np.pi, 18), rng.normal(0.0, 0.12, 18)], 1)


def _bump(angle: np.ndarray, centre: float, half_width: float) -> np.ndarray:
    """Return a smooth bump on the circle: 1 at `centre`, 0 from `half_width` away."""
    away = np.abs(_wrap(angle - centre))
    return 0.5 + 0.5 * np.cos(np.pi * np.clip(away / half_width, 0.0, 1.0))


def _taper(position: np.ndarray) -> np.ndarray:
    """Return the bullet-shaped profile of a ventricle: 1 at the base (0), 0 at the apex (1)."""
    return (1 - np.clip(position, 0.0, 1.0) ** 2.6) ** 0.6


def contours(heart: Heart, z: float, contraction: np.ndarray, thickness_mm: float = 0.0) -> Contours:
    """Return the outlines in the plane at `z`, which stays in place while the heart moves through it.

    Every sector of the myocardium keeps its volume: what the cavity and the long axis lose, the wall gains.

    Args:
        heart: the heart.
        z: distance of the plane from the end-diastolic mitral plane.
        contraction: (T,) in [0, 1].
        thickness_mm: of the slice.
    """
    contraction = np.asarray(contraction, float)[:, None]  # (T, 1)
    shrink = 1 - heart.longitudinal_shortening * contraction
    below_base = z - heart.length * (1 - shrink)
    level = below_base / (heart.length * shrink)
    atrial = np.clip(0.5 - below_base / 8.0, 0.0, 1.0)  # (T, 1); above the mitral plane nothing contracts
    ventricular = contraction * (1 - atrial)
    endo_rest, epi_rest = _resting_radii(heart, level)
    scarred = _bump(ANGLES, heart.scar[0], heart.scar[1]) * (heart.scar[2] > 0) * _bump(level, 0.6, 0.9)
    inward = heart.radial_shortening * ventricular * (1 - 0.97 * scarred**0.5)
    endo = endo_rest * (1 - inward)
    wall_area = (epi_rest**2 - endo_rest**2) / shrink
    wall_area = (1 - atrial) * wall_area + atrial * ((endo + ATRIAL_WALL_MM) ** 2 - endo**2)
    epi = np.sqrt(endo**2 + wall_area)
    rv_centre, rv_across, rv_along = _rv_ellipse(heart, epi, level[:, 0], ventricular[:, 0])
    return Contours(
        endocardium=endo,
        rough_endocardium=np.maximum(endo - _fingers(heart, z, endo), 0.0),
        epicardium=epi,
        rv_centre=rv_centre,
        rv_across=rv_across,
        rv_along=rv_along,
        level=level[:, 0],
        edge=thickness_mm * _slope(heart, level[:, 0]),
    )


def _wrap(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _rv_ellipse(
    heart: Heart, epicardium: np.ndarray, level: np.ndarray, contraction: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (T,) centre, semi-axis across and semi-axis along the septum; see `Contours`."""
    outer = epicardium.mean(1)
    profile = np.sqrt(np.clip(1 - (np.clip(level, 0, None) / 0.86) ** 2.2, 0.0, 1.0))
    width = heart.rv_width * profile * (1 - heart.rv_shortening * contraction)
    along = heart.rv_span * outer * (0.55 + 0.45 * profile) + 0.08 * width
    across = np.where(width > 2.5, 0.5 * width + 0.35 * outer, 0.0)
    septal_wall = epicardium[:, np.argmin(np.abs(_wrap(ANGLES - heart.septum)))]
    return septal_wall + width - across, across, along


def _resting_radii(heart: Heart, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (T, NUM_ANGLES) inner and outer radii before contraction, at `level` (T, 1)."""
    orders = np.arange(2, 2 + len(heart.modes))[:, None]
    shape = 1 + (heart.modes[:, :1] * np.cos(orders * ANGLES + heart.modes[:, 1:])).sum(0)
    shape = shape * (1 - heart.septal_flattening * _bump(ANGLES, heart.septum, 1.1))
    endo = heart.radius * _taper(level) * shape
    outer_level = level * heart.length / (heart.length + heart.wall)
    plain_wall = (heart.radius + heart.wall) * _taper(outer_level) - heart.radius * _taper(level)
    region = 1 + heart.thickening[2] * _bump(ANGLES, *heart.thickening[:2]) * _bump(level, 0.3, 0.9)
    region = region * (1 - heart.scar[2] * _bump(ANGLES, *heart.scar[:2]) ** 0.5 * _bump(level, 0.6, 0.9))
    return endo, endo + plain_wall * region


def _fingers(heart: Heart, z: float, endo: np.ndarray) -> np.ndarray:
    """Return (T, NUM_ANGLES) how far trabeculae reach into the cavity; they crowd together as it shrinks."""
    orders = np.arange(9, 9 + len(heart.trabeculae))[:, None]
    amplitude, phase, twist = (column[:, None] for column in heart.trabeculae.T)
    waves = (amplitude * np.cos(orders * ANGLES + phase + twist * z)).sum(0)
    away_from_septum = 1 - 0.7 * _bump(ANGLES, heart.septum, 1.4)  # the septum is smooth
    return np.minimum(np.maximum(waves, 0.0) * away_from_septum * 1.3, 0.3 * endo)


def _slope(heart: Heart, level: np.ndarray) -> np.ndarray:
    """Return (T,) how many mm the wall moves inwards per mm towards the apex."""
    step = 0.05
    return (_taper(level - step) - _taper(level + step)) * heart.radius / (2 * step * heart.length)


def at_angle(table: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return radii at any angle, linearly between the entries of a (T, NUM_ANGLES) table.

    Args:
        table: (T, NUM_ANGLES) at `ANGLES`.
        angle: (H, W) in radians, in [-pi, pi].

    Returns:
        (T, H, W) float32.
    """
    position = (angle + np.pi) * (NUM_ANGLES / (2 * np.pi))
    lower = np.floor(position).astype(int)
    share = (position - lower).astype(np.float32)
    table = table.astype(np.float32)
    return table[:, lower % NUM_ANGLES] * (1 - share) + table[:, (lower + 1) % NUM_ANGLES] * share


def rv_distance(heart: Heart, shape: Contours, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the signed distance (mm, negative inside) to the RV's ellipse, which the LV still overlaps.

    Args:
        heart: the heart.
        shape: its outlines at T moments.
        x: (H, W) in mm from the LV's centre.
        y: (H, W) in mm.

    Returns:
        (T, H, W) float32, first order near the outline; large where there is no RV.
    """
    towards = x * np.cos(heart.septum) + y * np.sin(heart.septum)
    beside = -x * np.sin(heart.septum) + y * np.cos(heart.septum)
    centre, across, along = (
        v[:, None, None].astype(np.float32) for v in (shape.rv_centre, shape.rv_across, shape.rv_along)
    )
    none, across, along = across == 0, np.maximum(across, 1.0), np.maximum(along, 1.0)
    bent = towards - centre + 0.006 * beside**2 + 0.15 * beside  # the free wall wraps around the LV, lower end leads
    distance = np.sqrt((bent / across) ** 2 + (beside / along) ** 2)
    gradient = np.sqrt((bent / across**2) ** 2 + (beside / along**2) ** 2)
    signed = distance * (distance - 1) / np.maximum(gradient, 1e-3)
    return np.where(none, 1e3, signed).astype(np.float32)
