"""The configuration of the training of a flow that needs few steps."""

from __future__ import annotations

from dataclasses import dataclass

from cmrsynth.errors import InputError
from cmrsynth.training.config import TrainingConfig, option

METHODS = ("shortcut", "reflow")


@dataclass(frozen=True)
class FewStepConfig(TrainingConfig):
    """Everything that decides the training of a rectified flow that needs few steps, from one that needs many."""

    teacher: str = option("", "pipeline of a trained rectified flow, whose weights are the first: a folder or a Hub id")
    method: str = option("shortcut", "shortcut (learns steps of any length), or reflow (straightens the flow)")
    time_mean: float = option(0.0, "mean of the logit of the times at which velocities are learned")
    time_std: float = option(1.0, "standard deviation of the logit of these times")

    steps: list[int] = option([1, 2, 4], "shortcut: numbers of sampling steps, powers of two, to be good at")
    consistency_share: float = option(
        0.5, "shortcut: share of the batch that also learns velocities (half of it) and shortcuts (the other half)"
    )
    adversarial_weight: float = option(
        0.3, "shortcut: weight of a discriminator of what the last step leads to; 0: none"
    )
    texture_weight: float = option(0.1, "shortcut: weight of the texture of last steps, without a discriminator")
    discriminator_channels: list[int] = option([32, 64, 128], "shortcut: width per layer of the discriminator")
    discriminator_scales: int = option(2, "shortcut: resolutions at which images are judged")
    discriminator_norm: float = option(
        2.0, "shortcut: spectral norm of its convolutions; at 1 it hardly learns in a short training; 0: none"
    )
    discriminator_rate_factor: float = option(
        3.0, "shortcut: the discriminator's learning rate, as a multiple of the flow's"
    )
    augment_target: float = option(0.6, "mean sign of the scores of real images that the augmentation is to hold")
    augment_images: int = option(50_000, "images over which the augmentation can go from never to always")

    pairs: int = option(384, "reflow: pairs of noise and the teacher's image; they are made on their first use")
    pair_steps: int = option(20, "reflow: the teacher's Euler steps")

    attributes: list[str] = option([], "leave empty: the conditions are those of the teacher")
    sample_inference_steps: int = option(4, "sampling steps of the sample grids")
    learning_rate: float = option(3e-4, "peak learning rate (AdamW)")
    warmup_steps: int = option(20, "steps over which the learning rate rises linearly")
    ema_decay: float = option(0.999, "largest decay of the averaged weights (it warms up)")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_conditions("scalars", "text_encoder", why="the conditions are those of the teacher")
        where = "training configuration"
        if not self.teacher:
            raise InputError(where, "--teacher is needed", "train one with training/train_rectified_flow.py")
        if self.method not in METHODS:
            raise InputError(where, f"method {self.method!r}", f"use one of {METHODS}")
        if self.attributes:
            raise InputError(
                where,
                f"the conditions are those of the teacher, not {self.attributes}",
                "leave attributes empty, or train a teacher with them",
            )
        if not self.steps or any(count < 1 or count & (count - 1) for count in self.steps):
            raise InputError(where, f"steps {self.steps}", "give powers of two, as in 1 2 4")
        for name in ("augment_target", "consistency_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(where, f"{name} is {getattr(self, name)}", "give a share between 0 and 1")
        if min(self.adversarial_weight, self.texture_weight) < 0 or self.discriminator_rate_factor <= 0:
            raise InputError(
                where,
                "adversarial_weight or texture_weight is negative, or discriminator_rate_factor is not positive",
                "give a weight of 0 or more, and a rate above 0",
            )
        for name in ("augment_images", "discriminator_scales", "pair_steps"):
            if getattr(self, name) < 1:
                raise InputError(where, f"{name} is {getattr(self, name)}", "give at least 1")
        if self.batch_size < 4 and self.method == "shortcut":
            raise InputError(
                where, f"batch_size is {self.batch_size}", "give at least 4: it is divided among the losses"
            )
        if self.method == "reflow" and (self.pairs < self.batch_size or self.pairs % self.batch_size):
            raise InputError(where, f"pairs is {self.pairs}", f"give a multiple of batch_size {self.batch_size}")
