"""Do the synthetic images give training patients away? Distances to training, beside those of held-out patients.

Statistics that differ between training and held-out patients (closer to training) tell copying from collapse;
statistics of the tail (near copies, singled-out neighbours) find a few copies among many. Both kinds are given,
each with what real patients who were never trained on get.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.distances import Distances
from cmrsynth.evaluation.encoder import Encoder
from cmrsynth.evaluation.fidelity import as_fields
from cmrsynth.evaluation.figure import GOOD, Figure
from cmrsynth.evaluation.floors import Interval, Measured, cut, finite
from cmrsynth.evaluation.inputs import mask_origin
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.verdict import Judgement, judge_closeness, judge_near_copies, judge_rate
from cmrsynth.metrics.intervals import bootstrap_patients, clopper_pearson
from cmrsynth.metrics.neighbours import (
    Neighbours,
    carlini_ratio,
    closer_to_train,
    closest_distance_ratio,
    copy_rate,
    neighbours_from_distances,
    nndr,
)
from cmrsynth.seeds import derive_seed

HALVES = 50  # random halves of the held-out patients behind a floor


def privacy_figures(
    train: SliceSet,
    holdout: SliceSet,
    synthetic: SliceSet,
    encoder: Encoder,
    distances: list[Distances],
    settings: EvaluationSettings,
) -> list[Figure]:
    """Return the sample-only privacy figures; the membership attack is in `membership_attack`."""
    audit = _Audit(train, holdout, synthetic, settings)
    near = audit.near_copies(distances[0])
    closeness = [audit.closeness(d) for d in distances]
    confirmed = near.verdict != GOOD or any(f.verdict != GOOD for f in closeness)
    rates = [f for d in distances for f in audit.tail_rates(d, copying_confirmed=confirmed)]
    return [near, *closeness, *rates, audit.extraction(encoder)]


@dataclass(frozen=True)
class _Audit:
    train: SliceSet
    holdout: SliceSet
    synthetic: SliceSet
    settings: EvaluationSettings

    @property
    def n(self) -> dict[str, int]:
        return {
            "synthetic": len(self.synthetic),
            "train": len(self.train),
            "holdout": len(self.holdout),
            "patients": len(self.holdout.patients),
        }

    @property
    def origin_note(self) -> str:
        origin = mask_origin(self.train, self.holdout, self.synthetic)
        if "train" in origin:
            return (
                " The masks came from training patients, whose shape alone draws an image towards theirs: repeat with "
                "images made from held-out masks to tell shape from memory."
            )
        if origin == "holdout":
            return (
                " The masks came from held-out patients, whose shape draws images away from training: a good value "
                "here says little about images made from training masks."
            )
        return ""

    def figure(
        self,
        name: str,
        title: str,
        measured: Measured,
        judgement: Judgement,
        reading: str,
        made_with: str,
        **more: object,
    ) -> Figure:
        return Figure(
            axis="privacy",
            name=name,
            title=title,
            **as_fields(measured),
            unit="",
            n=self.n,
            made_with=made_with,
            verdict=judgement.verdict,
            reading=reading,
            rule=judgement.rule,
            **{"better": "lower", **more},
        )

    def halves(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Random halves of the held-out patients as (query rows, reference rows)."""
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
        """Add the floor: one half of the held-out patients in the place of the synthetic images."""
        interval = cut(interval, (0, 1))
        floors = np.array([of_halves(*pair) for pair in self.halves()])
        floors = floors[np.isfinite(floors)]
        if not len(floors):
            return Measured(value, interval, None, None)
        low, high = np.quantile(floors, [0.025, 0.975])
        return Measured(value, interval, float(floors.mean()), (float(low), float(high)))

    def near_copies(self, distances: Distances) -> Figure:
        """Images less than half as far from a training image as any held-out image is."""
        closest, reference = distances.synthetic_train.min(1), distances.holdout_train.min(1)
        threshold = 0.5 * float(np.quantile(reference, 0.01))
        count = int((closest < threshold).sum())
        interval = clopper_pearson(count, len(closest))

        def of_halves(query: np.ndarray, rest: np.ndarray) -> float:
            return float((reference[query] < 0.5 * np.quantile(reference[rest], 0.01)).mean())

        measured = self.with_floor(count / len(closest), interval, of_halves)
        judgement = judge_near_copies(count, interval)
        reading = (
            "No synthetic image is nearly identical to a training image."
            if count == 0
            else f"{count} of {len(closest)} synthetic images are nearly identical to a training image."
        )
        worst = np.argsort(closest)[:8]
        details = {
            "threshold": threshold,
            "closest": [[int(i), int(distances.synthetic_train[i].argmin()), float(closest[i])] for i in worst],
            "holdout_closest": float(reference.min()),
        }
        title = "Near copies of training images (pixels, whatever the flip, shift, gain)"
        return self.figure(
            "near_copies", title, measured, judgement, reading, distances.made_with, headline=True, details=details
        )

    def closeness(self, distances: Distances) -> Figure:
        """The share of images closer to training than to held-out patients, as many of each."""
        queries, train, holdout = self.synthetic.patient_id, self.train.patient_id, self.holdout.patient_id
        rng = np.random.default_rng(derive_seed(self.settings.seed, "closer to train", distances.space))
        share = closer_to_train(
            distances.synthetic_train, distances.synthetic_holdout, rng, train_group=train, holdout_group=holdout
        )

        def resampled(rows: np.ndarray, rows_train: np.ndarray, rows_holdout: np.ndarray) -> float:
            return float(
                closer_to_train(
                    distances.synthetic_train[np.ix_(rows, rows_train)],
                    distances.synthetic_holdout[np.ix_(rows, rows_holdout)],
                    rng,
                    train_group=train[rows_train],
                    holdout_group=holdout[rows_holdout],
                    repeats=1,
                ).mean()
            )

        def of_halves(query: np.ndarray, rest: np.ndarray) -> float:
            return float(
                closer_to_train(
                    distances.holdout_train[query],
                    distances.holdout_holdout[np.ix_(query, rest)],
                    rng,
                    train_group=train,
                    holdout_group=holdout[rest],
                    repeats=5,
                ).mean()
            )

        resamples = max(20, self.settings.resamples // 5)
        interval = finite(
            bootstrap_patients(resampled, [queries, train, holdout], resamples=resamples, seed=self.settings.seed)
        )
        measured = self.with_floor(float(share.mean()), interval, of_halves)
        reading = (
            f"{measured.value:.0%} of the synthetic images are closer to a training patient than to a held-out one; "
            f"50% is chance.{self.origin_note}"
        )
        return self.figure(
            f"closer_to_train_{distances.space}",
            f"Closer to training than to held-out patients ({distances.space})",
            measured,
            judge_closeness(measured),
            reading,
            distances.made_with,
            headline=distances.space == "pixels",
            better="nearer floor",
        )

    def tail_rates(self, distances: Distances, *, copying_confirmed: bool) -> list[Figure]:
        """The copy rate and the share of singled-out neighbours, each expected to be 5 %."""
        neighbours = neighbours_from_distances(distances.synthetic_train, None, self.train.patient_id)
        reference = neighbours_from_distances(distances.holdout_train, None, self.train.patient_id)
        values = {
            "copy_rate": (neighbours.distance_1, reference.distance_1),
            "nearest_ratio": (_known(neighbours), _known(reference)),
        }
        titles = {
            "copy_rate": "Closer to training than 95 % of held-out images",
            "nearest_ratio": "One training patient singled out more than for 95 % of held-out images",
        }
        details = {
            "copy_rate": {
                "median_ratio": closest_distance_ratio(neighbours.distance_1, reference.distance_1),
                "synthetic": neighbours.distance_1.round(4).tolist(),
                "holdout": reference.distance_1.round(4).tolist(),
            },
            "nearest_ratio": {},
        }
        return [
            self._tail_rate(
                f"{name}_{distances.space}",
                f"{titles[name]} ({distances.space})",
                *values[name],
                distances.made_with,
                copying_confirmed,
                details[name],
            )
            for name in values
        ]

    def _tail_rate(
        self,
        name: str,
        title: str,
        query: np.ndarray,
        reference: np.ndarray,
        made_with: str,
        copying_confirmed: bool,
        details: dict[str, object],
    ) -> Figure:
        interval = finite(
            bootstrap_patients(
                lambda rows, rows_holdout: copy_rate(query[rows], reference[rows_holdout]),
                [self.synthetic.patient_id, self.holdout.patient_id],
                resamples=self.settings.resamples,
                seed=self.settings.seed,
            )
        )
        measured = self.with_floor(
            copy_rate(query, reference), interval, lambda a, b: copy_rate(reference[a], reference[b])
        )
        judgement = judge_rate(measured, copying_confirmed=copying_confirmed)
        few = " Fewer than 20 held-out images leave the 5 % tail to chance." * (len(reference) < 20)
        reading = f"{measured.value:.0%} of the synthetic images are in the tail that holds 5% of real patients'.{few}"
        return self.figure(name, title, measured, judgement, reading + self.origin_note, made_with, details=details)

    def extraction(self, encoder: Encoder) -> Figure:
        """Carlini-type extraction: much closer to one training image than to its surroundings."""
        features = {
            name: encoder(part.images)
            for name, part in (("synthetic", self.synthetic), ("holdout", self.holdout), ("train", self.train))
        }
        ratio, reference = (
            carlini_ratio(features[name], features["train"], self.train.patient_id) for name in ("synthetic", "holdout")
        )
        threshold = 0.5 * float(np.nanquantile(reference, 0.01))
        count = int((ratio < threshold).sum())
        interval = clopper_pearson(count, len(ratio))

        def of_halves(query: np.ndarray, rest: np.ndarray) -> float:
            return float((reference[query] < 0.5 * np.nanquantile(reference[rest], 0.01)).mean())

        measured = self.with_floor(count / len(ratio), interval, of_halves)
        reading = (
            f"{count} of {len(ratio)} synthetic images lie far closer to one training image than to its surroundings."
        )
        return self.figure(
            "extraction_rate",
            "Extracted training images (Carlini ratio, features)",
            measured,
            judge_near_copies(count, interval),
            reading,
            f"{encoder.made_with}; arXiv:2301.13188",
            details={"threshold": threshold, "median": float(np.nanmedian(ratio))},
        )


def _known(neighbours: Neighbours) -> np.ndarray:
    """Neighbour ratios; 1 (nobody singled out) where there is no second patient."""
    return np.nan_to_num(nndr(neighbours), nan=1.0)
