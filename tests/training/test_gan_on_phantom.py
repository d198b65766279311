"""The mask-conditioned GAN, trained on the phantom: the mask decides the anatomy, and the vendor the look."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from cmrsynth.data.loading import SliceSet, load_slices
from cmrsynth.evaluation.encoder import Encoder, cardiac_encoder
from cmrsynth.evaluation.segmenter import train_segmenter
from cmrsynth.labels import LV, MYO, RV, one_hot
from cmrsynth.metrics.frechet import frechet_distance
from cmrsynth.metrics.overlap import dice
from cmrsynth.training.gan import build_gan
from cmrsynth.training.gan_config import GanConfig
from cmrsynth.training.run import Run

LABELS = (LV, MYO, RV)
TRAIN_STEPS, SEGMENTER_UPDATES = 3000, 400


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "data"
    command = [sys.executable, "-m", "cmrsynth.cli", "build", "phantom", "--num-patients", "40"]
    subprocess.run([*command, "--output", str(folder)], check=True, capture_output=True)
    return folder


def samples(run: Run, slices: SliceSet, **options) -> np.ndarray:
    """One image per mask, (N, H, W) in [0, 1]."""
    generators = [torch.Generator().manual_seed(i) for i in range(len(slices))]
    masks = one_hot(torch.from_numpy(slices.masks))
    return run.pipeline()(masks, generator=generators, **options).images[:, 0].numpy()


def mean_dice(predicted: np.ndarray, masks: np.ndarray) -> float:
    """The mean over labels, pooled over all slices."""
    return float(np.mean([dice(predicted, masks, label) for label in LABELS]))


def vendor_classifier(encoder: Encoder, slices: SliceSet) -> LogisticRegression:
    return LogisticRegression(max_iter=2000, class_weight="balanced").fit(encoder(slices.images), slices.vendor)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_masks_are_obeyed_images_come_near_and_vendors_can_be_swapped(phantom: Path, tmp_path: Path) -> None:
    config = GanConfig(data=str(phantom), output=str(tmp_path / "run"), max_train_steps=TRAIN_STEPS)
    run = Run(config, build_gan)
    train, test = run.train_slices, load_slices(phantom, "test")
    test = test.select(np.arange(len(test))[:: max(1, len(test) // 96)])
    segmenter = train_segmenter(
        train.images, train.masks, LABELS, updates=SEGMENTER_UPDATES, batch_size=16, seed=0,
        path=tmp_path / "segmenter.safetensors",
    )  # fmt: skip
    encoder = cardiac_encoder(segmenter, train.images)
    before = frechet_distance(encoder(samples(run, test)), encoder(test.images))
    while run.progress < 1:
        run.train_step()
    images = samples(run, test, vendor=test.vendor.tolist())
    predicted = segmenter.predict(images)
    strangers = np.roll(test.masks, len(test) // 2, axis=0)
    assert mean_dice(predicted, test.masks) > 0.6
    assert mean_dice(predicted, test.masks) > mean_dice(predicted, strangers) + 0.2
    assert frechet_distance(encoder(images), encoder(test.images)) < 0.2 * before

    classifier = vendor_classifier(encoder, train)
    for vendor in np.unique(train.vendor):
        others = test.select(np.flatnonzero(test.vendor != vendor))
        references = train.select(np.resize(np.flatnonzero(train.vendor == vendor), len(others)))
        looks = torch.from_numpy(references.images)[:, None]
        for options in ({"vendor": str(vendor)}, {"style_image": looks}):
            swapped = samples(run, others, **options)
            assert (classifier.predict(encoder(swapped)) == vendor).mean() > 0.6, (vendor, list(options))
            assert mean_dice(segmenter.predict(swapped), others.masks) > 0.6, (vendor, list(options))
