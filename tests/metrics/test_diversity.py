from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cmrsynth.metrics.diversity import (
    gaussian_kernel,
    pairwise_ms_ssim,
    patient_pairs,
    per_mask_diversity,
    vendi_score,
)
from cmrsynth.metrics.paired import ms_ssim, ms_ssim_scales


def fields(count, seed=0, side=64):
    coarse = gaussian_filter(np.random.default_rng(seed).normal(size=(count, side, side)), (0, 4, 4))
    return np.clip(0.5 + coarse / coarse.std() * 0.2, 0, 1).astype(np.float32)


# MS-SSIM


@pytest.mark.parametrize("shape", [(32, 32), (64, 48), (96, 96), (180, 200), (512, 512)])
def test_every_size_from_32_gives_a_finite_likeness(shape):
    x, y = np.random.default_rng(0).random((2, 1, *shape))
    assert 0 <= ms_ssim(x, y)[0] < 0.5
    assert ms_ssim(x, x)[0] == pytest.approx(1, abs=1e-6)


def test_at_full_depth_it_is_the_published_measure():
    import torch
    from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure

    x, y = fields(2, 0, 192), fields(2, 1, 192)
    assert ms_ssim_scales(192, 192) == 5
    expected = MultiScaleStructuralSimilarityIndexMeasure(data_range=1.0)(
        torch.from_numpy(x)[:, None], torch.from_numpy(y)[:, None]
    )
    assert ms_ssim(x, y).mean() == pytest.approx(float(expected), abs=1e-3)  # its betas sum to 1.0001


def test_likeness_is_symmetric_and_chunked_alike():
    x, y = fields(6, 0), fields(6, 1)
    np.testing.assert_allclose(ms_ssim(x, y), ms_ssim(y, x), atol=1e-6)
    np.testing.assert_allclose(ms_ssim(x, y), [ms_ssim(x[i : i + 1], y[i : i + 1])[0] for i in range(6)], atol=1e-6)


def test_likeness_grows_with_blending():
    x, y = fields(4, 0), fields(4, 1)
    found = [ms_ssim(x, (1 - share) * y + share * x).mean() for share in (0, 0.5, 0.9, 1)]
    assert found == sorted(found)


def test_pairs_are_of_different_patients():
    patient = np.repeat(np.arange(5), [1, 2, 3, 10, 50])
    pairs = patient_pairs(patient, pairs=4000, seed=0)
    assert (patient[pairs[:, 0]] != patient[pairs[:, 1]]).all()
    often = np.bincount(patient[pairs].ravel(), minlength=5) / pairs.size
    np.testing.assert_allclose(often, 0.2, atol=0.02)  # not by their number of images


def test_one_repeated_image_has_a_likeness_of_one():
    images, patient = fields(12), np.arange(12)
    assert pairwise_ms_ssim(np.repeat(images[:1], 12, 0), patient, pairs=20) == pytest.approx(1, abs=1e-6)
    assert pairwise_ms_ssim(images, patient, pairs=60) < 0.4


def test_one_patient_has_no_pairs():
    with pytest.raises(ValueError, match="2 patients"):
        pairwise_ms_ssim(fields(3), np.zeros(3))


# Vendi score


@pytest.mark.parametrize("q", [0.5, 1, 2, np.inf])
def test_known_vendi_scores(q):
    assert vendi_score(np.ones((7, 7)), q=q) == pytest.approx(1)
    assert vendi_score(np.eye(7), q=q) == pytest.approx(7)
    two = np.kron(np.eye(2), np.ones((4, 4)))
    assert vendi_score(two, q=q) == pytest.approx(2)


def test_vendi_does_not_depend_on_the_order_and_weights_are_copies():
    kernel = gaussian_kernel(np.random.default_rng(0).normal(size=(9, 3)), 1.0)
    order = np.random.default_rng(1).permutation(9)
    assert vendi_score(kernel[np.ix_(order, order)]) == pytest.approx(vendi_score(kernel))
    rows = np.array([0, 0, 0, 3, 5, 5])
    weighted = vendi_score(kernel, weights=np.bincount(rows, minlength=9))
    assert weighted == pytest.approx(vendi_score(kernel[np.ix_(rows, rows)]))


def test_the_kernel_does_not_move_with_the_features():
    features = np.random.default_rng(0).normal(size=(6, 4))
    turned = features @ np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0] + 3
    np.testing.assert_allclose(gaussian_kernel(features, 2.0), gaussian_kernel(turned, 2.0), atol=1e-9)
    assert gaussian_kernel(np.array([[0.0], [2.0]]), 2.0)[0, 1] == pytest.approx(np.exp(-0.5))


def test_wrong_kernels_are_refused():
    with pytest.raises(ValueError, match="diagonal"):
        vendi_score(2 * np.eye(3))
    with pytest.raises(ValueError, match="bandwidth"):
        gaussian_kernel(np.zeros((2, 2)), 0.0)


# Samples of one mask


def test_the_difference_between_samples_of_one_mask():
    samples = np.concatenate([fields(2, 0), np.repeat(fields(1, 1), 3, 0), fields(1, 2)])
    masks, apart = per_mask_diversity(samples, np.array(["a", "a", "b", "b", "b", "c"]))
    assert masks.tolist() == ["a", "b"]
    assert apart[0] == pytest.approx(1 - ms_ssim(samples[:1], samples[1:2])[0])
    assert apart[1] == pytest.approx(0, abs=1e-6)


def test_masks_with_one_sample_say_nothing():
    masks, apart = per_mask_diversity(fields(3), np.arange(3))
    assert len(masks) == len(apart) == 0
