"""Every family of image generators, so small that a minute or two of training on one thread shows what it learns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmrsynth.hub.export import export_pipeline
from cmrsynth.training.autoencoder import Autoencoder
from cmrsynth.training.autoencoder_config import AutoencoderConfig
from cmrsynth.training.config import RectifiedFlowConfig, TrainingConfig
from cmrsynth.training.controlnet import ControlNet
from cmrsynth.training.controlnet_config import ControlNetConfig
from cmrsynth.training.diffusion import Diffusion
from cmrsynth.training.diffusion_config import DiffusionConfig
from cmrsynth.training.family import FamilyClass
from cmrsynth.training.few_step import build_few_step
from cmrsynth.training.few_step_config import FewStepConfig
from cmrsynth.training.gan import build_gan
from cmrsynth.training.gan_config import GanConfig
from cmrsynth.training.latent import LatentFlow
from cmrsynth.training.latent_config import LatentFlowConfig
from cmrsynth.training.rectified_flow import RectifiedFlow
from cmrsynth.training.run import Run
from cmrsynth.training.vae import ConditionalVae
from cmrsynth.training.vae_config import VaeConfig

SHARED = {"warmup_steps": 50, "cpu_threads": 1, "mixed_precision": "no", "validation_split": ""}
UNET = {"block_out_channels": [16, 32, 64], "attention_levels": [2], "learning_rate": 1e-3}
SPADE = {**UNET, "conditioning": "spade"}
DIT = {"backbone": "dit", "block_out_channels": [32, 64, 128], "transformer_layers": 4, "learning_rate": 1e-3}
BASE = {**UNET, "conditioning": "none", "mask_dropout": 0.0}
AUTOENCODER = {"block_out_channels": [16, 32, 64], "learning_rate": 1e-3, "adversarial_start": 250}
CONTROL = {"learning_rate": 1e-3}
FEW_STEP = {"learning_rate": 5e-4}  # sampled in the four steps that it learns by default
LATENT = {"learning_rate": 1e-3}
WIDTHS = {"block_out_channels": [16, 32, 64], "learning_rate": 5e-4}
GAN = {**WIDTHS, "discriminator_channels": [16, 32, 64], "discriminator_rate_factor": 0.5}
R3GAN = {**WIDTHS, "architecture": "r3gan"}
DCGAN = {**WIDTHS, "architecture": "dcgan", "learning_rate": 2e-4}
VAE = {"block_out_channels": [16, 32, 64, 64], "kl_warmup_steps": 200, "learning_rate": 1e-3}


@dataclass(frozen=True)
class Training:
    """How a family is trained, and what it must reach.

    Args:
        config: class of its configuration.
        family: what `Run` trains.
        steps: optimiser steps.
        settings: of the configuration, beside `SHARED`.
        needs: the setting that names the pipeline of another family, and that family.
        dice: least Dice with its masks, as a share of what real images reach; None for a family without masks.
        distance: largest Frechet distance to test patients, as a multiple of that of the training patients; None for
            a family that makes no new images.
    """

    config: type[TrainingConfig]
    family: FamilyClass
    steps: int
    settings: dict[str, Any]
    needs: tuple[str, str] | None = None
    dice: float | None = None
    distance: float | None = None


# Thresholds leave a margin to what one run of this budget measured, Dice as a share of real and distance as a multiple
# of the floor: flow 1.02 and 1.8, SPADE 1.00 and 1.6, DiT 0.98 and 2.0, without masks 2.6, ControlNet 0.97 and 2.3,
# few-step student 1.00 and 1.2 in four steps (its teacher 3.1), diffusion 1.00 and 2.3, with SPADE 0.99 and 2.4, latent
# flow 0.93 and 4.4, SPADE GAN 0.94 and 1.9, R3GAN 7.8, DCGAN 2.5, VAE 1.02 and 4.7.
FAMILIES = {
    "flow": Training(RectifiedFlowConfig, RectifiedFlow, 1200, UNET, dice=0.9, distance=3.5),
    "flow_spade": Training(RectifiedFlowConfig, RectifiedFlow, 600, SPADE, dice=0.9, distance=3.5),
    "flow_dit": Training(RectifiedFlowConfig, RectifiedFlow, 600, DIT, dice=0.85, distance=4),
    "flow_without_masks": Training(RectifiedFlowConfig, RectifiedFlow, 600, BASE, distance=5),
    "controlnet": Training(
        ControlNetConfig, ControlNet, 600, CONTROL, ("base", "flow_without_masks"), dice=0.85, distance=5
    ),
    "few_step": Training(
        FewStepConfig, build_few_step, 150, FEW_STEP, ("teacher", "flow_spade"), dice=0.85, distance=2
    ),
    "diffusion": Training(DiffusionConfig, Diffusion, 700, UNET, dice=0.85, distance=4.5),
    "diffusion_spade": Training(DiffusionConfig, Diffusion, 700, SPADE, dice=0.85, distance=4.5),
    "autoencoder": Training(AutoencoderConfig, Autoencoder, 400, AUTOENCODER),
    "latent_flow": Training(LatentFlowConfig, LatentFlow, 600, LATENT, ("vae", "autoencoder"), dice=0.8, distance=6),
    "gan": Training(GanConfig, build_gan, 600, GAN, dice=0.8, distance=4),
    "r3gan": Training(GanConfig, build_gan, 500, R3GAN, distance=12),
    "dcgan": Training(GanConfig, build_gan, 1000, DCGAN, distance=5),
    "vae": Training(VaeConfig, ConditionalVae, 600, VAE, dice=0.85, distance=8),
}


def untrained(name: str, data: Path, folder: Path, steps: int | None = None) -> Run:
    """Return the run of a family, of which no step is done; `folder` holds the pipelines that it needs."""
    family = FAMILIES[name]
    needed = {family.needs[0]: str(folder / family.needs[1] / "pipeline")} if family.needs else {}
    settings = {**SHARED, **family.settings, **needed, "max_train_steps": steps or family.steps}
    return Run(family.config(data=str(data), output=str(folder / name), **settings), family.family)


def finished(run: Run, folder: Path) -> Path:
    """Train to the end and return where the pipeline then lies."""
    while run.progress < 1:
        run.train_step()
    return export_pipeline(run.pipeline(), folder)
