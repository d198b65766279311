from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.data.contours import coverage, rasterise, read_contour
from cmrsynth.errors import InputError


def circle(x: float, y: float, radius: float, points: int = 400) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


@pytest.mark.parametrize("radius", [14.0, 20.0, 33.3])
@pytest.mark.parametrize(
    ("centre", "pixels"),
    # Off the lattice, whole pixels on one side move the centroid by some hundredths whatever the rule.
    [((50.0, 60.0), 0.05), ((49.5, 60.5), 0.05), ((50.3, 60.8), 0.1), ((51.77, 59.13), 0.1)],
)
def test_disc_keeps_area_and_centroid(centre, pixels, radius):
    points = circle(*centre, radius)
    mask, share = rasterise(points, (128, 120)), coverage(points, (128, 120))
    assert mask.sum() == pytest.approx(np.pi * radius**2, rel=0.0015)
    assert np.argwhere(mask).mean(axis=0)[::-1] == pytest.approx(centre, abs=pixels)
    assert share[mask].min() > 0.35
    assert share[~mask].max() < 0.65
    for axis, middle in enumerate(centre[::-1]):
        along = np.indices(share.shape)[axis]
        assert (share * along).sum() / share.sum() == pytest.approx(middle, abs=0.01)


def test_discs_are_not_shifted_on_average():
    # Flooring the coordinates, as filling with whole numbers does, shifts by 0.25 px or more.
    generator = np.random.default_rng(0)
    centres = generator.uniform(15, 17, (40, 2))
    shifts = [np.argwhere(rasterise(circle(*c, 8.0, 60), (32, 32))).mean(axis=0)[::-1] - c for c in centres]
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.03


def test_rectangle_on_pixel_borders_and_shifted():
    box = np.array([[0.5, 1.5], [3.5, 1.5], [3.5, 3.5], [0.5, 3.5]])
    right = np.array([1.0, 0.0])
    assert np.argwhere(rasterise(box, (6, 6))).tolist() == [[r, c] for r in (2, 3) for c in (1, 2, 3)]
    np.testing.assert_array_equal(rasterise(box + 0.4 * right, (6, 6)), rasterise(box, (6, 6)))
    np.testing.assert_array_equal(rasterise(box + 0.6 * right, (6, 6)), rasterise(box + right, (6, 6)))


def test_coverage_sums_to_the_area_of_any_polygon():
    generator = np.random.default_rng(1)
    for _ in range(20):
        angle = np.sort(generator.uniform(0, 2 * np.pi, 12))
        radius = generator.uniform(2, 9, 12)
        x, y = 10 + radius * np.cos(angle), 11 + radius * np.sin(angle)
        area = abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2
        assert coverage(np.stack([x, y], 1), (21, 20)).sum() == pytest.approx(area)


def test_edges_through_pixel_centres_neither_grow_nor_shift():
    # Keeping every half-covered pixel would give 21 * 21 = 441 pixels of 400.
    box = np.array([[10.0, 12.0], [30.0, 12.0], [30.0, 32.0], [10.0, 32.0]])
    mask = rasterise(box, (40, 40))
    assert mask.sum() == pytest.approx(400, rel=0.005)
    assert np.argwhere(mask).mean(axis=0) == pytest.approx((22, 20), abs=0.05)


def test_orientation_repeated_end_and_transposition_do_not_matter():
    points = circle(20.2, 15.6, 7.3, 37) * [1.0, 0.8]
    mask = rasterise(points, (40, 50))
    np.testing.assert_array_equal(mask, rasterise(points[::-1], (40, 50)))
    np.testing.assert_array_equal(mask, rasterise(np.concatenate([points, points[:1]]), (40, 50)))
    np.testing.assert_array_equal(mask, rasterise(points[:, ::-1], (50, 40)).T)


def test_contour_filling_the_image():
    box = np.array([[-0.5, -0.5], [4.5, -0.5], [4.5, 3.5], [-0.5, 3.5]])
    assert rasterise(box, (4, 5)).all()


@pytest.mark.parametrize("shift", [[20, 0], [-20, 0], [0, 20], [0, -20]])
def test_contour_outside_the_image_is_refused(shift):
    with pytest.raises(InputError, match=r"c\.txt: points .* leave the image of 32 x 32"):
        rasterise(circle(16, 16, 8) + shift, (32, 32), "c.txt")


def test_contour_without_a_pixel_is_refused():
    with pytest.raises(InputError, match="covers no pixel"):
        rasterise(circle(16, 16, 0.1), (32, 32))


def test_read_contour(tmp_path):
    (tmp_path / "c.txt").write_text("1.5 2\n3 4.25\r\n\n5 6\n")
    assert read_contour(tmp_path / "c.txt").tolist() == [[1.5, 2], [3, 4.25], [5, 6]]


@pytest.mark.parametrize(
    ("text", "match"),
    [("", "0 points"), ("1 2\n3 4\n", "2 points"), ("1 2\n3\n5 6", "not a list"), ("a b\n" * 3, "not a list"),
     ("1 2\n3 nan\n5 6", "finite")],
)  # fmt: skip
def test_bad_contour_is_named(tmp_path, text, match):
    (tmp_path / "c.txt").write_text(text)
    with pytest.raises(InputError, match=rf"c\.txt: .*{match}"):
        read_contour(tmp_path / "c.txt")


def test_missing_contour(tmp_path):
    with pytest.raises(InputError, match=r"c\.txt: cannot be read"):
        read_contour(tmp_path / "c.txt")
