"""The privacy figures on toy hearts: held-out patients pass, planted copies do not, and each figure has three rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cmrsynth.evaluation.audit import Audit, training_with_noise
from cmrsynth.evaluation.cliques import clique_figure
from cmrsynth.evaluation.copies import copy_detector_figures
from cmrsynth.evaluation.distances import all_distances
from cmrsynth.evaluation.encoder import fit_encoder
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, NOT_COMPUTED
from cmrsynth.evaluation.privacy import privacy_figures
from cmrsynth.evaluation.settings import EvaluationSettings

SETTINGS = EvaluationSettings(resamples=60, floor_draws=3)


def raw(images: np.ndarray) -> np.ndarray:
    """Smooth pixels at a quarter of the size: features that need no network."""
    return gaussian_filter(images, (0, 2, 2))[:, 2::4, 2::4].reshape(len(images), -1)


@pytest.fixture(scope="module")
def sets(toy_set):
    parts = (("train", 16, 0), ("holdout", 14, 1), ("third", 14, 2), ("others", 30, 3))
    return {name: toy_set(name, patients, seed=seed) for name, patients, seed in parts}


@pytest.fixture(scope="module")
def encoder(sets):
    """Fitted to none of the sets that are compared, so that they are alike to it but for copying."""
    return fit_encoder("smooth pixels", "0" * 64, raw, sets["others"].images)


@pytest.fixture(scope="module")
def figures_of(sets, encoder):
    def figures(synthetic, train=sets["train"]):
        distances = all_distances(train, sets["holdout"], synthetic, encoder)
        found = privacy_figures(train, sets["holdout"], synthetic, encoder, distances, SETTINGS)
        return {f.name: f for f in found}

    return figures


def faults(figures: dict) -> dict:
    return {name: f.value for name, f in figures.items() if f.verdict in (LOOK, DO_NOT_SHARE)}


@pytest.mark.parametrize("name", ["third", "holdout"])
def test_patients_that_were_never_trained_on_pass(sets, figures_of, name):
    assert faults(figures_of(sets[name])) == {}


def test_every_distance_figure_shows_synthetic_held_out_and_planted(sets, figures_of):
    figures = figures_of(sets["third"])
    computed = [f for f in figures.values() if f.verdict != NOT_COMPUTED]
    assert len(computed) >= 13
    for figure in computed:
        assert None not in (figure.value, figure.interval, figure.floor, figure.floor_interval, figure.planted)
        assert figure.planted_as == "training images with noise of 0.05"
        assert "sha256" in figure.made_with or "correlation" in figure.made_with
    assert figures["near_copies"].planted == 1
    assert figures["gan_leaks_auc"].planted > figures["gan_leaks_auc"].floor_interval[1]
    assert figures["identifiability"].planted > figures["identifiability"].floor_interval[1]
    assert figures["likelihood_gap"].planted < figures["likelihood_gap"].floor_interval[0]
    assert figures["authenticity"].planted < figures["authenticity"].floor_interval[0]


def test_copies_fire_every_figure(sets, figures_of):
    figures = figures_of(sets["train"])
    quiet = {name for name, f in figures.items() if f.verdict in (GOOD, LOOK)}
    assert quiet == set()  # not even one figure is reassured


def test_collapse_without_copying_is_not_called_copying(sets, figures_of):
    third = sets["third"]
    rng = np.random.default_rng(0)
    images = np.clip(third.images.mean(0) + rng.normal(0, 0.02, third.images.shape), 0, 1).astype(np.float32)
    figures = figures_of(replace(third, images=images))
    assert DO_NOT_SHARE not in {f.verdict for f in figures.values()}


def test_one_copy_in_ten_is_found_by_the_figures_of_the_tail(sets, figures_of):
    images = sets["third"].images.copy()
    images[::10] = training_with_noise(sets["train"], len(images[::10]))
    figures = figures_of(replace(sets["third"], images=images))
    assert figures["near_copies"].verdict == DO_NOT_SHARE
    assert figures["near_copies"].value == pytest.approx(len(images[::10]) / len(images))
    assert figures["gan_leaks_auc"].verdict == GOOD  # which needs many: it is not the figure for this


def test_another_slice_of_a_training_patient_singles_that_patient_out(sets, figures_of):
    """No copy of any image, so near copies are rightly silent; the patient is given away all the same."""
    train = sets["train"]
    unseen = np.arange(len(train)) % 4 == 2
    figures = figures_of(train.select(unseen), train.select(~unseen))
    assert figures["nearest_ratio_pixels"].verdict == DO_NOT_SHARE
    assert figures["nearest_ratio_pixels"].value > 0.8
    assert figures["closer_to_train_pixels"].value > 0.7


def test_too_few_patients_are_refused(sets, encoder):
    few = sets["holdout"].select(np.isin(sets["holdout"].patient_id, sets["holdout"].patients[:4]))
    distances = all_distances(sets["train"], few, sets["third"], encoder)
    figures = privacy_figures(sets["train"], few, sets["third"], encoder, distances, SETTINGS)
    found = {f.name: f for f in figures}
    for name in ("identifiability", "gan_leaks_auc", "likelihood_gap", "data_copying"):
        assert found[name].verdict == NOT_COMPUTED
        assert "at least 6" in found[name].reading


# Samples of one mask


def sampled_twice(sets, stored: tuple[str, ...]):
    """Two samples of each mask of 8 training and 8 other patients; masks of the `stored` sets return one image."""
    rng = np.random.default_rng(0)
    parts = {name: sets[name].select(np.arange(32)) for name in ("train", "third")}
    images, rows = [], []
    for name, part in parts.items():
        for image in part.images:
            samples = [image, image] if name in stored else [image, np.roll(image, 9, 0)[:, ::-1] ** 1.5]
            images += [np.clip(s + rng.normal(0, 0.03, image.shape), 0, 1) for s in samples]
        rows.append(part.patient_id.repeat(2))
    both = sets["train"].select(np.arange(64).repeat(2))
    index = np.concatenate([parts[name].slice_index.repeat(2) for name in parts])
    return replace(both, images=np.stack(images).astype(np.float32), patient_id=np.concatenate(rows), slice_index=index)


@pytest.mark.parametrize(("stored", "verdict"), [((), GOOD), (("train",), DO_NOT_SHARE), (("train", "third"), LOOK)])
def test_training_masks_that_return_one_image_are_found(sets, stored, verdict):
    synthetic = sampled_twice(sets, stored)
    figure = clique_figure(Audit(sets["train"], sets["holdout"], synthetic, SETTINGS), threshold=0.2)
    assert figure.verdict == verdict
    assert figure.value == ("train" in stored)
    assert figure.floor == ("third" in stored)
    assert figure.planted == 1
    assert figure.details["training_masks"] == figure.details["other_masks"] == 32


def test_cliques_need_two_samples_of_a_mask(sets):
    figure = clique_figure(Audit(sets["train"], sets["holdout"], sets["third"], SETTINGS), threshold=0.1)
    assert figure.verdict == NOT_COMPUTED
    assert "--images-per-mask 2" in figure.reading


# The trained detector


def test_the_detector_finds_turned_copies_passes_others_and_is_kept(sets, tmp_path):
    train, holdout, third = sets["train"], sets["holdout"], sets["third"]
    turned = replace(train, images=np.ascontiguousarray(np.rot90(train.images, 1, (1, 2))))
    few = third.images.copy()
    few[::10] = turned.images[: len(few[::10])]

    def detector(synthetic):
        return copy_detector_figures(Audit(train, holdout, synthetic, SETTINGS), tmp_path, updates=25)

    fine = detector(third)
    assert {f.verdict for f in fine} == {GOOD}
    assert min(f.planted for f in fine) > 0.9
    written = (tmp_path / "copy-detector.safetensors").stat().st_mtime_ns
    copied = detector(turned)
    assert (tmp_path / "copy-detector.safetensors").stat().st_mtime_ns == written  # read, not trained again
    assert {f.verdict for f in copied} == {DO_NOT_SHARE}
    assert min(f.value for f in copied) > 0.95
    assert copied[0].made_with == fine[0].made_with
    certain = detector(replace(third, images=few))[1]
    assert certain.verdict == DO_NOT_SHARE
    assert certain.value == pytest.approx(len(few[::10]) / len(few))


def test_without_a_folder_there_is_no_detector(sets):
    figures = copy_detector_figures(Audit(sets["train"], sets["holdout"], sets["third"], SETTINGS), None)
    assert {f.verdict for f in figures} == {NOT_COMPUTED}
