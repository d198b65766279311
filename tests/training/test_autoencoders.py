"""VAE, autoencoder and latent flow in training: what they learn, how they continue, and what they leave behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from cmrsynth.data.loading import load_slices
from cmrsynth.errors import InputError
from cmrsynth.hub.export import export_pipeline
from cmrsynth.hub.load import load_pipeline
from cmrsynth.labels import one_hot
from cmrsynth.pipelines import AutoencoderPipeline, RectifiedFlowPipeline
from cmrsynth.training.autoencoder import Autoencoder
from cmrsynth.training.autoencoder_config import AutoencoderConfig
from cmrsynth.training.batches import Withholding, draw_batch
from cmrsynth.training.latent import LatentFlow
from cmrsynth.training.latent_config import LatentFlowConfig
from cmrsynth.training.latent_noise import latent_noise
from cmrsynth.training.program import train
from cmrsynth.training.run import Run
from cmrsynth.training.vae import ConditionalVae
from cmrsynth.training.vae_config import VaeConfig

TINY = {
    "batch_size": 8,
    "max_train_steps": 6,
    "warmup_steps": 1,
    "mixed_precision": "no",
    "cpu_threads": 1,
    "sample_steps": 0,
    "log_steps": 2,
    "checkpoint_steps": 3,
    "validation_steps": 3,
}
WIDTHS = {"block_out_channels": [8, 8, 16]}


def vae_config(data: Path, output: Path, **settings) -> VaeConfig:
    return VaeConfig(str(data), str(output), **{**TINY, **WIDTHS, "latent_dim": 6, "kl_warmup_steps": 4, **settings})


def autoencoder_config(data: Path, output: Path, **settings) -> AutoencoderConfig:
    patches = {"discriminator_channels": [4, 8], "adversarial_start": 2}
    return AutoencoderConfig(str(data), str(output), **{**TINY, **WIDTHS, **patches, **settings})


@pytest.fixture(scope="session")
def autoencoder_folder(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported pipeline of an autoencoder that has learned next to nothing."""
    run = Run(autoencoder_config(toy_folder, tmp_path_factory.mktemp("autoencoder") / "run"), Autoencoder)
    run.train_step()
    return export_pipeline(run.pipeline(), run.folder / "pipeline")


def latent_config(data: Path, output: Path, vae: Path, **settings) -> LatentFlowConfig:
    widths = {"block_out_channels": [8, 16], "attention_levels": [1]}
    return LatentFlowConfig(str(data), str(output), vae=str(vae), **{**TINY, **widths, **settings})


def losses_on_eight(run: Run, steps: int) -> tuple[float, float]:
    """The first phase's loss on eight images before and after some steps on them alone."""
    eight = run.train.images[:8], run.train.labels[:8], run.train.conditions[:8]
    run.train = replace(run.train, images=eight[0], labels=eight[1], conditions=eight[2])
    batch = draw_batch(run.train, range(8), seed=0, withholding=Withholding(), shift=0)
    objective = run.family.phases[0].objective

    def loss() -> float:
        with torch.no_grad():
            return objective(batch).mean().item()

    before = loss()
    for _ in range(steps):
        run.train_step()
    return before, loss()


def test_a_vae_learns_eight_images_by_heart(toy_folder: Path, tmp_path: Path) -> None:
    overfit = {"augment_shift": 0, "learning_rate": 4e-3, "max_train_steps": 150, "kl_weight": 0.1}
    run = Run(vae_config(toy_folder, tmp_path / "run", **overfit), ConditionalVae)
    before, after = losses_on_eight(run, 150)
    assert after < before - 1.0  # nats per pixel
    vae, image = run.family.averaged["vae"], run.train.images
    with torch.no_grad():
        mean, _ = vae.encode(image, one_hot(run.train.labels))
        error = (vae.decode(mean, one_hot(run.train.labels)) - image).square().mean()
    assert error < 0.2 * (image - image.mean()).square().mean()


def test_an_autoencoder_learns_eight_images_by_heart(toy_folder: Path, tmp_path: Path) -> None:
    overfit = {"augment_shift": 0, "learning_rate": 4e-3, "max_train_steps": 80, "adversarial_start": 1000}
    before, after = losses_on_eight(Run(autoencoder_config(toy_folder, tmp_path / "run", **overfit), Autoencoder), 80)
    assert after < 0.4 * before


def test_a_latent_flow_learns_eight_images_by_heart(toy_folder: Path, tmp_path: Path, autoencoder_folder) -> None:
    overfit = {"augment_shift": 0, "learning_rate": 4e-3, "max_train_steps": 120}
    run = Run(latent_config(toy_folder, tmp_path / "run", autoencoder_folder, **overfit), LatentFlow)
    before, after = losses_on_eight(run, 120)
    assert after < 0.7 * before


def test_latents_have_mean_zero_and_deviation_one_and_diffusers_loads_the_part(autoencoder_folder, toy_folder) -> None:
    pipeline = load_pipeline(autoencoder_folder)
    assert type(pipeline) is AutoencoderPipeline
    images = torch.from_numpy(load_slices(toy_folder, "train").images)[:, None]
    latents = pipeline.encode(images)
    assert latents.shape[1:] == (4, 4, 4)
    assert latents.mean().item() == pytest.approx(0, abs=1e-3)
    assert latents.std().item() == pytest.approx(1, abs=1e-3)
    alone = AutoencoderKL.from_pretrained(autoencoder_folder / "vae")
    assert alone.config.scaling_factor == pipeline.vae.config.scaling_factor != 0.18215
    torch.testing.assert_close(pipeline(images[:2]).images, pipeline(images).images[:2], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="lie in"):
        pipeline(2 * images)
    with pytest.raises(ValueError, match="multiples of 4"):
        pipeline(images[..., :15])


@pytest.mark.parametrize("conditioning", ["concat", "spade"])
def test_a_latent_flow_samples_in_pixels_and_travels_with_its_autoencoder(
    toy_folder: Path, tmp_path: Path, autoencoder_folder: Path, conditioning: str
) -> None:
    config = latent_config(toy_folder, tmp_path / "run", autoencoder_folder, conditioning=conditioning)
    run = Run(config, LatentFlow)
    for _ in range(2):
        run.train_step()
    pipeline = RectifiedFlowPipeline.from_pretrained(export_pipeline(run.pipeline(), tmp_path / "pipeline"))
    assert (pipeline.sample_size, pipeline.latent_factor, pipeline.unet.config.sample_size) == (16, 4, 4)
    mask = one_hot(torch.from_numpy(run.train_slices.masks[:3]))

    def sample(mask: torch.Tensor, *seeds: int) -> torch.Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return pipeline(mask, num_inference_steps=2, generator=generators).images

    images = sample(mask, 1, 2, 3)
    assert images.shape == (3, 1, 16, 16)
    torch.testing.assert_close(images[1:2], sample(mask[1:2], 2), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="multiples of 8"):
        pipeline(mask[..., :12])
    # what it learns on is what the pipeline encodes
    latent = run.family.space(run._batch(0)).image
    torch.testing.assert_close(latent, pipeline.encode_image(run._batch(0).image))


def test_another_autoencoder_is_refused_on_resume(toy_folder, tmp_path, autoencoder_folder) -> None:
    config = latent_config(toy_folder, tmp_path / "run", autoencoder_folder)
    run = Run(config, LatentFlow)
    run.save()
    run.family.space.fingerprint += 1
    with pytest.raises(InputError, match="another autoencoder"):
        run.resume()


def test_what_cannot_be_trained_is_refused(
    toy_folder: Path, tmp_path: Path, pipeline_folder, autoencoder_folder
) -> None:
    out = tmp_path / "run"
    with pytest.raises(InputError, match="latent_dim is 300"):
        vae_config(toy_folder, out, latent_dim=300)
    with pytest.raises(InputError, match="no smaller than the image"):
        autoencoder_config(toy_folder, out, latent_channels=17)
    with pytest.raises(InputError, match="makes no samples"):
        autoencoder_config(toy_folder, out, sample_steps=10)
    with pytest.raises(InputError, match="--vae is needed"):
        latent_config(toy_folder, out, "")
    with pytest.raises(InputError, match="a RectifiedFlowPipeline"):
        Run(latent_config(toy_folder, out, pipeline_folder), LatentFlow)
    with pytest.raises(InputError, match="multiple of 32"):
        Run(latent_config(toy_folder, out, autoencoder_folder, block_out_channels=[8, 8, 8, 8]), LatentFlow)
    with pytest.raises(ValueError, match="needs 1024 normals"):
        latent_noise(torch.zeros(1, 1, 16, 16), (4, 16, 16))


@pytest.mark.parametrize("kind", ["vae", "autoencoder"])
def test_the_program_leaves_a_pipeline_a_card_and_reconstruction_figures(toy_folder, tmp_path, kind) -> None:
    if kind == "vae":
        train(vae_config(toy_folder, tmp_path / "run", sample_steps=4), ConditionalVae)
        assert (tmp_path / "run" / "samples" / "step-00000004.png").is_file()
    else:
        train(autoencoder_config(toy_folder, tmp_path / "run"), Autoencoder)
    pipeline = tmp_path / "run" / "pipeline"
    record = json.loads((pipeline / "training.json").read_text())
    figures = record["reconstruction"]
    assert figures["split"] == "validation"
    assert 0 < figures["psnr_db"] < 60
    assert -1 <= figures["ssim"] <= 1
    card = (pipeline / "README.md").read_text()
    assert "Pipeline hash" in card
    assert f"{figures['slices']} slices of patients of the split `validation`, not learned from" in card
    assert f"| {figures['psnr_db']:.1f} |" in card
    assert f"| {figures['ssim']:.3f} |" in card
