"""The anatomy of one vendor in the look of another: is the look recognised, and is the mask still obeyed?

A classifier learns the vendors from real training patients. Images made from the masks of held-out patients, asked
for in another vendor's look, should be taken for that vendor's; and a network that segments them should find the
masks again. Both figures stand beside what real images get.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.errors import InputError
from cmrsynth.evaluation.adherence import mean_interval, overlap_of
from cmrsynth.evaluation.encoder import Encoder
from cmrsynth.evaluation.floors import Interval, cut
from cmrsynth.evaluation.recognition import MIN_HOLDOUT, MIN_TRAIN, slice_features, usable_values
from cmrsynth.evaluation.segmenter import Segmenter
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.metrics.recognition import AttributeClassifier, fit_attribute, recall_by_patient

VENDOR = "vendor"


class Estimate(NamedTuple):
    """A mean over patients in [0, 1] and its 95 % interval; None for a single patient."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class SwapLine:
    """What became of the masks of all other vendors in the look of one.

    Args:
        style: what decided the look, such as "attribute" or "reference image".
        target: the vendor whose look was asked for.
        slices, patients: made, and whose masks they are.
        recognised: share of the images that is taken for the target's.
        floor: the same of the target's real held-out images: all that a perfect swap could reach.
        control: the same of the real images of the masks, in their own look: what a model reaches that swaps nothing.
        adherence: Dice of the re-segmented images with their masks.
        adherence_floor: the same of the real images of these masks.
        per_source: share recognised, by the vendor of the mask.
    """

    style: str
    target: str
    slices: int
    patients: int
    recognised: Estimate
    floor: Estimate
    control: Estimate
    adherence: Estimate
    adherence_floor: Estimate
    per_source: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Return the line as JSON-able values."""
        return {k: v._asdict() if isinstance(v, Estimate) else v for k, v in asdict(self).items()}


class SwapJudge:
    """Judge swapped images by networks that learned from the real training patients.

    Args:
        train: real slices of the training patients.
        holdout: real slices of other patients, whose masks are shown in other looks.
        encoder: the cardiac encoder, fitted on `train`.
        segmenter: trained on `train`.
        settings: resamples and seed.

    Raises:
        InputError: fewer than two vendors have enough patients.
    """

    def __init__(
        self, train: SliceSet, holdout: SliceSet, encoder: Encoder, segmenter: Segmenter, settings: EvaluationSettings
    ) -> None:
        self.encoder, self.segmenter, self.settings = encoder, segmenter, settings
        self.values = usable_values(VENDOR, train, holdout)
        if len(self.values) < 2:
            raise InputError(
                holdout.name,
                f"fewer than two vendors have {MIN_TRAIN} training and {MIN_HOLDOUT} held-out patients",
                "give data of several vendors",
            )
        known = np.isin(train.vendor, self.values)
        self.holdout = holdout.select(np.isin(holdout.vendor, self.values))
        self.classifier = self._fitted(train.select(known))
        self.taken_for = self.classifier.predict(self._features(self.holdout))

    def _fitted(self, part: SliceSet) -> AttributeClassifier:
        return fit_attribute(self._features(part), part.vendor, part.patient_id, self.settings.seed)

    def _features(self, part: SliceSet) -> np.ndarray:
        return slice_features(part, self.encoder, self.segmenter)

    def of_others(self, target: str) -> SliceSet:
        """Return the held-out slices of all other vendors."""
        return self.holdout.select(self.holdout.vendor != target)

    def line(self, style: str, target: str, images: np.ndarray) -> SwapLine:
        """Return what became of the masks of `of_others(target)`.

        Args:
            style: what decided the look.
            target: the vendor asked for.
            images: (N, H, W) in [0, 1], one per mask.
        """
        real = self.of_others(target)
        if images.shape != real.images.shape:
            raise ValueError(f"{images.shape} images for masks {real.images.shape}; make one per mask")
        made = replace(real, images=images)
        taken_for = self.classifier.predict(self._features(made))
        own, others = self.holdout.vendor == target, self.holdout.vendor != target
        sources = sorted(set(real.vendor.tolist()))
        return SwapLine(
            style=style,
            target=target,
            slices=len(real),
            patients=len(real.patients),
            recognised=self._share(taken_for, real, target),
            floor=self._share(self.taken_for[own], self.holdout.select(own), target),
            control=self._share(self.taken_for[others], real, target),
            adherence=self._dice(made),
            adherence_floor=self._dice(real),
            per_source={
                source: self._share(taken_for[rows], real.select(rows), target).value
                for source in sources
                for rows in [real.vendor == source]
            },
        )

    def _share(self, taken_for: np.ndarray, part: SliceSet, target: str) -> Estimate:
        asked = np.full(len(part), target)
        return self._estimate(recall_by_patient(taken_for, asked, part.patient_id, [target]))

    def _dice(self, part: SliceSet) -> Estimate:
        found = self.segmenter.predict(part.images)
        return self._estimate(overlap_of(found, part, self.segmenter.labels)["dice"])

    def _estimate(self, by_patient: np.ndarray) -> Estimate:
        value, interval = mean_interval(by_patient, self.settings)
        return Estimate(value, cut(interval, (0, 1)))


def swap_lines(
    judge: SwapJudge, styles: Mapping[str, Callable[[SliceSet, str], np.ndarray]]
) -> tuple[list[SwapLine], dict[str, dict[str, np.ndarray]]]:
    """Return one line per style and vendor, and the images by style and vendor.

    Args:
        judge: knows the held-out patients.
        styles: per way of deciding the look a function of slices and a vendor, which makes (N, H, W) images in [0, 1]
            from the slices' masks.
    """
    made = {
        style: {value: make(judge.of_others(value), value) for value in judge.values} for style, make in styles.items()
    }
    lines = [judge.line(style, value, images) for style, looks in made.items() for value, images in looks.items()]
    return lines, made
