from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.diversity import diversity_figures, mask_ids
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, NOT_COMPUTED
from cmrsynth.evaluation.mask_memory import mask_memory_figure
from cmrsynth.evaluation.settings import EvaluationSettings

SETTINGS = EvaluationSettings(resamples=100, floor_draws=2)
WHOLE = ("pairwise_ms_ssim", "vendi_score")


@pytest.fixture(scope="module")
def sets(toy_set):
    return tuple(toy_set(name, 12, seed=seed) for name, seed in (("train", 0), ("holdout", 1), ("third", 2)))


def judged(sets, synthetic: SliceSet):
    return {f.name: f for f in diversity_figures(sets[0], sets[1], synthetic, SETTINGS)}


def noisy(images: np.ndarray, amount: float = 0.02, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, amount, images.shape)
    return np.clip(images + noise, 0, 1).astype(np.float32)


def test_other_real_patients_are_as_varied(sets):
    figures = judged(sets, sets[2])
    assert {figures[name].verdict for name in WHOLE} == {GOOD}
    assert figures["per_mask_diversity"].verdict == NOT_COMPUTED
    assert "--images-per-mask" in figures["per_mask_diversity"].reading


def test_one_repeated_image_is_found_by_both(sets):
    figures = judged(sets, replace(sets[2], images=np.repeat(sets[2].images[:1], len(sets[2]), 0)))
    assert {figures[name].verdict for name in WHOLE} == {DO_NOT_SHARE}
    assert figures["pairwise_ms_ssim"].value == pytest.approx(1, abs=1e-5)
    assert figures["vendi_score"].value == pytest.approx(1, abs=1e-5)


def test_collapse_into_three_images_with_noise_is_found_by_the_vendi_score(sets):
    images = noisy(sets[2].images[np.arange(len(sets[2])) % 3 * 12])
    figures = judged(sets, replace(sets[2], images=images))
    assert figures["vendi_score"].verdict == DO_NOT_SHARE
    assert figures["vendi_score"].value < 5


def test_masks_of_one_patient_have_no_variety_between_patients(sets):
    one = sets[2].select(np.flatnonzero(sets[2].patient_id == sets[2].patients[0]).repeat(4))
    figures = judged(sets, one)
    assert figures["vendi_score"].verdict == figures["pairwise_ms_ssim"].verdict == NOT_COMPUTED
    assert figures["per_mask_diversity"].value == pytest.approx(0, abs=1e-6)


# Samples of one mask


def samples(parts, spread, seed=0) -> SliceSet:
    """Two samples of each mask: the image mixed with those of others, so that its samples differ by `spread`."""
    rows, images = [], []
    rng = np.random.default_rng(seed)
    whole = _joined(parts)
    for row in range(len(whole)):
        for _ in range(2):
            rows.append(row)
            images.append((1 - spread[row]) * whole.images[row] + spread[row] * whole.images[rng.integers(len(whole))])
    return replace(whole.select(rows), images=np.stack(images).astype(np.float32))


def _joined(parts) -> SliceSet:
    arrays = {
        k: np.concatenate([getattr(p, k) for p in parts]) for k, v in vars(parts[0]).items() if hasattr(v, "ndim")
    }
    return replace(parts[0], **arrays)


def test_rows_of_one_patient_slice_and_frame_are_samples_of_one_mask(sets):
    twice = samples(sets[:1], np.zeros(len(sets[0])))
    assert len(np.unique(mask_ids(twice))) == len(sets[0])


def test_a_mask_that_always_gives_one_image_is_found(sets):
    spread = np.full(len(sets[2]), 0.6)
    assert judged(sets, samples(sets[2:], spread))["per_mask_diversity"].verdict == GOOD
    still = judged(sets, samples(sets[2:], 0 * spread))["per_mask_diversity"]
    assert still.verdict == DO_NOT_SHARE
    assert "one and the same image" in still.reading


def test_only_training_masks_that_call_up_one_image_are_memory(sets):
    train, holdout, _ = sets
    known = np.repeat([True, False], [len(train), len(holdout)])
    for spread, verdicts in (
        (np.full(len(known), 0.6), (GOOD,)),
        (np.full(len(known), 0.05), (GOOD,)),  # little noise for all masks is no memory
        (np.where(known, 0.02, 0.6), (LOOK, DO_NOT_SHARE)),
    ):
        figure = mask_memory_figure(train, samples((train, holdout), spread), SETTINGS)
        assert figure.axis == "privacy"
        assert figure.verdict in verdicts, figure


def test_memory_needs_masks_of_both_kinds(sets):
    train = sets[0]
    assert mask_memory_figure(train, train, SETTINGS).verdict == NOT_COMPUTED
    twice = samples((train,), np.full(len(train), 0.5))
    assert mask_memory_figure(train, twice, SETTINGS).verdict == NOT_COMPUTED
