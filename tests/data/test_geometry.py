from __future__ import annotations

from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from cmrsynth.data.geometry import (
    PadOrCrop,
    ResampleInPlane,
    crop_study,
    resample_images,
    resample_labels,
    resampling_matrix,
    window_start,
)
from cmrsynth.errors import InputError

_spec = spec_from_file_location("studies", Path(__file__).with_name("studies.py"))
studies = module_from_spec(_spec)
_spec.loader.exec_module(studies)


def moments(mask):
    """Centroid and the two axis deviations of a mask, in pixels."""
    points = np.argwhere(mask)
    return points.mean(axis=0), np.sqrt(np.linalg.eigvalsh(np.cov(points.T)))


@pytest.mark.parametrize("kernel", ["linear", "cubic"])
@pytest.mark.parametrize("ratio", [0.6, 1.0, 1.37, 2.5])
def test_resampling_keeps_a_flat_image_and_a_ramp(kernel, ratio):
    matrix = resampling_matrix(60, ratio, kernel=kernel)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    centres = (np.arange(len(matrix)) - (len(matrix) - 1) / 2) * ratio + 29.5
    ramp = matrix @ np.arange(60.0)
    np.testing.assert_allclose(ramp[8:-8], centres[8:-8], atol=0.06)  # where a point lands, in old pixels
    np.testing.assert_allclose(ramp + ramp[::-1], 59, atol=1e-9)


def test_resampling_by_one_changes_nothing():
    image = np.random.default_rng(0).normal(size=(2, 9, 7)).astype(np.float32)
    np.testing.assert_allclose(resample_images(image, (1.0, 1.0)), image, atol=1e-6)


def test_shrinking_does_not_alias():
    """A one-pixel checkerboard has no energy below the new Nyquist frequency: what remains must be grey."""
    board = np.indices((64, 64)).sum(axis=0) % 2 * 1.0
    small = resample_images(board, (2.6, 2.6), kernel="linear")
    assert np.abs(small[3:-3, 3:-3] - 0.5).max() < 0.1
    nearest = board[::3, ::3]
    assert np.abs(nearest - 0.5).max() == 0.5


@pytest.mark.parametrize(("spacing", "new"), [((1.4, 1.4), 2.0), ((1.25, 1.25), 2.0), ((1.0, 1.6), 1.2)])
def test_square_of_10_mm_stays_10_mm(spacing, new):
    shape = (91, 101)
    square = np.zeros(shape, np.uint8)
    square[40 : 40 + round(10 / spacing[0]), 55 : 55 + round(10 / spacing[1])] = 1
    study = studies.beating_study(shape=shape, spacing=spacing, radii=(5, 5, 5))
    study = studies.with_masks(study, lambda mask: np.broadcast_to(square, mask.shape))
    mask = ResampleInPlane(new)(study).volumes[0].mask[0]
    sides = (mask.any(axis=1).sum() * new, mask.any(axis=0).sum() * new)
    drawn = tuple(round(10 / s) * s for s in spacing)  # 10 mm in whole pixels
    assert sides == pytest.approx(drawn, abs=1.001 * new)
    before = np.argwhere(square).mean(axis=0) - (np.array(shape) - 1) / 2
    after = np.argwhere(mask).mean(axis=0) - (np.array(mask.shape) - 1) / 2
    assert np.abs(before * spacing - after * new).max() < 0.5 * new


def test_aspect_of_an_ellipse_is_kept_when_pixels_are_not_square():
    spacing, shape = (1.1, 1.7), (180, 120)
    rows, columns = np.indices(shape)
    ellipse = ((rows - 90.2) * 1.1 / 50) ** 2 + ((columns - 61.3) * 1.7 / 30) ** 2 <= 1
    mask = resample_labels(ellipse.astype(np.uint8), (1.5 / 1.1, 1.5 / 1.7))
    centre, axes = moments(mask)
    assert axes[1] / axes[0] == pytest.approx(50 / 30, rel=0.02)
    assert mask.sum() * 1.5**2 == pytest.approx(np.pi * 50 * 30, rel=0.01)
    expected = (np.array([90.2, 61.3]) - [89.5, 59.5]) * spacing / 1.5 + (np.array(mask.shape) - 1) / 2
    assert np.abs(centre - expected).max() < 0.5


def test_labels_stay_labels_and_keep_their_areas():
    disc = studies.disc
    mask = np.zeros((96, 96), np.uint8)
    mask[disc(mask.shape, (48, 40), 25)] = 2
    mask[disc(mask.shape, (48, 40), 17)] = 1
    mask[disc(mask.shape, (48, 75), 9)] = 3
    small = resample_labels(mask, (1.5, 1.5))
    assert set(np.unique(small)) == {0, 1, 2, 3}
    for label in (1, 2, 3):
        assert (small == label).sum() * 2.25 == pytest.approx((mask == label).sum(), rel=0.06)


def test_resampling_carries_cine_and_spacing():
    study = studies.beating_study(spacing=(1.0, 1.5))
    study = replace(study, cine=np.zeros((3, 5, 48, 56), np.float32))
    done = ResampleInPlane(2.0)(study)
    assert done.cine.shape == (3, *done.volumes[0].image.shape) == (3, 5, 24, 42)
    assert done.pixel_spacing == (2.0, 2.0)


@pytest.mark.parametrize("size", [64, 65])
def test_pad_then_crop_is_the_identity(size):
    study = studies.beating_study(shape=(40, 40), centre=(20, 18))
    back = PadOrCrop(40)(PadOrCrop(size)(study))
    for before, after in zip(study.volumes, back.volumes, strict=True):
        np.testing.assert_array_equal(before.image, after.image)
        np.testing.assert_array_equal(before.mask, after.mask)


def test_padding_never_stretches_and_fills_with_the_minimum():
    study = studies.beating_study(shape=(20, 60), centre=(10, 30), radii=(6, 5, 4))
    volume = PadOrCrop(64)(study).volumes[0]
    np.testing.assert_array_equal(volume.image[:, 22:42, 2:62], study.volumes[0].image)
    outside = np.ones((64, 64), bool)
    outside[22:42, 2:62] = False
    assert (volume.image[:, outside] == study.volumes[0].image.min()).all()
    assert (volume.mask[:, outside] == 0).all()


@pytest.mark.parametrize("centre", [-50.0, 0.0, 3.2, 20.0, 39.0, 400.0])
def test_window_stays_inside_a_long_enough_line(centre):
    start = window_start(centre, 16, 40)
    assert 0 <= start <= 24


def test_crop_takes_cine_and_frames_through_one_window():
    study = studies.beating_study()
    cine = np.stack([study.volumes[0].image, study.volumes[1].image])
    done = crop_study(replace(study, cine=cine), 32, (24.0, 30.0))
    np.testing.assert_array_equal(done.cine[1], done.volumes[1].image)


@pytest.mark.parametrize(
    "make", [lambda: PadOrCrop(0), lambda: ResampleInPlane(0.0), lambda: ResampleInPlane(float("nan"))]
)
def test_impossible_sizes_are_refused(make):
    with pytest.raises(InputError, match="To mend it"):
        make()


def test_absurd_spacing_is_refused_with_the_file():
    study = studies.beating_study(spacing=(500.0, 500.0))
    with pytest.raises(InputError, match=r"/raw/anna.nii.gz: 48 x 56 pixels"):
        ResampleInPlane(0.1)(study)
