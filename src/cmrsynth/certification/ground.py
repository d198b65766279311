"""Where failures are planted: three groups of real patients, with the network and the encoder that judge them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from cmrsynth.certification.hearts import hearts
from cmrsynth.data.loading import SliceSet, load_slices
from cmrsynth.errors import InputError
from cmrsynth.evaluation.encoder import Encoder, cardiac_encoder
from cmrsynth.evaluation.inputs import MIN_SLICES, check_sets
from cmrsynth.evaluation.segmenter import Segmenter, train_segmenter
from cmrsynth.evaluation.settings import EvaluationSettings

QUICK = EvaluationSettings(segmenter_updates=120, segmenter_batch=8, resamples=40, floor_draws=3)
THOROUGH = EvaluationSettings(segmenter_updates=400, resamples=200)
MIN_PATIENTS = 6  # in each of the three groups; fewer and no interval over patients says anything
TOY_PATIENTS = {"train": 16, "holdout": 12, "third": 12}


@dataclass
class Ground:
    """Three groups of real patients that share nobody.

    Args:
        name: "toy hearts" or the name of the data.
        train: the patients that a generator would have been trained on.
        holdout: the patients that nothing is trained on.
        third: further patients. As they are, they stand for what a perfect generator makes; failures are planted
            in them.
        settings: how much work each figure does.
        folder: where the network that measures is kept.
        draw: more patients of the same kind: `draw(name, patients, seed)`; None where there are no more.
    """

    name: str
    train: SliceSet
    holdout: SliceSet
    third: SliceSet
    settings: EvaluationSettings
    folder: Path
    draw: Callable[[str, int, int], SliceSet] | None = field(default=None, repr=False)

    @cached_property
    def labels(self) -> tuple[int, ...]:
        """The foreground labels that all groups annotate."""
        return check_sets(self.train, self.holdout, self.third)

    @cached_property
    def segmenter(self) -> Segmenter:
        """The measuring network, trained on the training patients once."""
        return train_segmenter(
            self.train.images,
            self.train.masks,
            self.labels,
            updates=self.settings.segmenter_updates,
            batch_size=self.settings.segmenter_batch,
            seed=self.settings.seed,
            path=self.folder / f"{self.name.replace(' ', '-').replace('/', '-')}.safetensors",
        )

    @cached_property
    def encoder(self) -> Encoder:
        """The cardiac encoder of that network."""
        return cardiac_encoder(self.segmenter, self.train.images)

    def has_values(self, attribute: str, count: int = 2) -> bool:
        """Whether the training patients know at least `count` values of an attribute such as the vendor."""
        return len(set(getattr(self.train, attribute).tolist()) - {"unknown"}) >= count


def toy_ground(folder: Path) -> Ground:
    """Return the ground of toy hearts (`cmrsynth.certification.hearts`)."""
    groups = [hearts(name, count, seed=number) for number, (name, count) in enumerate(TOY_PATIENTS.items())]
    return Ground("toy hearts", *groups, QUICK, folder, lambda name, patients, seed: hearts(name, patients, seed=seed))


def data_ground(location: str, folder: Path, name: str | None = None) -> Ground:
    """Return the ground of a built data set: its train split, and two groups of its other patients.

    Args:
        location: a folder made by `cmrsynth build`, or a Hub id.
        folder: for the network that measures.
        name: what the table calls it; the location if not given.

    Raises:
        InputError: the validation and test splits have too few patients for two groups.
    """
    train, others = load_slices(location, "train"), _others(location)
    patients = np.random.default_rng([THOROUGH.seed, 71]).permutation(others.patients)
    first = np.isin(others.patient_id, patients[: len(patients) // 2])
    holdout, third = others.select(first), others.select(~first)
    if min(len(part.patients) for part in (train, holdout, third)) < MIN_PATIENTS or len(third) < MIN_SLICES:
        raise InputError(
            location,
            f"{len(train.patients)} training patients and {len(patients)} others",
            f"build with a validation and test split of at least {2 * MIN_PATIENTS} patients together",
        )
    return Ground(name or location, train, holdout, third, THOROUGH, folder)


def _others(location: str) -> SliceSet:
    try:
        return load_slices(location, "validation+test")
    except InputError:  # no validation split
        return load_slices(location, "test")
