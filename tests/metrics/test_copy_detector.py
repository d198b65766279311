from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, shift, zoom

from cmrsynth.metrics.copy_detector import (
    SIDE,
    build_detector,
    closest_similarity,
    disguised,
    embed,
    nt_xent,
    train_detector,
)
from cmrsynth.metrics.intervals import clopper_pearson

PATIENTS, SLICES = 24, 4


def hearts(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rings on smooth tissue: one tissue and place per patient, one size per slice; (N, 64, 64) in [0, 1]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    images = []
    for _ in range(PATIENTS):
        tissue = gaussian_filter(rng.normal(size=(SIDE, SIDE)), 5)
        centre, radius = rng.normal(SIDE / 2, 3, 2), rng.uniform(8, 13)
        for level in range(SLICES):
            distance = np.hypot(rows - centre[0], columns - centre[1]) + 1.5 * level
            ring = 0.45 * (distance < radius) - 0.2 * ((distance >= radius) & (distance < radius + 4))
            images.append(gaussian_filter(0.4 + ring, 0.8) + 0.1 * tissue / tissue.std())
    return np.clip(np.stack(images), 0, 1).astype(np.float32), np.repeat(np.arange(PATIENTS), SLICES)


def cropped(image: np.ndarray) -> np.ndarray:
    margin = SIDE // 10
    return zoom(image[margin:-margin, margin:-margin], SIDE / (SIDE - 2 * margin), order=1)


DISGUISES = {
    "flip": lambda x: x[:, ::-1],
    "quarter turn": np.rot90,
    "shift": lambda x: shift(x, (3, -3), mode="nearest", order=1),
    "gain": lambda x: 1.2 * x,
    "bias": lambda x: x + 0.1,
    "blur": lambda x: gaussian_filter(x, 1),
    "crop": cropped,
}


@pytest.fixture(scope="module")
def trained():
    images, patient = hearts(0)
    network = build_detector(0)
    train_detector(network, images, patient, updates=45, seed=0)
    reference, _ = closest_similarity(network, hearts(1)[0], images)
    return network, images, np.quantile(reference, 0.95)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_disguised_copies_are_recognised(trained, disguise):
    network, images, threshold = trained
    rows = np.arange(0, len(images), 2)
    copies = np.stack([np.clip(DISGUISES[disguise](images[i]), 0, 1) for i in rows])
    similarity, index = closest_similarity(network, copies, images)
    assert (similarity > threshold).mean() >= 0.95
    assert (index // SLICES == rows // SLICES).mean() > 0.95  # and the right patient is named


def test_fresh_patients_are_accused_no_more_often_than_said(trained):
    network, images, threshold = trained
    fresh = np.concatenate([hearts(seed)[0] for seed in (2, 3)])
    similarity, _ = closest_similarity(network, fresh, images)
    per_patient = (similarity > threshold).reshape(-1, SLICES).any(1)
    low, _ = clopper_pearson(int(per_patient.sum()), len(per_patient))
    assert low <= 1 - 0.95**SLICES  # slices of a patient at most independent


def test_the_loss_is_that_of_the_formula_and_ignores_a_patients_other_images():
    rng = np.random.default_rng(0)
    embeddings, patients = rng.normal(size=(6, 5)), [0, 1, 1]
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    similarity, expected = unit @ unit.T / 0.07, []
    for i in range(6):
        positive = (i + 3) % 6
        others = [j for j in range(6) if patients[j % 3] != patients[i % 3]]
        terms = np.exp(similarity[i, [positive, *others]])
        expected.append(-np.log(terms[0] / terms.sum()))
    found = nt_xent(torch.from_numpy(embeddings), torch.tensor(patients))
    assert float(found) == pytest.approx(np.mean(expected))


def test_an_image_is_itself_in_any_of_eight_positions(trained):
    network, images, _ = trained
    for turned in (images[:5], np.rot90(images[:5], 1, (1, 2)), images[:5, ::-1], images[:5].transpose(0, 2, 1)):
        similarity, index = closest_similarity(network, turned, images)
        np.testing.assert_allclose(similarity, 1, atol=1e-4)
        assert index.tolist() == [0, 1, 2, 3, 4]


def test_embeddings_have_length_one_and_do_not_depend_on_the_batch(trained):
    network, images, _ = trained
    together = embed(network, images[:7])
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(together[3:4], embed(network, images[3:4]), atol=1e-5)


def test_the_same_seed_gives_the_same_detector():
    images, patient = hearts(0)
    found = []
    for seed in (0, 0, 1):
        network = build_detector(seed)
        train_detector(network, images[:16], patient[:16], updates=2, seed=seed)
        found.append(embed(network, images[:2]))
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 1e-3


def test_disguises_stay_images_of_the_same_size():
    images = torch.from_numpy(hearts(0)[0][:8])[:, None]
    views = disguised(images, torch.Generator().manual_seed(0))
    assert views.shape == images.shape
    assert 0 <= float(views.min()) <= float(views.max()) <= 1
    assert (views - images).abs().mean(dim=(1, 2, 3)).min() > 0.01


def test_one_patient_cannot_train_it():
    with pytest.raises(ValueError, match="two at least"):
        train_detector(build_detector(0), np.zeros((3, 64, 64)), np.zeros(3), updates=1, seed=0)
