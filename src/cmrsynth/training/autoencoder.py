"""An autoencoder for latent models as a family: reconstruction, a weak divergence, and a patch discriminator."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from cmrsynth.data.loading import SliceSet
from cmrsynth.errors import InputError
from cmrsynth.models import ConditionEncoder
from cmrsynth.models.discriminator_patch import PatchDiscriminator
from cmrsynth.pipelines import AutoencoderPipeline
from cmrsynth.training.autoencoder_config import AutoencoderConfig
from cmrsynth.training.batches import Batch, TrainingSlices
from cmrsynth.training.denoiser import image_size
from cmrsynth.training.family import Family, Phase, frozen
from cmrsynth.training.latent_noise import latent_noise
from cmrsynth.training.reconstruction import divergence, in_batches, laplacian_distance, reconstruction_figures

MEASURED = 4096  # training images from which the latent's scale is measured, at most


def reconstruct(vae: AutoencoderKL, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the (B, 1, H, W) float32 images decoded from a draw of the posterior, and its (B,) divergence."""
    posterior = vae.encode(batch.image).latent_dist
    latent = posterior.mean + posterior.std * latent_noise(batch.noise, posterior.mean.shape[1:])
    return vae.decode(latent).sample.float(), divergence(posterior.mean, posterior.logvar)


class ReconstructionObjective(nn.Module):
    """What the autoencoder minimises: L1 error, pyramid, divergence, and what the discriminator says.

    Source: Rombach et al. 2022, arXiv:2112.10752, section 3.1, with a Laplacian pyramid and the discriminator's
    features in the place of a network trained on photographs, and a fixed adversarial weight, because an adaptive
    one depends on the batch of one process.

    Args:
        vae: the autoencoder.
        discriminator: looked at, not learned.
        config: has the weights.
    """

    def __init__(self, vae: AutoencoderKL, discriminator: PatchDiscriminator, config: AutoencoderConfig) -> None:
        super().__init__()
        self.vae, self.config, self.adversarial = vae, config, False
        self._discriminator = (discriminator,)

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) losses."""
        config = self.config
        made, diverged = reconstruct(self.vae, batch)
        loss = (made - batch.image).abs().mean(dim=(1, 2, 3)) + config.kl_weight * diverged
        loss = loss + config.pyramid_weight * laplacian_distance(made, batch.image)
        if not self.adversarial:
            return loss
        with frozen(self._discriminator[0]) as discriminator:
            judged = discriminator(made)
            with torch.no_grad():
                real = discriminator(batch.image)
        opinion = torch.stack([-j.logits.float().mean(dim=(1, 2, 3)) for j in judged]).mean(dim=0)
        distances = [
            (one.float() - other.float()).abs().mean(dim=(1, 2, 3))
            for a, b in zip(judged, real, strict=True)
            for one, other in zip(a.features, b.features, strict=True)
        ]
        return loss + config.adversarial_weight * opinion + config.feature_weight * torch.stack(distances).mean(dim=0)


class DiscriminatorObjective(nn.Module):
    """The hinge loss of the discriminator (Lim and Ye 2017, arXiv:1705.02894) on images and their reconstructions."""

    def __init__(self, discriminator: PatchDiscriminator, vae: AutoencoderKL) -> None:
        super().__init__()
        self.discriminator, self.adversarial = discriminator, False
        self._vae = (vae,)

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) losses, zeros before the discriminator begins to learn."""
        if not self.adversarial:  # connected to every weight, because the processes exchange all gradients
            return 0.0 * sum(p.sum() for p in self.discriminator.parameters()).expand(len(batch.image))
        with torch.no_grad():
            made, _ = reconstruct(self._vae[0], batch)
        losses = [
            F.relu(1 - a.logits.float()).mean(dim=(1, 2, 3)) + F.relu(1 + b.logits.float()).mean(dim=(1, 2, 3))
            for a, b in zip(self.discriminator(batch.image), self.discriminator(made), strict=True)
        ]
        return torch.stack(losses).mean(dim=0)


def build_autoencoder(config: AutoencoderConfig, size: int) -> AutoencoderKL:
    """Return the untrained autoencoder of images of `size` x `size`."""
    levels = len(config.block_out_channels)
    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=config.latent_channels,
        block_out_channels=tuple(config.block_out_channels),
        layers_per_block=config.layers_per_block,
        norm_num_groups=config.norm_groups,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        sample_size=size,
        force_upcast=False,
    )


class Autoencoder(Family):
    """An `AutoencoderKL` whose latents a flow or diffusion can live in."""

    config: AutoencoderConfig

    def __init__(self, config: AutoencoderConfig, slices: SliceSet) -> None:
        super().__init__(config, slices)
        self.encoder = ConditionEncoder(1)  # of nothing: the latent must not depend on what is known of a slice
        vae = build_autoencoder(config, image_size(slices, levels=len(config.block_out_channels)))
        discriminator = PatchDiscriminator(
            mask_channels=0, widths=tuple(config.discriminator_channels), scales=config.discriminator_scales
        )
        if vae.config.sample_size % discriminator.smallest:
            raise InputError(
                "training configuration",
                f"the discriminator needs images of a multiple of {discriminator.smallest} pixels",
                "give fewer discriminator_channels or discriminator_scales",
            )
        self.averaged = nn.ModuleDict({"vae": vae})
        self.reconstruction = ReconstructionObjective(vae, discriminator, config)
        self.judgement = DiscriminatorObjective(discriminator, vae)
        self.phases = (Phase("autoencoder", self.reconstruction),)
        if config.adversarial_weight or config.feature_weight:
            self.phases += (Phase("discriminator", self.judgement, betas=(0.5, 0.9)),)
        self.load_state({"step": 0})

    def after_step(self) -> None:
        """Let the discriminator begin when its step has come."""
        self.load_state({"step": self.step + 1})

    def state(self) -> dict[str, float]:
        """Return the step that decides whether the discriminator takes part."""
        return {"step": self.step}

    def load_state(self, state: dict[str, float]) -> None:
        """Set whether the discriminator takes part."""
        self.step = int(state["step"])
        learned = len(self.phases) > 1 and self.step >= self.config.adversarial_start
        self.reconstruction.adversarial = self.judgement.adversarial = learned

    def pipeline(self, averaged: nn.Module) -> AutoencoderPipeline:
        """Return the pipeline, with the latent's scale measured on the training images."""
        vae = averaged["vae"]
        shift, deviation = latent_scale(vae, torch.from_numpy(self.slices.images[:MEASURED])[:, None] * 2 - 1)
        vae.register_to_config(shift_factor=shift, scaling_factor=1 / deviation)
        return AutoencoderPipeline(vae, pixel_spacing_mm=self.spacing)

    def held_out(self, averaged: nn.Module, data: TrainingSlices) -> dict[str, float]:
        """Return how well other patients' images are reconstructed."""
        vae = averaged["vae"]
        made = in_batches(lambda x: vae.decode(vae.encode(x.to(vae.device)).latent_dist.mode()).sample, data.images)
        return reconstruction_figures(data.images, made)

    def record(self, averaged: nn.Module, data: TrainingSlices | None) -> dict[str, Any]:
        """Return the same for `training.json`."""
        if data is None:
            return {}
        facts = {"split": self.config.validation_split, "slices": len(data)}
        return {"reconstruction": {**facts, **self.held_out(averaged, data)}}


def latent_scale(vae: AutoencoderKL, images: Tensor) -> tuple[float, float]:
    """Return mean and standard deviation of all numbers in the latents of images (N, 1, H, W) in [-1, 1].

    A flow expects data of about unit deviation; the latent's own differs from one autoencoder to the next.
    """
    latents = in_batches(lambda x: vae.encode(x.to(vae.device)).latent_dist.mode().float(), images).double()
    return float(latents.mean()), float(latents.std())
