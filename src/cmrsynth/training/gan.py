"""GANs as families: two phases, a generator that is averaged and exported, and an augmentation that adapts."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from accelerate.state import PartialState
from accelerate.utils import reduce
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from cmrsynth.data.loading import SliceSet
from cmrsynth.gan.augmentation import DRAWS, adapted_probability, augment
from cmrsynth.labels import NUM_LABELS
from cmrsynth.models import DcganGenerator, ResidualGenerator, SpadeGenerator, StyleEncoder
from cmrsynth.models.discriminator_patch import PatchDiscriminator
from cmrsynth.pipelines import GanPipeline, SpadeGanPipeline
from cmrsynth.training.denoiser import build_condition_encoder, image_size
from cmrsynth.training.family import Family, Phase
from cmrsynth.training.gan_config import GanConfig
from cmrsynth.training.gan_discriminators import DcganDiscriminator, ResidualDiscriminator
from cmrsynth.training.gan_maskless import (
    LogisticDiscriminatorObjective,
    LogisticGeneratorObjective,
    RelativisticDiscriminatorObjective,
    RelativisticGeneratorObjective,
)
from cmrsynth.training.gan_spade import CONDITION_PLANES, SpadeDiscriminatorObjective, SpadeGeneratorObjective


@dataclass
class Augmentation:
    """What the discriminator's images go through, with a probability that `Gan` adapts after every step.

    Args:
        probability: of each augmentation, in [0, 1].
        signs: of the scores of the real images seen since it was last adapted.
    """

    probability: float = 0.0
    signs: list[Tensor] = field(default_factory=list)

    def __call__(self, image: Tensor, mask: Tensor | None, uniform: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what the discriminator sees; the first numbers of each row of `uniform` decide."""
        return augment(image, mask, uniform[:, :DRAWS], self.probability)

    def note(self, scores: Tensor) -> None:
        """Take note of the scores of real images."""
        self.signs.append(scores.detach().float().sign().mean())

    def adapt(self, images: int, *, target: float, span: int) -> None:
        """Adapt the probability to how sure the discriminator was of a step's real images, on all processes.

        Args:
            images: of the step on this process.
            target: mean sign of the scores to hold.
            span: images over which the probability can go from 0 to 1.
        """
        sign = reduce(torch.stack(self.signs).mean(), "mean").item()
        images *= PartialState().num_processes
        self.probability = adapted_probability(self.probability, sign, target=target, images=images, span=span)
        self.signs.clear()


class Gan(Family):
    """A generator and a discriminator that are trained in turns; subclasses build them and their objectives."""

    config: GanConfig

    def __init__(self, config: GanConfig, slices: SliceSet) -> None:
        super().__init__(config, slices)
        self.augmentation = Augmentation()

    def set_phases(self, discriminator: nn.Module, generator: nn.Module, beta_1: float = 0.0) -> None:
        """Let the discriminator's objective go first in every step."""
        betas = (beta_1, 0.99)
        self.phases = (
            Phase("discriminator", discriminator, betas, self.config.discriminator_rate_factor),
            Phase("generator", generator, betas),
        )

    def after_step(self) -> None:
        """Adapt the augmentation to how sure the discriminator was of this step's real images."""
        config = self.config
        images = config.batch_size * config.gradient_accumulation_steps
        self.augmentation.adapt(images, target=config.augment_target, span=config.augment_images)

    def state(self) -> dict[str, float]:
        """Return the probability of augmentation."""
        return {"augment_probability": self.augmentation.probability}

    def load_state(self, state: dict[str, float]) -> None:
        """Restore the probability of augmentation."""
        self.augmentation.probability = state["augment_probability"]


class SpadeGan(Gan):
    """A generator of slices from masks and a style, after Park et al. 2019, arXiv:1903.07291."""

    def __init__(self, config: GanConfig, slices: SliceSet) -> None:
        super().__init__(config, slices)
        widths = tuple(config.block_out_channels)
        self.encoder = build_condition_encoder(config, slices, config.latent_dim)
        self.averaged = nn.ModuleDict(
            {
                "generator": SpadeGenerator(
                    sample_size=image_size(slices, levels=len(widths)),
                    mask_channels=NUM_LABELS,
                    style_dim=config.latent_dim,
                    block_out_channels=widths,
                ),
                "style_encoder": StyleEncoder(config.latent_dim, widths),
                "condition_encoder": self.encoder,
            }
        )
        image_size(slices, levels=len(config.discriminator_channels) + config.discriminator_scales)
        discriminator = nn.ModuleDict(
            {
                "patches": PatchDiscriminator(
                    mask_channels=NUM_LABELS + CONDITION_PLANES,
                    widths=tuple(config.discriminator_channels),
                    scales=config.discriminator_scales,
                    norm=config.discriminator_norm,
                ),
                "condition_encoder": build_condition_encoder(config, slices, CONDITION_PLANES),
            }
        )
        self.set_phases(
            SpadeDiscriminatorObjective(discriminator, self.averaged, self.augmentation, config.prior_share),
            SpadeGeneratorObjective(
                self.averaged,
                discriminator,
                self.augmentation,
                prior_share=config.prior_share,
                feature_matching_weight=config.feature_matching_weight,
                kl_weight=config.kl_weight,
            ),
        )

    def pipeline(self, averaged: nn.Module) -> SpadeGanPipeline:
        """Return the generator's pipeline."""
        return SpadeGanPipeline(
            **averaged,
            **self.text_parts,
            condition_dropout=self.config.condition_dropout,
            pixel_spacing_mm=self.spacing,
        )


class MasklessGan(Gan):
    """A generator of slices from a random vector and attributes, without masks."""

    def networks(self, generator: nn.Module, discriminator: nn.Module) -> nn.ModuleDict:
        """Set what is averaged and return the discriminator with its conditions."""
        config, slices = self.config, self.slices
        self.encoder = build_condition_encoder(config, slices, config.latent_dim)
        self.averaged = nn.ModuleDict({"generator": generator, "condition_encoder": self.encoder})
        judged = build_condition_encoder(config, slices, discriminator.embedding_dim)
        return nn.ModuleDict({"score": discriminator, "condition_encoder": judged})

    def pipeline(self, averaged: nn.Module) -> DiffusionPipeline:
        """Return the generator's pipeline."""
        settings = {"condition_dropout": self.config.condition_dropout, "pixel_spacing_mm": self.spacing}
        return GanPipeline(**averaged, **self.text_parts, **settings)


class Dcgan(MasklessGan):
    """The baseline of Radford et al. 2015, arXiv:1511.06434."""

    def __init__(self, config: GanConfig, slices: SliceSet) -> None:
        super().__init__(config, slices)
        widths, latent = tuple(config.block_out_channels), config.latent_dim
        size = image_size(slices, levels=len(widths) + 1)
        discriminator = self.networks(DcganGenerator(size, latent, latent, widths), DcganDiscriminator(size, widths))
        self.set_phases(
            LogisticDiscriminatorObjective(discriminator, self.averaged, self.augmentation),
            LogisticGeneratorObjective(self.averaged, discriminator, self.augmentation),
            beta_1=0.5,
        )


class R3Gan(MasklessGan):
    """Relativistic pairs under two gradient penalties, so that it converges: Huang et al. 2024, arXiv:2501.05441."""

    def __init__(self, config: GanConfig, slices: SliceSet) -> None:
        super().__init__(config, slices)
        widths, layers, latent = tuple(config.block_out_channels), config.layers_per_block, config.latent_dim
        size = image_size(slices, levels=len(widths))
        discriminator = self.networks(
            ResidualGenerator(size, latent, latent, widths, layers), ResidualDiscriminator(size, widths, layers)
        )
        self.set_phases(
            RelativisticDiscriminatorObjective(
                discriminator, self.averaged, self.augmentation, config.gradient_penalty
            ),
            RelativisticGeneratorObjective(self.averaged, discriminator, self.augmentation),
        )


def build_gan(config: GanConfig, slices: SliceSet) -> Gan:
    """Return the untrained family of the configured architecture."""
    return {"spade": SpadeGan, "dcgan": Dcgan, "r3gan": R3Gan}[config.architecture](config, slices)
