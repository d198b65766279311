from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cmrsynth.metrics.regions import heart_region, patch_centres, region_patch_statistics
from cmrsynth.metrics.texture import SlicedWasserstein

SIDE = 48
FEW = {"patches_per_image": 24, "num_projections": 32, "seed": 0}


def images(count, seed):
    noise = np.random.default_rng(seed).normal(size=(count, SIDE, SIDE))
    return (0.5 + gaussian_filter(noise, (0, 0.7, 0.7)) * 0.1).astype(np.float32)


@pytest.fixture(scope="module")
def heart():
    rows, columns = np.mgrid[:SIDE, :SIDE]
    masks = np.repeat((np.hypot(rows - 24, columns - 24) < 6).astype(np.uint8)[None], 20, 0)
    return heart_region(masks, np.full((20, 2), 1.5))


def distance(x, y, region):
    return SlicedWasserstein(*(region_patch_statistics(each, region, **FEW)[0] for each in (x, y))).distance()[
        "level_0"
    ]


def test_the_region_is_a_distance_in_millimetres():
    mask = np.zeros((1, 41, 41), int)
    mask[0, 20, 20] = 1
    region = heart_region(mask, np.array([[1.0, 2.0]]), margin_mm=10.0)[0]
    assert region.any(1).sum() == 21
    assert region.any(0).sum() == 11
    assert region.sum() == pytest.approx(np.pi * 10 * 5, rel=0.05)


def test_only_the_labels_asked_for_count():
    masks = np.zeros((2, 30, 30), int)
    masks[0, 15, 15], masks[1, 15, 15] = 2, 3
    region = heart_region(masks, np.ones((2, 2)), labels=[3], margin_mm=2)
    assert region.any((1, 2)).tolist() == [False, True]


def test_patches_lie_wholly_inside():
    region = np.zeros((1, 20, 20), bool)
    region[0, 5:13, 4:12] = True
    assert np.argwhere(patch_centres(region)[0]).tolist() == [[8, 7], [8, 8], [9, 7], [9, 8]]


def test_images_without_the_region_are_left_out(heart):
    region = heart.copy()
    region[[1, 4]] = False
    statistics, rows = region_patch_statistics(images(20, 0), region, **FEW)
    assert len(statistics) == 18
    assert rows.tolist() == [row for row in range(20) if row not in (1, 4)]


def test_each_region_sees_its_own_damage_only(heart):
    x, y = images(20, 0), images(20, 1)
    damaged = x + np.random.default_rng(2).normal(0, 0.1, x.shape)
    torn = np.where(heart, x, damaged)
    bad_heart = np.where(heart, damaged, x)
    null = {name: distance(x, y, region) for name, region in (("heart", heart), ("background", ~heart))}
    assert distance(torn, y, ~heart) > 5 * null["background"]
    assert distance(torn, y, heart) < 1.5 * null["heart"]
    assert distance(bad_heart, y, heart) > 5 * null["heart"]
    assert distance(bad_heart, y, ~heart) < 1.5 * null["background"]


def test_a_set_against_itself_is_zero(heart):
    x = images(20, 0)
    assert distance(x, x, heart) == pytest.approx(0, abs=1e-9)


def test_wrong_input_says_how_to_mend_it(heart):
    with pytest.raises(ValueError, match="spacing"):
        heart_region(np.zeros((2, 9, 9)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="above 0"):
        heart_region(np.ones((2, 9, 9)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="widen"):
        region_patch_statistics(images(20, 0), np.zeros_like(heart), **FEW)
    with pytest.raises(ValueError, match="region per image"):
        region_patch_statistics(images(3, 0), heart, **FEW)
