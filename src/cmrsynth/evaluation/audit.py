"""What every privacy figure needs: the three sets, whose masks were used, and the floor of real patients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.figure import Figure
from cmrsynth.evaluation.floors import Interval, Measured, cut
from cmrsynth.evaluation.inputs import mask_origin
from cmrsynth.evaluation.judged import judged
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.verdict import Judgement
from cmrsynth.seeds import derive_seed

HALVES = 50  # random halves of the held-out patients behind a floor
NOISE = 0.05
PLANTED_AS = f"training images with noise of {NOISE:g}"


@dataclass(frozen=True)
class Audit:
    """The sets under audit."""

    train: SliceSet
    holdout: SliceSet
    synthetic: SliceSet
    settings: EvaluationSettings

    @property
    def n(self) -> dict[str, int]:
        """The counts behind a figure."""
        return {
            "synthetic": len(self.synthetic),
            "train": len(self.train),
            "holdout": len(self.holdout),
            "patients": len(self.holdout.patients),
        }

    @property
    def origin_note(self) -> str:
        """What the origin of the masks means for a distance to training images."""
        origin = mask_origin(self.train, self.holdout, self.synthetic)
        if "train" in origin:
            return (
                f" The masks came from {origin} patients, and a training patient's shape alone draws an image towards "
                "that patient: compare with images made from held-out masks to tell shape from memory."
            )
        if origin == "holdout":
            return (
                " The masks came from held-out patients, whose shape draws images away from training: a good value "
                "here says little about images made from training masks."
            )
        return ""

    def by_origin(self, values: np.ndarray) -> dict[str, float]:
        """Return the mean of per-image values for masks of training and of held-out patients, where there are any."""
        rows = {
            name: np.isin(self.synthetic.patient_id, part.patients)
            for name, part in (("train", self.train), ("holdout", self.holdout))
        }
        return {name: float(values[own].mean()) for name, own in rows.items() if own.any()}

    def halves(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return random halves of the held-out patients as (query rows, reference rows)."""
        found = []
        for draw in range(HALVES):
            rng = np.random.default_rng(derive_seed(self.settings.seed, "holdout halves", draw))
            patients = rng.permutation(self.holdout.patients)
            first = np.isin(self.holdout.patient_id, patients[: max(1, len(patients) // 2)])
            found.append((np.flatnonzero(first), np.flatnonzero(~first)))
        return [pair for pair in found if len(pair[0]) and len(pair[1])]

    def with_floor(
        self, value: float, interval: Interval | None, of_halves: Callable[[np.ndarray, np.ndarray], float]
    ) -> Measured:
        """Return a share with its floor: one half of the held-out patients in the place of the synthetic images."""
        interval = cut(interval, (0, 1))
        floors = np.array([of_halves(*pair) for pair in self.halves()])
        floors = floors[np.isfinite(floors)]
        if not len(floors):
            return Measured(value, interval, None, None)
        low, high = np.quantile(floors, [0.025, 0.975])
        return Measured(value, interval, float(floors.mean()), (float(low), float(high)))

    def figure(
        self,
        name: str,
        title: str,
        measured: Measured,
        judgement: Judgement,
        reading: str,
        made_with: str,
        *,
        planted: float | None,
        better: str = "lower",
        **more: Any,
    ) -> Figure:
        """Return a privacy figure with its three rows: synthetic, held-out (the floor), training with noise.

        The arguments are those of `judged`; `planted` is the figure for `training_with_noise`.
        """
        planted_as = PLANTED_AS if planted is not None else ""
        found = {"planted": planted, "planted_as": planted_as, "better": better, **more}
        return judged("privacy", name, title, measured, judgement, reading, n=self.n, made_with=made_with, **found)


def training_with_noise(train: SliceSet, count: int) -> np.ndarray:
    """Return (count, H, W) float32 training images, drawn with replacement, with noise of standard deviation 0.05.

    It is what every privacy figure must recognise: copies that no two numbers give away.
    """
    rng = np.random.default_rng(derive_seed(0, "training with noise"))
    images = train.images[rng.integers(0, len(train), count)]
    return np.clip(images + rng.normal(0, NOISE, images.shape), 0, 1).astype(np.float32)
