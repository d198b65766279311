"""The networks of a denoiser, for flow and diffusion alike: the network of the chosen conditioning, its conditions."""

from __future__ import annotations

from torch import nn

from cmrsynth.conditions import scalar_statistics, vocabularies
from cmrsynth.data.loading import SliceSet
from cmrsynth.errors import InputError
from cmrsynth.labels import NUM_LABELS
from cmrsynth.models import ConditionEncoder, MaskDiT, MaskUNet, SpadeUNet
from cmrsynth.training.config import DenoiserConfig, TrainingConfig
from cmrsynth.training.prompts import text_width


def build_denoiser(
    config: DenoiserConfig, slices: SliceSet, *, in_channels: int = 1, latent_factor: int = 1
) -> nn.ModuleDict:
    """Return the untrained {"unet", "condition_encoder"} for the data's size and vocabularies.

    Args:
        config: its conditioning and backbone choose the network.
        slices: the training split.
        in_channels: of the image, or of the latent.
        latent_factor: pixels per position of the latent, along each side.

    Raises:
        InputError: the images do not fit the number of levels.
    """
    latent_levels = latent_factor.bit_length() - 1
    size = image_size(slices, levels=len(config.block_out_channels) + latent_levels) // latent_factor
    unet = build_network(config, size=size, in_channels=in_channels)
    return nn.ModuleDict(
        {"unet": unet, "condition_encoder": build_condition_encoder(config, slices, unet.embedding_dim)}
    )


def build_network(config: DenoiserConfig, *, size: int, in_channels: int = 1) -> MaskUNet | SpadeUNet | MaskDiT:
    """Return the untrained network that the configuration's conditioning and backbone name."""
    shape = {
        "sample_size": size,
        "in_channels": in_channels,
        "mask_channels": 0 if config.conditioning == "none" else NUM_LABELS,
        "block_out_channels": tuple(config.block_out_channels),
    }
    if config.backbone == "dit":
        return MaskDiT(**shape, num_layers=config.transformer_layers)
    network = SpadeUNet if config.conditioning == "spade" else MaskUNet
    return network(**shape, layers_per_block=config.layers_per_block, attention_levels=tuple(config.attention_levels))


def build_condition_encoder(config: TrainingConfig, slices: SliceSet, embedding_dim: int) -> ConditionEncoder:
    """Return the untrained encoder of what the data state of the configured attributes and scalars, and of prompts.

    Raises:
        InputError: the data do not state a configured scalar, or there is no such text model.
    """
    return ConditionEncoder(
        embedding_dim,
        vocabularies=vocabularies(slices, config.attributes),
        scalars=scalar_statistics(slices, config.scalars) or None,
        text_dim=text_width(config.text_encoder) if config.text_encoder else 0,
    )


def image_size(slices: SliceSet, *, levels: int, otherwise: str = "") -> int:
    """Return the side of the square images; raises InputError where it does not fit the network's levels.

    Args:
        slices: the training split.
        levels: of the network, each half as large as the one before.
        otherwise: how else to mend it, for the error.
    """
    height, width = slices.images.shape[1:]
    factor = 2 ** (levels - 1)
    if height != width or height % factor:
        raise InputError(
            slices.name,
            f"images are {height}x{width}",
            f"build it with a square --size that is a multiple of {factor}{otherwise and f', or {otherwise}'}",
        )
    return height


def check_images(location: str, size: int, spacing: float, slices: SliceSet, *, remedy: str) -> None:
    """Raise InputError unless the data are like the images that a pipeline to be trained on was trained with.

    Args:
        location: of the pipeline.
        size: height and width of its images.
        spacing: their pixels in mm.
        slices: the training split.
        remedy: how to mend it.
    """
    height, width = slices.images.shape[1:]
    found = float(slices.pixel_spacing.mean())
    if (height, width) != (size, size) or abs(found - spacing) > 0.02 * spacing:
        raise InputError(
            location,
            f"learned {size}x{size} images of {spacing:.2f} mm, the data have {height}x{width} of {found:.2f} mm",
            remedy,
        )
