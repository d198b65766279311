"""A ControlNet as a family: a trained flow or diffusion without masks, and the branch that gives it one."""

from __future__ import annotations

from typing import Any

from diffusers import DDPMScheduler, DiffusionPipeline
from torch import Tensor, nn

from cmrsynth.data.loading import SliceSet
from cmrsynth.errors import InputError
from cmrsynth.hub.load import load_pipeline, pipeline_hash
from cmrsynth.labels import NUM_LABELS
from cmrsynth.models import MaskControlNet
from cmrsynth.pipelines import MaskDiffusionPipeline, RectifiedFlowPipeline
from cmrsynth.provenance import portable_path
from cmrsynth.training.batches import TrainingSlices
from cmrsynth.training.controlnet_config import ControlNetConfig
from cmrsynth.training.denoiser import check_images
from cmrsynth.training.diffusion import DiffusionObjective
from cmrsynth.training.family import Family, Phase
from cmrsynth.training.prompts import TextModel
from cmrsynth.training.rectified_flow import FlowObjective, held_out_loss


class ControlledDenoiser(nn.Module):
    """A base and its ControlNet as one denoiser that takes a mask, so that the base's own loss trains it.

    Args:
        unet: the base, a denoiser without masks.
        controlnet: makes its residuals.
    """

    def __init__(self, unet: nn.Module, controlnet: MaskControlNet) -> None:
        super().__init__()
        self.unet, self.controlnet = unet, controlnet

    def forward(
        self, sample: Tensor, timestep: Tensor, mask: Tensor, condition: Tensor, return_dict: bool = True
    ) -> Any:
        """Return what the base returns, at (B, C, H, W), given the mask (B, K, H, W)."""
        residuals = self.controlnet(sample, timestep, mask, condition)
        return self.unet(sample, timestep, condition=condition, residuals=residuals, return_dict=return_dict)


class ControlNet(Family):
    """A branch that learns what a mask adds to a trained denoiser, whose weights stay as they are unless told else.

    Source: Zhang et al. 2023, arXiv:2302.05543.
    """

    config: ControlNetConfig

    def __init__(self, config: ControlNetConfig, slices: SliceSet) -> None:
        super().__init__(config, slices)
        self.base = load_base(config.base, slices)
        self.base_hash = pipeline_hash(config.base)
        self.encoder = self.base.condition_encoder
        if self.base.text_encoder is not None:
            self.text_model = TextModel(self.base.text_encoder.requires_grad_(False), self.base.tokenizer)
        if isinstance(self.base, MaskDiffusionPipeline) and config.snr_gamma:
            check_weighting(config, self.base)
        for network in (self.base.unet, self.encoder):
            network.train(config.train_base).requires_grad_(config.train_base)
        controlnet = MaskControlNet.from_unet(self.base.unet, NUM_LABELS)
        networks = {"unet": self.base.unet, "condition_encoder": self.encoder, "controlnet": controlnet}
        self.averaged = nn.ModuleDict(networks)
        # a base that is not trained is registered all the same: its weights travel with every checkpoint
        self.phases = (Phase("controlnet", self.objective(self.averaged)),)

    def objective(self, networks: nn.ModuleDict) -> nn.Module:
        """Return the objective that trained the base, for the base with its ControlNet."""
        controlled = ControlledDenoiser(networks["unet"], networks["controlnet"])
        denoiser = nn.ModuleDict({"unet": controlled, "condition_encoder": networks["condition_encoder"]})
        if isinstance(self.base, RectifiedFlowPipeline):
            return FlowObjective(denoiser)
        schedule = DDPMScheduler.from_config(self.base.scheduler.config)
        return DiffusionObjective(denoiser, schedule, snr_gamma=self.config.snr_gamma)

    def pipeline(self, averaged: nn.Module) -> DiffusionPipeline:
        """Return the base's pipeline with the ControlNet in it."""
        parts = {**self.base.components, **averaged}
        return type(self.base)(
            **parts, condition_dropout=self.condition_dropout, pixel_spacing_mm=self.base.config.pixel_spacing_mm
        )

    @property
    def condition_dropout(self) -> float:
        """How often the finished pipeline saw nothing, neither mask nor conditions, and so can guide from there."""
        if self.config.train_base:
            return self.config.condition_dropout
        # an untouched base without conditions never saw anything else
        return self.base.config.condition_dropout if self.encoder.names else 1.0

    def sampling(self) -> dict[str, int]:
        """Return the number of steps of the sample grids."""
        return {"num_inference_steps": self.config.sample_inference_steps}

    def held_out(self, averaged: nn.Module, data: TrainingSlices) -> dict[str, float]:
        """Return the base's loss on other patients, given their masks."""
        return {"controlnet": held_out_loss(self.objective(averaged), data)}

    def record(self, averaged: nn.Module, data: TrainingSlices | None) -> dict[str, Any]:
        """Return which base this is."""
        return {"base": {"location": portable_path(self.config.base), "hash": self.base_hash}}

    def state(self) -> dict[str, float]:
        """Return which base this is, as a number: it lies outside the run folder, where it could be exchanged."""
        return {"base": int(self.base_hash[:12], 16)}  # exact in a double

    def load_state(self, state: dict[str, float]) -> None:
        """Raise InputError unless the base is the one the run began with."""
        if state != self.state():
            raise InputError(
                self.config.base, "another base than this run began with", "start again with another --output"
            )


def load_base(location: str, slices: SliceSet) -> RectifiedFlowPipeline | MaskDiffusionPipeline:
    """Return the pipeline that a ControlNet is to be trained for.

    Args:
        location: its folder or Hub id.
        slices: the training split, which must have the size and spacing the base was trained on.

    Raises:
        InputError: it works in latents, has a ControlNet, takes a mask itself, or learned other images.
    """
    base = load_pipeline(location)
    remedy = "give the pipeline of a flow or diffusion in pixels, trained with backbone: unet and conditioning: none"
    if not isinstance(base, RectifiedFlowPipeline | MaskDiffusionPipeline):
        raise InputError(location, f"a {type(base).__name__}, which has no denoiser", remedy)
    network = type(base.unet).__name__
    if base.vae is not None or base.controlnet is not None or network != "MaskUNet" or base.mask_channels:
        found = f"a {network} with {base.mask_channels} mask channels"
        found += ", in latents" * (base.vae is not None) + ", with a ControlNet" * (base.controlnet is not None)
        raise InputError(location, found, remedy)
    size, spacing = base.sample_size, base.config.pixel_spacing_mm
    check_images(location, size, spacing, slices, remedy="train a base on images like these")
    return base


def check_weighting(config: ControlNetConfig, base: MaskDiffusionPipeline) -> None:
    """Raise InputError where min-SNR weighting would give the timestep at which sampling starts no weight."""
    schedule = DDPMScheduler.from_config(base.scheduler.config)
    if schedule.alphas_cumprod[-1] == 0:
        raise InputError(
            config.base,
            "its noise schedule ends in pure noise: with snr_gamma, sampling's first timestep would weigh nothing",
            "use snr_gamma: 0",
        )
