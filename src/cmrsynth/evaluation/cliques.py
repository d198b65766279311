"""Does a training patient's mask return the same image however the noise falls?

The prompt of a mask-conditioned generator is the mask, so stored images are looked for there: among the samples of one
mask, those that are each other's near copies. Masks of other patients show what the generator does without memory.
"""

from __future__ import annotations

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.audit import NOISE, Audit
from cmrsynth.evaluation.distances import reduced
from cmrsynth.evaluation.diversity import mask_ids
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, Figure
from cmrsynth.evaluation.floors import Interval, Measured, cut, finite
from cmrsynth.evaluation.judged import not_computed
from cmrsynth.evaluation.verdict import Judgement
from cmrsynth.metrics.aligned_pixels import aligned_pixel_distance
from cmrsynth.metrics.cliques import memorised_mask
from cmrsynth.metrics.intervals import bootstrap_patients, clopper_pearson
from cmrsynth.seeds import derive_seed

TITLE = "Training masks that return nearly the same image again (cliques)"
MADE_WITH = "1 - correlation over flips, shifts up to 3 pixels, gain and offset; arXiv:2301.13188"
PLANTED = 20  # training slices, each returned twice with fresh noise
FEW = 5  # masks of training patients


def clique_figure(audit: Audit, threshold: float) -> Figure:
    """Return the share of training masks whose samples hold a clique of near copies, beside that of other masks.

    Args:
        audit: the sets; the synthetic one needs two samples of a mask, as `--images-per-mask 2` gives.
        threshold: below it two images are near copies, as in `near_copies`.
    """
    patient, repeated = repeated_masks(audit.synthetic, threshold)
    known = np.isin(patient, audit.train.patients)
    n = {**audit.n, "training_masks": int(known.sum()), "other_masks": int((~known).sum())}
    if known.sum() < FEW:
        others = f" Of {n['other_masks']} other masks {int(repeated[~known].sum())} do." * bool(n["other_masks"])
        why = (
            f"This needs two samples each of at least {FEW} training masks: generate with --images-per-mask 2.{others}"
        )
        return not_computed("privacy", "clique_rate", TITLE, why, n, MADE_WITH)
    value, interval = _rate(audit, patient[known], repeated[known])
    floor, floor_interval = _rate(audit, patient[~known], repeated[~known]) if n["other_masks"] else (None, None)
    measured = Measured(value, interval, floor, floor_interval)
    compared = "no other mask was sampled twice" if floor is None else f"{floor:.0%} of other patients' masks do"
    reading = f"{value:.0%} of the training masks return nearly the same image again; {compared}."
    return audit.figure(
        "clique_rate",
        TITLE,
        measured,
        judge_cliques(measured),
        reading,
        MADE_WITH,
        planted=_planted(audit, threshold),
        details={"threshold": threshold, "training_masks": n["training_masks"], "other_masks": n["other_masks"]},
    )


def repeated_masks(synthetic: SliceSet, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the patient of each mask with several samples, (k,), and whether its samples hold a clique, (k,) bool."""
    ids, small = mask_ids(synthetic), reduced(synthetic.images)
    order = np.argsort(ids, kind="stable")
    groups = np.split(order, np.flatnonzero(ids[order][1:] != ids[order][:-1]) + 1)
    several = [rows for rows in groups if len(rows) > 1]
    found = [memorised_mask(aligned_pixel_distance(small[rows], small[rows]), threshold) for rows in several]
    return synthetic.patient_id[[rows[0] for rows in several]], np.array(found, dtype=bool)


def judge_cliques(measured: Measured) -> Judgement:
    """Judge the share of training masks that return one image, beside that of other masks.

    >>> zero = 0.0, (0.0, 0.1)
    >>> [judge_cliques(Measured(v, (v / 2, 2 * v), *zero)).verdict for v in (0.0, 0.08, 0.5)]
    ['good', 'look closer', 'do not share']
    """
    others = measured.floor_interval[1] if measured.floor_interval else 0.0
    rule = (
        "good if there is none; do not share if the interval lies above 1 % and above that of other patients' masks "
        f"(up to {others:.2f}); look closer otherwise: a generator that ignores its noise does so for every mask"
    )
    if measured.value == 0:
        return Judgement(GOOD, rule)
    if measured.floor_interval is None:
        return Judgement(LOOK, f"{rule}; without samples of other masks the two cannot be told apart")
    return Judgement(DO_NOT_SHARE if measured.interval[0] > max(0.01, others) else LOOK, rule)


def _rate(audit: Audit, patient: np.ndarray, repeated: np.ndarray) -> tuple[float, Interval]:
    rate = float(repeated.mean())
    exact = clopper_pearson(int(repeated.sum()), len(repeated))
    interval = finite(
        bootstrap_patients(
            lambda rows: float(repeated[rows].mean()),
            [patient],
            resamples=audit.settings.resamples,
            seed=audit.settings.seed,
        )
    )
    # resampling patients among whom nothing varies says nothing about the patients that were not asked
    return rate, exact if interval is None or interval[0] == interval[1] else cut(interval, (0, 1))


def _planted(audit: Audit, threshold: float) -> float:
    """Return the share of cliques where training slices come back twice with fresh noise."""
    rng = np.random.default_rng(derive_seed(audit.settings.seed, "planted cliques"))
    images = audit.train.images[rng.permutation(len(audit.train))[:PLANTED]]
    one, other = (
        reduced(np.clip(images + rng.normal(0, NOISE, images.shape), 0, 1).astype(np.float32)) for _ in range(2)
    )
    pairs = np.stack([one, other], axis=1)
    return float(np.mean([memorised_mask(aligned_pixel_distance(pair, pair), threshold) for pair in pairs]))
