"""Flow and diffusion under attack, in pixels or latents, with what distilled models predict in one jump."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cmrsynth.attacks.denoiser import Denoiser, bind, encode_latents, is_flow_map
from cmrsynth.attacks.loss import FlowLoss, JumpLoss
from cmrsynth.attacks.memoriser import Memoriser
from cmrsynth.attacks.panel import ATTACKS, Attack, score_images
from cmrsynth.attacks.vae import reconstruction_scores
from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.attack_inputs import records
from cmrsynth.evaluation.attack_statistics import MIN_FITTED
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.target import nearest_member
from cmrsynth.precision import hardware_precision
from cmrsynth.seeds import derive_seed

if TYPE_CHECKING:
    from torch import Tensor

BASE, JUMP = "velocity", "one_jump"
AUTOENCODER = "autoencoder"  # the attack on the autoencoder of a latent generator
PROBE = FlowLoss(draws=2, times=(0.5,))


@dataclass(frozen=True)
class DenoiserTarget:
    """A flow or diffusion pipeline under attack, before or after distillation.

    Args:
        pipeline: offers `velocity` or `predict_noise`, see `cmrsynth.attacks.denoiser.bind`.
        settings: the attacks beside the base one, and its noise draws.
        patients: of the smaller side.
    """

    pipeline: Any
    settings: EvaluationSettings
    patients: int

    @property
    def base(self) -> str:
        """The velocity error around the middle of the path; of a flow map, the error of its jumps."""
        return JUMP if is_flow_map(self.pipeline) else BASE

    @property
    def probe_made_with(self) -> str:
        """What `probe` does, in a few words."""
        return PROBE.made_with

    @cached_property
    def attacks(self) -> dict[str, Attack]:
        """The attacks by name; those that need more patients to be fitted are left out."""
        attacks = {name: ATTACKS[name] for name in dict.fromkeys((BASE, *self.settings.membership_attacks))}
        attacks[BASE] = replace(ATTACKS[BASE], draws=self.settings.membership_draws)
        if is_flow_map(self.pipeline):
            attacks[JUMP] = JumpLoss(draws=self.settings.membership_draws)
        return {n: attack for n, attack in attacks.items() if attack.fusion == "mean" or self.patients >= MIN_FITTED}

    def seen(self, part: SliceSet) -> SliceSet:
        """Return the set as it is."""
        return part

    def features(self, train: SliceSet, holdout: SliceSet) -> dict[str, np.ndarray]:
        """Return the features of every attack; of the autoencoder by itself, where there is one."""
        found = [self._features(part) for part in (train, holdout)]
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}

    def made_with(self, attack: str) -> str:
        """Return what an attack did, in a few words."""
        return "reconstruction error of the autoencoder" if attack == AUTOENCODER else self.attacks[attack].made_with

    def fusion(self, attack: str) -> str:
        """Return how the columns of an attack become one score."""
        return "mean" if attack == AUTOENCODER else self.attacks[attack].fusion

    def planted(self, train: SliceSet, holdout: SliceSet) -> np.ndarray:
        """Return the base attack on the denoiser that knows the training images by heart, or jumps to one of them."""
        import torch

        if self.base == JUMP:
            return nearest_member(train, holdout)
        images = [torch.from_numpy(part.images.astype(np.float32))[:, None] * 2 - 1 for part in (train, holdout)]
        memoriser, attack = Memoriser(images[0]), {BASE: self.attacks[BASE]}
        settings = {"seed": self.settings.seed, "description": "Planting a leak"}
        return np.concatenate([score_images(attack, lambda rows: memoriser, i, **settings)[BASE] for i in images])

    def probe(self, part: SliceSet, **given: str) -> np.ndarray:
        """Return minus the velocity error of each slice under these attributes."""
        return self._scores({"probe": PROBE}, part, "attribute inference", **given)["probe"].mean(1)

    def _features(self, part: SliceSet) -> dict[str, np.ndarray]:
        found = self._scores(self.attacks, part, "membership noise")
        if getattr(self.pipeline, "vae", None) is not None:
            pixels = records(self.pipeline, part).images
            found[AUTOENCODER] = reconstruction_scores(self.pipeline.vae, pixels, seed=self.settings.seed)[:, None]
        return found

    def _scores(self, attacks: dict[str, Attack], part: SliceSet, stream: str, **given: str) -> dict[str, np.ndarray]:
        images, bound = binder(self.pipeline, part)
        return score_images(
            attacks,
            lambda rows: bound(rows, **given),
            images,
            seed=derive_seed(self.settings.seed, stream),
            bf16=computes_bf16(self.pipeline),
            description=f"Attacking with {part.name}",
        )


def binder(pipeline: Any, part: SliceSet) -> tuple[Tensor, Callable[..., Denoiser]]:
    """Return the images (or latents) of a set, and a function that binds the conditions of some of its rows.

    The function takes rows and, by keyword, attribute values that replace the set's own: one value for all rows.
    """
    import torch

    known = records(pipeline, part)
    images = known.images

    def bound(rows: slice, **given: str) -> Denoiser:
        mask, attributes = known.conditions(np.arange(len(known))[rows], **given)
        return bind(pipeline, mask, **attributes)

    if getattr(pipeline, "vae", None) is not None:
        with torch.inference_mode():
            images = torch.cat([encode_latents(pipeline.vae, chunk) for chunk in images.split(32)])
    return images, bound


def computes_bf16(pipeline: Any) -> bool:
    """Return whether the pipeline is a network that this hardware runs faster in bfloat16."""
    import torch

    return isinstance(getattr(pipeline, "unet", None), torch.nn.Module) and hardware_precision() == "bf16"
