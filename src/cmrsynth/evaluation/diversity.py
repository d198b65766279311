"""Are the synthetic images as different from one another as those of real patients?

A generator that shows a few hearts over and over can look perfect image by image. The floor is the variety of all
real patients, at the same number of images and of patients.
"""

from __future__ import annotations

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, Figure
from cmrsynth.evaluation.floors import Interval, Measured, Sample, cut, finite
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.verdict import Judgement
from cmrsynth.metrics.diversity import (
    gaussian_kernel,
    patient_pairs,
    per_mask_diversity,
    vendi_score,
)
from cmrsynth.metrics.intervals import bootstrap_patients
from cmrsynth.metrics.paired import ms_ssim, ms_ssim_scales
from cmrsynth.seeds import derive_seed

PAIRS = 600  # per set; the mean over them is then known to about 0.005
ITEMS = 256  # images in a Vendi score: its cost grows with their third power
COARSE = 16  # pixels, at least, of the shorter side that the Vendi score compares; noise is averaged away
PAIRWISE, VENDI = "Diversity: likeness of random pairs", "Diversity: Vendi score"
KEPT, LOST = 0.8, 0.5  # shares of the variety of real patients
ALIKE, SAME = 0.35, 0.05  # the same for samples of one mask, which share the shape of the heart


def diversity_figures(
    train: SliceSet, holdout: SliceSet, synthetic: SliceSet, settings: EvaluationSettings
) -> list[Figure]:
    """Return pairwise MS-SSIM, Vendi score and the variety of the samples of one mask."""
    sets = train, holdout
    real = Sample(np.concatenate([p.images for p in sets]), np.concatenate([p.patient_id for p in sets]))
    fake = Sample(synthetic.images, synthetic.patient_id)
    n = {
        "synthetic": len(fake),
        "real": len(real),
        "patients": len(np.unique(real.patient_id)),
        "mask_patients": len(synthetic.patients),
    }
    likeness = _likeness(real, settings)
    if n["mask_patients"] < 2:
        why = "All masks come from one patient, and variety is measured between patients."
        names = ("pairwise_ms_ssim", PAIRWISE), ("vendi_score", VENDI)
        whole = [not_computed("fidelity", name, title, why, n, "no weights") for name, title in names]
    else:
        whole = [_pairwise(fake, likeness, settings, n), _vendi(fake, real, settings, n)]
    return [*whole, _per_mask(synthetic, likeness, settings, n)]


def judge_variety(share: float, share_high: float, *, kept: float = KEPT, lost: float = LOST) -> Judgement:
    """Judge the variety of a set as a share of that of real patients.

    Args:
        share: the share.
        share_high: the most it may be, by the intervals of both.
        kept: good from here.
        lost: do not share below.

    >>> [judge_variety(s, s + 0.1).verdict for s in (1.2, 0.75, 0.6, 0.1)]
    ['good', 'good', 'look closer', 'do not share']
    """
    rule = (
        f"good from {kept:g} of the variety of real patients (here {share:.2f}), or if the intervals allow it "
        f"({share_high:.2f}); do not share below {lost:g}; look closer otherwise"
    )
    if max(share, share_high) >= kept and share >= lost:
        return Judgement(GOOD, rule)
    return Judgement(DO_NOT_SHARE if share_high < kept and share < lost else LOOK, rule)


Estimate = tuple[float, Interval | None]


def _pairwise(fake: Sample, likeness: Estimate, settings: EvaluationSettings, n: dict[str, int]) -> Figure:
    (value, interval), (floor, floor_interval) = _likeness(fake, settings), likeness
    measured = Measured(value, interval, floor, floor_interval)
    share, highest = _share(
        1 - value, interval and 1 - interval[0], 1 - floor, floor_interval and 1 - floor_interval[1]
    )
    judgement = judge_variety(share, highest)
    levels = ms_ssim_scales(*fake.rows.shape[1:])
    return judged(
        "fidelity",
        "pairwise_ms_ssim",
        f"{PAIRWISE} (MS-SSIM, {levels} scales)",
        measured,
        judgement,
        _reading(judgement, share, f"Two images of different masks have a likeness of {value:.2f} (real: {floor:.2f})"),
        n=n,
        made_with=f"{PAIRS} pairs of different patients; MS-SSIM of {levels} scales, exponents renormalised",
        details={"pairs": PAIRS, "scales": levels, "share_of_real": share},
    )


def _likeness(part: Sample, settings: EvaluationSettings) -> Estimate:
    """Return the mean MS-SSIM of pairs, and its interval: a resample counts a pair as often as both patients."""
    pairs = patient_pairs(part.patient_id, pairs=PAIRS, seed=settings.seed)
    likeness = ms_ssim(part.rows[pairs[:, 0]], part.rows[pairs[:, 1]])

    def of_rows(rows: np.ndarray) -> float:
        count = np.bincount(rows, minlength=len(part))
        weights = count[pairs[:, 0]] * count[pairs[:, 1]]
        return float(likeness @ weights / weights.sum()) if weights.any() else float("nan")

    interval = bootstrap_patients(of_rows, [part.patient_id], resamples=settings.resamples, seed=settings.seed)
    return float(likeness.mean()), cut(finite(interval), (0, 1))


def _share(value: float, high: float | None, floor: float, floor_low: float | None) -> tuple[float, float]:
    """Return value / floor, and the most it may be: the root of the sum of squares of both uncertainties."""
    share = value / max(floor, 1e-9)
    up = ((high - value) if high is not None else 0.0) / max(floor, 1e-9)
    down = ((floor - floor_low) if floor_low is not None else 0.0) / max(floor, 1e-9) * share
    return float(share), float(share + np.hypot(up, down))


def _vendi(fake: Sample, real: Sample, settings: EvaluationSettings, n: dict[str, int]) -> Figure:
    fake, real = (Sample(_coarse(part.rows), part.patient_id) for part in (fake, real))
    bandwidth = _bandwidth(real, settings.seed)
    patients = min(len(np.unique(part.patient_id)) for part in (fake, real))
    found = {}
    items = min(_fewest(part, patients, settings) for part in (fake, real))
    for name, part in (("synthetic", fake), ("real", real)):
        drawn = [_subset(part, patients, items, settings.seed, draw) for draw in range(settings.floor_draws)]
        found[name] = _mean_vendi([part.take(rows) for rows in drawn], bandwidth, settings)
    (value, interval), (floor, floor_interval) = found["synthetic"], found["real"]
    measured = Measured(value, interval, floor, floor_interval)
    share, highest = _share(value, interval and interval[1], floor, floor_interval and floor_interval[0])
    judgement = judge_variety(share, highest)
    told = f"{items} images count as {value:.0f} different ones (real: {floor:.0f})"
    return judged(
        "fidelity",
        "vendi_score",
        f"{VENDI} of {items} images",
        measured,
        judgement,
        _reading(judgement, share, told),
        n={**n, "items": items},
        made_with="pixels, averaged to a coarse grid; Gaussian kernel as wide as real patients are apart; no weights",
        better="higher",
        details={"items": items, "patients": patients, "bandwidth": bandwidth, "share_of_real": share},
    )


def _coarse(images: np.ndarray) -> np.ndarray:
    """Return (N, d): images averaged over blocks, the shorter side being 16 to 31 pixels."""
    block = max(1, min(images.shape[1:]) // COARSE)
    height, width = (side // block for side in images.shape[1:])
    cut_to = images[:, : height * block, : width * block].reshape(len(images), height, block, width, block)
    return cut_to.mean((2, 4)).reshape(len(images), -1).astype(np.float64)


def _bandwidth(real: Sample, seed: int) -> float:
    """Return the median distance from a real image to the nearest one of another patient."""
    rng = np.random.default_rng(derive_seed(seed, "vendi bandwidth"))
    asked = rng.permutation(len(real))[:ITEMS]
    nearest = []
    for row in asked:
        others = real.rows[real.patient_id != real.patient_id[row]]
        nearest.append(np.sqrt(((others - real.rows[row]) ** 2).sum(1).min()))
    return max(float(np.median(nearest)), 1e-6)


def _order(part: Sample, patients: int, seed: int, draw: int) -> np.ndarray:
    """Return the rows of randomly drawn patients, shuffled; the same for one seed and draw."""
    rng = np.random.default_rng(derive_seed(seed, "vendi subset", draw))
    chosen = rng.permutation(np.unique(part.patient_id))[:patients]
    return rng.permutation(np.flatnonzero(np.isin(part.patient_id, chosen)))


def _fewest(part: Sample, patients: int, settings: EvaluationSettings) -> int:
    return min(
        ITEMS, *(len(_order(part, patients, settings.seed, draw)) for draw in range(settings.floor_draws)), len(part)
    )


def _subset(part: Sample, patients: int, items: int, seed: int, draw: int) -> np.ndarray:
    return _order(part, patients, seed, draw)[:items]


def _mean_vendi(draws: list[Sample], bandwidth: float, settings: EvaluationSettings) -> tuple[float, Interval | None]:
    """Return the mean Vendi score of several subsets, and the mean of their intervals."""
    scores, intervals = [], []
    for part in draws:
        kernel = gaussian_kernel(part.rows, bandwidth)

        def of_rows(rows: np.ndarray, kernel: np.ndarray = kernel) -> float:
            return vendi_score(kernel, weights=np.bincount(rows, minlength=len(kernel)))

        resamples = max(20, settings.resamples // 20)
        interval = finite(bootstrap_patients(of_rows, [part.patient_id], resamples=resamples, seed=settings.seed))
        scores.append(vendi_score(kernel))
        intervals += [interval] if interval is not None else []
    return float(np.mean(scores)), cut(tuple(np.mean(intervals, 0)), (1, np.inf)) if intervals else None


def _reading(judgement: Judgement, share: float, told: str) -> str:
    if judgement.verdict == GOOD:
        return f"{told}: the synthetic images are about as varied as real ones."
    return f"{told}: the synthetic images have {share:.0%} of the variety of real ones; the generator repeats itself."


def _per_mask(synthetic: SliceSet, likeness: Estimate, settings: EvaluationSettings, n: dict[str, int]) -> Figure:
    """Return how far samples of one mask lie apart; different real patients are the yardstick, and the upper end."""
    about = ("fidelity", "per_mask_diversity", "Diversity: difference between samples of one mask (1 - MS-SSIM)")
    made_with = f"MS-SSIM of {ms_ssim_scales(*synthetic.images.shape[1:])} scales; masks with two or more samples"
    mask_id = mask_ids(synthetic)
    masks, apart = per_mask_diversity(synthetic.images, mask_id, seed=settings.seed)
    if not len(masks):
        return not_computed(*about, "No mask has two samples: generate with --images-per-mask 2.", n, made_with)
    patient = synthetic.patient_id[np.unique(mask_id, return_index=True)[1]][np.isin(np.unique(mask_id), masks)]
    interval = bootstrap_patients(
        lambda rows: float(apart[rows].mean()), [patient], resamples=settings.resamples, seed=settings.seed
    )
    floor, spread = 1 - likeness[0], likeness[1] and (1 - likeness[1][1], 1 - likeness[1][0])
    measured = Measured(float(apart.mean()), cut(finite(interval), (0, 1)), floor, spread)
    share, highest = _share(measured.value, measured.interval and measured.interval[1], floor, spread and spread[0])
    judgement = judge_variety(share, highest, kept=ALIKE, lost=SAME)
    told = f"Samples of one mask differ by {measured.value:.3f}, different real patients by {floor:.3f}"
    what = "each mask gives many images" if judgement.verdict == GOOD else "a mask gives nearly one and the same image"
    return judged(
        *about,
        measured,
        judgement,
        f"{told}: {what}.",
        n={**n, "masks": len(masks), "mask_patients": len(np.unique(patient))},
        made_with=made_with,
        better="nearer floor",
        details={"share_of_real": share},
    )


def mask_ids(synthetic: SliceSet) -> np.ndarray:
    """Return the mask of each row, (N,) str: rows of one patient, slice and frame are samples of one mask."""
    columns = zip(synthetic.patient_id, synthetic.slice_index, synthetic.frame, strict=True)
    return np.array([f"{patient}/{number}/{frame}" for patient, number, frame in columns])
