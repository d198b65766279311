"""What differs between families of generators: networks, losses, and the pipeline they become.

`Run` does the rest, once for all of them: data, precision, optimisers, averaging, checkpoints, logging.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import nn

from cmrsynth.conditions import encoder_conditions
from cmrsynth.data.loading import SliceSet
from cmrsynth.models import ConditionEncoder
from cmrsynth.training.batches import TrainingSlices
from cmrsynth.training.config import TrainingConfig
from cmrsynth.training.prompts import TextModel, load_text_model, prompt_table


@dataclass(frozen=True)
class Phase:
    """One optimiser's part of a step; most families have one, a GAN has two.

    Args:
        name: names the files of its checkpoint.
        objective: called with a `Batch`, returns (B,) losses. Its registered parameters that require gradients are
            optimised; networks it only looks at are kept in a tuple, out of sight of `nn.Module`.
        betas: of AdamW.
        learning_rate_factor: multiplies the configured learning rate.
    """

    name: str
    objective: nn.Module
    betas: tuple[float, float] = (0.9, 0.99)
    learning_rate_factor: float = 1.0


class Family(ABC):
    """A family of generators, built for a configuration and a training set under one seed.

    Subclasses set `encoder`, `phases` and `averaged` in `__init__`.

    Args:
        config: the run's configuration.
        slices: the training split.
    """

    encoder: ConditionEncoder
    phases: tuple[Phase, ...]
    averaged: nn.Module  # the weights that are averaged over steps and exported

    def __init__(self, config: TrainingConfig, slices: SliceSet) -> None:
        self.config, self.slices = config, slices
        self.text_model: TextModel | None = load_text_model(config.text_encoder) if config.text_encoder else None
        self.spacing = float(slices.pixel_spacing.mean())

    @abstractmethod
    def pipeline(self, averaged: nn.Module) -> DiffusionPipeline:
        """Return the sampling pipeline with these weights (a copy of `self.averaged`)."""

    def tensors(self, slices: SliceSet) -> TrainingSlices:
        """Return the tensors of a split with the rows of its conditions and its prompts.

        Those of the training split, which come first, teach a new encoder how the embeddings of prompts spread.
        """
        values = encoder_conditions(self.encoder.config, slices)
        rows = self.encoder.encode(len(slices), **values)
        if self.text_model is None:
            return TrainingSlices.from_slices(slices, rows, self.encoder)
        table = prompt_table(self.text_model, self.encoder, values, len(slices), seed=self.config.seed)
        embeddings = table.embeddings
        is_new = self.config.text_encoder and self.encoder.config.text_statistics is None  # not a teacher's or a base's
        if is_new and slices is self.slices:
            embeddings = self.encoder.learn_text(embeddings)
        prompts = {"prompts": embeddings, "prompt_of_row": table.of_row}
        return TrainingSlices.from_slices(slices, rows, self.encoder, **prompts)

    @property
    def text_parts(self) -> dict[str, Any]:
        """The pipeline's components for prompts; empty for a model without them."""
        if self.text_model is None:
            return {}
        return {"text_encoder": self.text_model.text_encoder, "tokenizer": self.text_model.tokenizer}

    def sampling(self) -> dict[str, Any]:
        """Return the options with which the sample grids of a training are drawn."""
        return {}

    def held_out(self, averaged: nn.Module, data: TrainingSlices) -> dict[str, float]:
        """Return losses of the averaged weights on other patients, for the log."""
        return {}

    def record(self, averaged: nn.Module, data: TrainingSlices | None) -> dict[str, Any]:
        """Return further facts for `training.json`, measured on other patients where there is such a split."""
        return {}

    def after_step(self) -> None:  # noqa: B027 (most families adapt nothing)
        """Adapt whatever is neither a weight nor an optimiser's state, such as the strength of an augmentation."""

    def state(self) -> dict[str, float]:
        """Return what `after_step` adapts, for the checkpoint."""
        return {}

    def load_state(self, state: dict[str, float]) -> None:  # noqa: B027
        """Restore what `state` returned."""


FamilyClass = Callable[[TrainingConfig, SliceSet], Family]  # the class, or a function that chooses one


@contextmanager
def frozen(network: nn.Module) -> Iterator[nn.Module]:
    """Let gradients through a network but not into it."""
    wanting = [p for p in network.parameters() if p.requires_grad]
    for parameter in wanting:
        parameter.requires_grad_(False)
    try:
        yield network
    finally:
        for parameter in wanting:
            parameter.requires_grad_(True)


def parameter_count(module: nn.Module) -> int:
    """Return the number of weights."""
    return sum(p.numel() for p in module.parameters())


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Draw initial weights from `seed`, and leave the global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        yield
