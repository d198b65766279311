"""What an entry of the catalogue is: a failure planted on purpose, or a control that must pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cmrsynth.certification.private_training import Recipe
from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.figure import DO_NOT_SHARE, LOOK

REFUSED = "refused"  # the check raised: the product declines to give a number
FOUND_FAULT = (LOOK, DO_NOT_SHARE)
SECONDS, SLOW = "seconds", "slow"


@dataclass(frozen=True)
class ImageCase:
    """Three sets, as `cmrsynth evaluate` gets them."""

    train: SliceSet
    holdout: SliceSet
    synthetic: SliceSet


@dataclass(frozen=True)
class ModelCase:
    """A generator with the patients it was trained on and others, as the membership attack gets them."""

    pipeline: Any
    train: SliceSet
    holdout: SliceSet


@dataclass(frozen=True)
class TrainingCase:
    """A training run under a claim of differential privacy."""

    recipe: Recipe
    delta: float
    seed: int


Case = ImageCase | ModelCase | TrainingCase


@dataclass(frozen=True)
class Sign:
    """A figure that must find a failure, and the verdicts of the product's own rule that count as finding it."""

    figure: str
    verdicts: tuple[str, ...] = FOUND_FAULT


def refuses(figure: str) -> Sign:
    """Return the sign that a figure must give no more than "do not share"."""
    return Sign(figure, (DO_NOT_SHARE,))


@dataclass(frozen=True)
class Plant:
    """A failure planted on purpose.

    Args:
        name: unique in the catalogue.
        planted: what is planted, in a sentence.
        axis: the axis that it belongs to, "fidelity", "utility" or "privacy".
        must_fire: the figures that must find it.
        must_stay_quiet: figures that must be "good": the failure is not theirs.
        make: from a ground (`cmrsynth.certification.ground.Ground`) to the case with the failure in it.
        cost: `SECONDS` or `SLOW`.
        needs: why the failure cannot be planted on a ground; "" where it can.
        on_images: False where the entry brings its own sets (analytic generators, training runs) and needs no ground.
    """

    name: str
    planted: str
    axis: str
    must_fire: tuple[Sign, ...]
    must_stay_quiet: tuple[str, ...]
    make: Callable[[Any], Case]
    cost: str = SECONDS
    needs: Callable[[Any], str] = field(default=lambda ground: "")
    on_images: bool = True

    @property
    def figures(self) -> tuple[str, ...]:
        """All figures that the entry names."""
        return (*(sign.figure for sign in self.must_fire), *self.must_stay_quiet)


@dataclass(frozen=True)
class Control:
    """Something that is no failure; every figure named must be "good". The arguments are those of `Plant`."""

    name: str
    shown: str
    axis: str
    must_stay_quiet: tuple[str, ...]
    make: Callable[[Any], Case]
    cost: str = SECONDS
    needs: Callable[[Any], str] = field(default=lambda ground: "")
    on_images: bool = True

    @property
    def must_fire(self) -> tuple[Sign, ...]:
        """None: nothing is wrong."""
        return ()

    @property
    def planted(self) -> str:
        """What is shown, under the name that plants use."""
        return self.shown

    @property
    def figures(self) -> tuple[str, ...]:
        """All figures that the entry names."""
        return self.must_stay_quiet


Entry = Plant | Control
