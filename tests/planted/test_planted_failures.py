"""Failures planted on purpose: each must be caught by the axis it belongs to, and real images must pass all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.adherence import adherence_figures
from cmrsynth.evaluation.distances import all_distances
from cmrsynth.evaluation.encoder import cardiac_encoder
from cmrsynth.evaluation.evaluate import evaluate
from cmrsynth.evaluation.fidelity import fidelity_figures
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK
from cmrsynth.evaluation.privacy import privacy_figures
from cmrsynth.evaluation.segmenter import train_segmenter
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.verdict import overall

SETTINGS = EvaluationSettings(segmenter_updates=120, resamples=60, floor_draws=3)


@pytest.fixture(scope="module")
def sets(toy_set):
    return {
        "train": toy_set("train", 16, seed=0),
        "holdout": toy_set("holdout", 12, seed=1),
        "third": toy_set("third", 12, seed=2),
    }


@pytest.fixture(scope="module")
def judged(sets, tmp_path_factory):
    """A function that judges a synthetic set on fidelity and privacy; the utility arms need more training."""
    train, holdout = sets["train"], sets["holdout"]
    labels = train.annotated_labels
    network = train_segmenter(
        train.images,
        train.masks,
        labels,
        updates=SETTINGS.segmenter_updates,
        batch_size=8,
        seed=0,
        path=tmp_path_factory.mktemp("models") / "real.safetensors",
    )
    encoder = cardiac_encoder(network, train.images)

    def judge(synthetic: SliceSet):
        figures = fidelity_figures(train, holdout, synthetic, [encoder], SETTINGS)
        figures += adherence_figures(train, holdout, synthetic, labels, network, SETTINGS)
        distances = all_distances(train, holdout, synthetic, encoder)
        figures += privacy_figures(train, holdout, synthetic, encoder, distances, SETTINGS)
        return {f.name: f for f in figures}, overall(figures)

    return judge


def faults(figures: dict) -> dict[str, float]:
    return {name: f.value for name, f in figures.items() if f.verdict in (LOOK, DO_NOT_SHARE)}


def test_real_patients_pass(sets, judged):
    figures, verdict = judged(sets["third"])
    assert verdict["fidelity"] == GOOD, faults(figures)
    assert verdict["privacy"] == GOOD, faults(figures)


def test_the_held_out_images_themselves_pass(sets, judged):
    figures, verdict = judged(sets["holdout"])
    assert (verdict["fidelity"], verdict["privacy"]) == (GOOD, GOOD), faults(figures)
    assert figures["frechet_distance"].value == pytest.approx(0, abs=1e-6)


def moved(images: np.ndarray) -> np.ndarray:
    """Flipped, shifted by two pixels, and of another gain and offset."""
    return np.clip(np.roll(images[:, :, ::-1], (2, -2), (1, 2)) * 0.9 + 0.03, 0, 1)


@pytest.mark.parametrize("disguise", [lambda x: x, moved, lambda x: gaussian_filter(x, (0, 0.7, 0.7))])
def test_copies_of_training_images_fail_privacy(sets, judged, disguise):
    train = sets["train"]
    copies = replace(train, images=disguise(train.images).astype(np.float32))
    figures, verdict = judged(copies)
    assert verdict["privacy"] == DO_NOT_SHARE
    assert figures["near_copies"].value > 0.9
    assert figures["closer_to_train_pixels"].value > 0.7  # 12 of the 16 training patients are drawn at a time
    assert "masks came from train patients" in figures["closer_to_train_pixels"].reading  # says whose masks these are


def test_one_copy_in_ten_fails_privacy(sets, judged):
    train, third = sets["train"], sets["third"]
    images = third.images.copy()
    images[::10] = train.images[: len(images[::10])]
    figures, verdict = judged(replace(third, images=images))
    assert verdict["privacy"] == DO_NOT_SHARE
    assert figures["near_copies"].value == pytest.approx(len(images[::10]) / len(images))


def test_shuffled_masks_fail_adherence(sets, judged):
    third = sets["third"]
    masks = third.masks[np.random.default_rng(0).permutation(len(third))]
    figures, verdict = judged(replace(third, masks=masks))
    assert figures["adherence_dice"].verdict == DO_NOT_SHARE
    assert verdict["fidelity"] == DO_NOT_SHARE
    assert figures["sliced_wasserstein_finest"].verdict == GOOD  # the images themselves are fine


def test_heavy_blur_fails_fidelity(sets, judged):
    third = sets["third"]
    blurred = replace(third, images=gaussian_filter(third.images, (0, 2, 2)).astype(np.float32))
    figures, verdict = judged(blurred)
    assert verdict["fidelity"] == DO_NOT_SHARE
    assert figures["sliced_wasserstein_finest"].verdict == DO_NOT_SHARE
    assert "too little fine detail" in figures["spectrum_distance"].reading


def test_one_repeated_image_fails_fidelity(sets, judged):
    third = sets["third"]
    same = {name: np.repeat(getattr(third, name)[:1], len(third), 0) for name in ("images", "masks")}
    figures, verdict = judged(replace(third, **same))
    assert verdict["fidelity"] == DO_NOT_SHARE
    assert figures["recall"].value < 0.1


def test_a_texture_that_no_real_image_has_fails_fidelity(sets, judged):
    third = sets["third"]
    noise = np.random.default_rng(0).normal(0, 0.15, third.images.shape)
    figures, verdict = judged(replace(third, images=np.clip(third.images + noise, 0, 1).astype(np.float32)))
    assert verdict["fidelity"] == DO_NOT_SHARE
    assert figures["sliced_wasserstein_finest"].verdict == DO_NOT_SHARE


@pytest.mark.slow
def test_copies_and_noise_with_right_masks_end_to_end(sets, tmp_path: Path):
    """Copies train as well as real images, and only privacy objects; noise trains nothing."""
    train, holdout = sets["train"], sets["holdout"]
    settings = replace(SETTINGS, segmenter_updates=300)
    copies = evaluate(train, holdout, train, output=tmp_path / "copies", settings=settings)
    assert copies.verdict["privacy"] == DO_NOT_SHARE
    assert copies.figure("utility_gap").verdict == GOOD
    noise = np.random.default_rng(0).uniform(size=train.images.shape).astype(np.float32)
    junk = evaluate(train, holdout, replace(train, images=noise), output=tmp_path / "noise", settings=settings)
    assert junk.verdict["utility"] == DO_NOT_SHARE
    assert junk.verdict["fidelity"] == DO_NOT_SHARE
