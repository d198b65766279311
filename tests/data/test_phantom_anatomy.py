from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmrsynth.data.phantom_anatomy import ANGLES, PATHOLOGIES, Heart, at_angle, contours, draw_heart, rv_distance
from cmrsynth.data.phantom_thorax import coverage

REST, PEAK = np.array([0.0]), np.array([1.0])


def _heart(pathology: str, index: int = 0) -> Heart:
    return draw_heart(pathology, np.random.default_rng(index))


def _plain(radius: float = 24.0, wall: float = 9.0) -> Heart:
    """Return a heart without any deformation."""
    none = (0.0, 1.0, 0.0)
    return replace(
        _heart("normal"),
        radius=radius,
        wall=wall,
        modes=np.zeros((4, 2)),
        thickening=none,
        scar=none,
        septal_flattening=0.0,
        trabeculae=np.zeros((18, 3)),
    )


def test_without_deformations_the_base_is_two_discs() -> None:
    shape = contours(_plain(), 10.0, REST)
    assert np.ptp(shape.endocardium) < 1e-9
    assert np.ptp(shape.epicardium) < 1e-9
    assert shape.endocardium[0, 0] == pytest.approx(24.0, rel=0.01)
    assert shape.epicardium[0, 0] - shape.endocardium[0, 0] == pytest.approx(9.0, rel=0.02)
    assert np.array_equal(shape.endocardium, shape.rough_endocardium)


@pytest.mark.parametrize("pixel_mm", [1.0, 1.9, 3.8])
def test_a_rasterised_disc_has_its_analytic_area(pixel_mm: float) -> None:
    axis = np.arange(-40, 40, pixel_mm) + 0.31  # the centre lies between pixels
    x, y = np.meshgrid(axis, axis)
    table = np.full((1, len(ANGLES)), 24.0)
    distance = np.hypot(x, y) - at_angle(table, np.arctan2(y, x))[0]
    assert coverage(distance, pixel_mm).sum() * pixel_mm**2 == pytest.approx(np.pi * 24.0**2, rel=0.005)
    assert (distance < 0).sum() * pixel_mm**2 == pytest.approx(np.pi * 24.0**2, rel=0.015 * pixel_mm)


@pytest.mark.parametrize("pathology", PATHOLOGIES)
def test_the_myocardium_keeps_its_volume_as_it_contracts(pathology: str) -> None:
    heart = _heart(pathology)

    def volume(contraction: np.ndarray) -> float:
        start = heart.length * heart.longitudinal_shortening * contraction[0] + 4.0  # below the atrial transition
        total = 0.0
        for z in np.arange(start, heart.length + heart.wall, 0.5):
            shape = contours(heart, z, contraction)
            total += 0.25 * float((shape.epicardium**2 - shape.endocardium**2).mean()) * 2 * np.pi
        return total

    assert volume(PEAK) == pytest.approx(volume(REST), rel=0.06)


def test_contraction_pulls_the_wall_in_and_thickens_it() -> None:
    shape = contours(_plain(), 40.0, np.array([0.0, 0.5, 1.0]))
    assert (np.diff(shape.endocardium[:, 0]) < -2).all()
    assert (np.diff(shape.epicardium[:, 0]) < 0).all()
    assert (np.diff(shape.epicardium[:, 0] - shape.endocardium[:, 0]) > 0.5).all()


def test_the_base_comes_down_so_that_the_top_plane_leaves_the_ventricle() -> None:
    level = contours(_heart("normal"), 4.0, np.array([0.0, 1.0])).level
    assert level[0] > 0 > level[1]


def _thickest_wall(heart: Heart) -> float:
    shape = contours(heart, 0.35 * heart.length, REST)
    return float((shape.epicardium - shape.endocardium).max())


@pytest.mark.parametrize("index", range(8))
def test_wall_thickness_tells_hypertrophic_normal_and_dilated_apart(index: int) -> None:
    thickest = {p: _thickest_wall(_heart(p, index)) for p in ("hypertrophic", "normal", "dilated")}
    assert thickest["hypertrophic"] > 15.0
    assert 7.0 < thickest["normal"] < 12.0
    assert thickest["dilated"] < thickest["normal"]


def test_a_scar_is_thin_and_does_not_move_while_the_rest_does() -> None:
    heart = _heart("infarct")
    heart = replace(heart, scar=(0.5, 1.2, 0.5))
    shape = contours(heart, 0.6 * heart.length, np.array([0.0, 1.0]))
    scar, remote = np.argmin(np.abs(ANGLES - 0.5)), np.argmin(np.abs(ANGLES - 0.5 + np.pi))
    wall = shape.epicardium - shape.endocardium
    inward = 1 - shape.endocardium[1] / shape.endocardium[0]
    assert wall[0, scar] < 0.65 * wall[0, remote]
    assert inward[scar] < 0.05 < 0.15 < inward[remote]


def test_trabeculae_reach_into_the_cavity_only() -> None:
    shape = contours(_heart("normal"), 40.0, np.array([0.0, 1.0]))
    depth = shape.endocardium - shape.rough_endocardium
    assert (depth >= 0).all()
    assert depth.max() > 1.0


def test_the_rv_hugs_the_septum_and_its_free_wall_lies_where_its_width_says() -> None:
    heart = replace(_plain(), septum=0.0)
    shape = contours(heart, 20.0, REST)
    x = np.arange(0.0, 90.0, 0.1)[None]
    inside = x[0][(rv_distance(heart, shape, x, np.zeros_like(x))[0, 0] < 0)]
    outer = shape.epicardium[0, 180]
    assert inside.min() < outer < inside.max()  # it overlaps the septum, so that no gap is left
    assert inside.max() - outer == pytest.approx(heart.rv_width, rel=0.08)


def test_there_is_no_rv_at_the_apex() -> None:
    heart = _plain()
    shape = contours(heart, 0.95 * heart.length, REST)
    assert shape.rv_across[0] == 0
    assert (rv_distance(heart, shape, np.zeros((1, 1)), np.zeros((1, 1))) > 0).all()
