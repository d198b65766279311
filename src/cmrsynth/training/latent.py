"""A rectified flow in the latent space of a frozen autoencoder: the flow's own loss, on latents."""

from __future__ import annotations

from hashlib import sha256

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from cmrsynth.data.loading import SliceSet
from cmrsynth.errors import InputError
from cmrsynth.hub.load import load_pipeline
from cmrsynth.pipelines import AutoencoderPipeline, RectifiedFlowPipeline
from cmrsynth.training.batches import Batch, TrainingSlices
from cmrsynth.training.denoiser import build_denoiser, check_images
from cmrsynth.training.family import Family, Phase
from cmrsynth.training.latent_config import LatentFlowConfig
from cmrsynth.training.latent_noise import latent_noise
from cmrsynth.training.rectified_flow import FlowObjective, RectifiedFlow, held_out_loss


class LatentSpace:
    """Bring batches into the latent space of a trained autoencoder, whose weights stay as they are.

    Args:
        vae: the autoencoder.
    """

    def __init__(self, vae: AutoencoderKL) -> None:
        self.vae = vae.requires_grad_(False).eval()
        self.factor, self.channels = 2 ** (len(vae.config.block_out_channels) - 1), vae.config.latent_channels
        digest = sha256(b"".join(p.numpy().tobytes() for p in self.vae.state_dict().values())).hexdigest()
        self.fingerprint = int(digest[:12], 16)  # a number, as a family's state is; exact in a double

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with latents and their noise, and the mask area-averaged to their resolution."""
        if self.vae.device != batch.image.device:
            self.vae.to(batch.image.device)
        mean = self.vae.encode(batch.image).latent_dist.mode().float()
        latent = (mean - self.vae.config.shift_factor) * self.vae.config.scaling_factor
        noise = latent_noise(batch.noise, latent.shape[1:])
        return batch._replace(image=latent, noise=noise, mask=F.avg_pool2d(batch.mask, self.factor))


def load_latent_space(location: str, slices: SliceSet) -> LatentSpace:
    """Return the latent space of an autoencoder's pipeline.

    Args:
        location: its folder or Hub id.
        slices: the training split, which must have the size and spacing the autoencoder was trained on.

    Raises:
        InputError: it is no autoencoder, or one of other images.
    """
    pipeline = load_pipeline(location)
    if not isinstance(pipeline, AutoencoderPipeline):
        raise InputError(location, f"a {type(pipeline).__name__}", "give the pipeline of an autoencoder's training")
    size, spacing = pipeline.sample_size, pipeline.config.pixel_spacing_mm
    check_images(location, size, spacing, slices, remedy="train an autoencoder on these data")
    return LatentSpace(pipeline.vae)


class LatentObjective(nn.Module):
    """Another objective's losses, on latents.

    Args:
        objective: of a `Batch`.
        space: encodes it first.
    """

    def __init__(self, objective: nn.Module, space: LatentSpace) -> None:
        super().__init__()
        self.objective, self.space = objective, space

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) losses."""
        return self.objective(self.space(batch))


class LatentFlow(RectifiedFlow):
    """A denoiser that learns the velocity of the straight path between latent and noise.

    Source: Rombach et al. 2022, arXiv:2112.10752.
    """

    config: LatentFlowConfig

    def __init__(self, config: LatentFlowConfig, slices: SliceSet) -> None:
        Family.__init__(self, config, slices)
        self.space = load_latent_space(config.vae, slices)
        self.averaged = build_denoiser(config, slices, in_channels=self.space.channels, latent_factor=self.space.factor)
        self.encoder = self.averaged["condition_encoder"]
        objective = FlowObjective(self.averaged, time_mean=config.time_mean, time_std=config.time_std)
        self.phases = (Phase("denoiser", LatentObjective(objective, self.space)),)

    def pipeline(self, averaged: nn.Module) -> RectifiedFlowPipeline:
        """Return the flow's pipeline, with the autoencoder in it."""
        return RectifiedFlowPipeline(
            **averaged,
            **self.text_parts,
            scheduler=FlowMatchEulerDiscreteScheduler(),
            vae=self.space.vae,
            condition_dropout=self.config.condition_dropout,
            pixel_spacing_mm=self.spacing,
        )

    def held_out(self, averaged: nn.Module, data: TrainingSlices) -> dict[str, float]:
        """Return the velocity loss on other patients' latents."""
        objective = FlowObjective(averaged, time_mean=self.config.time_mean, time_std=self.config.time_std)
        return {"velocity": held_out_loss(LatentObjective(objective, self.space), data)}

    def state(self) -> dict[str, float]:
        """Return which autoencoder this is: it lies outside the run folder, where it could be exchanged."""
        return {"autoencoder": self.space.fingerprint}

    def load_state(self, state: dict[str, float]) -> None:
        """Raise InputError unless the autoencoder is the one the run began with."""
        if state["autoencoder"] != self.space.fingerprint:
            raise InputError(
                self.config.vae, "another autoencoder than this run began with", "start again with another --output"
            )
