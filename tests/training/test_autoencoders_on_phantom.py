"""VAE, autoencoder and latent flow, trained on the phantom: masks are obeyed, and images of others come back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cmrsynth.data.loading import SliceSet, load_slices
from cmrsynth.evaluation.encoder import cardiac_encoder
from cmrsynth.evaluation.segmenter import train_segmenter
from cmrsynth.hub.export import export_pipeline
from cmrsynth.labels import LV, MYO, RV, one_hot
from cmrsynth.metrics.frechet import frechet_distance
from cmrsynth.training.autoencoder import Autoencoder
from cmrsynth.training.autoencoder_config import AutoencoderConfig
from cmrsynth.training.latent import LatentFlow
from cmrsynth.training.latent_config import LatentFlowConfig
from cmrsynth.training.run import Run
from cmrsynth.training.vae import ConditionalVae
from cmrsynth.training.vae_config import VaeConfig

LABELS = (LV, MYO, RV)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "data"
    command = [sys.executable, "-m", "cmrsynth.cli", "build", "phantom", "--num-patients", "40"]
    subprocess.run([*command, "--output", str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def judge(phantom: Path, tmp_path_factory: pytest.TempPathFactory):
    """A function from a run's pipeline to (Dice with its masks, Frechet distance to real images)."""
    train, test = load_slices(phantom, "train"), load_slices(phantom, "test")
    test = test.select(np.arange(len(test))[:: max(1, len(test) // 96)])
    path = tmp_path_factory.mktemp("segmenter") / "segmenter.safetensors"
    segmenter = train_segmenter(train.images, train.masks, LABELS, updates=400, batch_size=16, seed=0, path=path)
    encoder = cardiac_encoder(segmenter, train.images)

    def figures(run: Run) -> tuple[float, float]:
        images = samples(run, test)
        found, distance = segmenter.predict(images), frechet_distance(encoder(images), encoder(test.images))
        counts = [((found == k) & (test.masks == k), (found == k), (test.masks == k)) for k in LABELS]
        return float(np.mean([2 * both.sum() / (a.sum() + b.sum()) for both, a, b in counts])), distance

    return figures


def samples(run: Run, slices: SliceSet) -> np.ndarray:
    """One image per mask, (N, H, W) in [0, 1]."""
    pipeline = run.pipeline()
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(i) for i in range(len(slices))]
    return pipeline(one_hot(torch.from_numpy(slices.masks)), generator=generators).images[:, 0].numpy()


def trained(run: Run) -> Run:
    while run.progress < 1:
        run.train_step()
    return run


@pytest.fixture(scope="module")
def autoencoder(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    output = str(tmp_path_factory.mktemp("autoencoder") / "run")
    return trained(
        Run(AutoencoderConfig(str(phantom), output, max_train_steps=1500, adversarial_start=750), Autoencoder)
    )


def test_a_vae_obeys_its_masks(phantom: Path, tmp_path: Path, judge) -> None:
    run = Run(VaeConfig(str(phantom), str(tmp_path / "run"), max_train_steps=1500), ConditionalVae)
    _, before = judge(run)
    obeyed, after = judge(trained(run))
    assert obeyed > 0.7, obeyed
    assert after < 0.3 * before, (before, after)


def test_an_autoencoder_returns_the_images_of_others(autoencoder: Run) -> None:
    figures = autoencoder.family.held_out(autoencoder.averaged_networks(), autoencoder.validation)
    assert figures["psnr_db"] > 24, figures
    assert figures["ssim"] > 0.75, figures


def test_a_latent_flow_obeys_its_masks(phantom: Path, tmp_path: Path, autoencoder: Run, judge) -> None:
    vae = export_pipeline(autoencoder.pipeline(), tmp_path / "autoencoder")
    config = LatentFlowConfig(str(phantom), str(tmp_path / "run"), vae=str(vae), max_train_steps=1500)
    run = Run(config, LatentFlow)
    _, before = judge(run)
    obeyed, after = judge(trained(run))
    assert obeyed > 0.6, obeyed
    assert after < 0.3 * before, (before, after)
