"""Have the synthetic images the grain of real ones, in the heart as well as around it?

No weights are needed, so nothing here was learned from images of one kind; features of a segmentation network reward
blur, these figures do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.figure import GOOD, LOOK, Figure
from cmrsynth.evaluation.floors import Interval, Measured, Sample, cut, draw_rows, finite, known_floor, measure
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.verdict import judge_distance
from cmrsynth.metrics.intervals import bootstrap_patients
from cmrsynth.metrics.regions import HEART_MARGIN_MM, heart_region, region_patch_statistics
from cmrsynth.metrics.texture import (
    PatchStatistics,
    SlicedWasserstein,
    patch_statistics,
    radial_power_spectrum,
    spectrum_distance,
)

PATCHES, DIRECTIONS = 48, 64  # patches per image and level, random directions per level
FEW_PATIENTS = 10
SLICED_WASSERSTEIN = {  # by the key of the level: name and title of its figure
    "level_0": ("sliced_wasserstein_finest", "Texture: sliced Wasserstein distance, finest level"),
    "mean": ("sliced_wasserstein", "Texture: sliced Wasserstein distance, all levels"),
}


def texture_figures(
    train: SliceSet, holdout: SliceSet, synthetic: SliceSet, settings: EvaluationSettings
) -> list[Figure]:
    """Return sliced Wasserstein distances (whole image, heart, background) and the distance of power spectra."""
    n = counts(train, holdout, synthetic)
    return [
        *sliced_wasserstein_figures(train, holdout, synthetic, settings),
        *_region_figures(train, holdout, synthetic, settings),
        _spectrum(train, holdout, synthetic, settings, n),
    ]


def counts(train: SliceSet, holdout: SliceSet, synthetic: SliceSet) -> dict[str, int]:
    """Return the counts behind a figure that compares the synthetic with the held-out images."""
    return {
        "synthetic": len(synthetic),
        "reference": len(holdout),
        "floor": min(len(train), len(synthetic)),
        "patients": len(holdout.patients),
    }


def shared_heart(*parts: SliceSet) -> list[np.ndarray]:
    """Return the heart region of each set by the labels that all of them annotate, (N, H, W) bool."""
    labels = sorted(set.intersection(*(set(part.annotated_labels) for part in parts)))
    return [heart_region(part.masks, part.pixel_spacing, labels=labels) for part in parts]


def distance_reading(measured: Measured, what: str) -> str:
    """Return the plain sentence for a distance beside its floor."""
    top = measured.floor_interval[1] if measured.floor_interval else measured.floor
    verdict = judge_distance(measured).verdict
    if verdict == GOOD:
        return f"In {what}, synthetic images are about as far from held-out patients as other real patients are."
    times = f"{measured.value / top:.1f} times" if top else "farther than"
    degree = "noticeably" if verdict == LOOK else "far"
    return f"In {what}, synthetic images are {degree} off: {times} the most that other real patients differ."


def few_patients(patients: int) -> str:
    """Return a warning, to be added to a reading, where an interval rests on fewer than ten patients."""
    if patients >= FEW_PATIENTS:
        return ""
    return f" Only {patients} held-out patients stand behind it, so the interval is too narrow."


def sliced_wasserstein_figures(
    train: SliceSet,
    holdout: SliceSet,
    synthetic: SliceSet,
    settings: EvaluationSettings,
    *,
    floors_from: Mapping[str, Figure] | None = None,
) -> list[Figure]:
    """Return the sliced Wasserstein distance at the finest level and over all levels, from patches drawn once.

    Args:
        train: real patients the generator saw; the floor.
        holdout: real patients it did not see; the reference.
        synthetic: the set to judge.
        settings: seed, resamples and draws.
        floors_from: these figures of another set of as many images, by name, whose floors are taken over.
    """
    n = counts(train, holdout, synthetic)
    sets = (synthetic, holdout) if floors_from else (synthetic, holdout, train)
    parts = [(_patches(part, settings), part.patient_id) for part in sets]
    if floors_from:
        known = {key: floors_from[name] for key, (name, _) in SLICED_WASSERSTEIN.items()}
        measured, levels = _measured_beside(*parts, settings, known, n)
        floors = known["level_0"].details["floor_levels"]
    else:
        measured, levels, floors = _measured(*parts, settings, keys=tuple(SLICED_WASSERSTEIN))
    figures = []
    for key, (name, title) in SLICED_WASSERSTEIN.items():
        figures.append(
            judged(
                "fidelity",
                name,
                title,
                measured[key],
                judge_distance(measured[key]),
                distance_reading(measured[key], "texture") + few_patients(n["patients"]),
                n=n,
                made_with=f"7 x 7 patches of a Laplacian pyramid, {DIRECTIONS} directions; no weights",
                headline=name == "sliced_wasserstein_finest",
                details={
                    "levels": {k: v for k, v in levels.items() if k != "mean"},
                    "floor_levels": {k: v for k, v in floors.items() if k != "mean"},
                },
            )
        )
    return figures


def _patches(part: SliceSet, settings: EvaluationSettings) -> PatchStatistics:
    return patch_statistics(part.images, patches_per_image=PATCHES, num_projections=DIRECTIONS, seed=settings.seed)


Patches = tuple[PatchStatistics, np.ndarray]  # and the patient of each image


def _measured(
    fake: Patches, reference: Patches, real: Patches, settings: EvaluationSettings, keys: Sequence[str]
) -> tuple[dict[str, Measured], dict[str, float], dict[str, float]]:
    """Return, per key, the distance beside its floor; then all levels of the distance and of its mean floor."""
    resamples = max(20, settings.resamples // 20)
    levels, intervals = _levels(fake, reference, settings, keys, resamples)
    drawn = draw_rows(real[1], len(fake[0]), settings.floor_draws, settings.seed)
    floors = [
        _levels((_take(real[0], rows), real[1][rows]), reference, settings, keys, max(20, resamples // 5))
        for rows in drawn
    ]
    floor = {key: float(np.mean([values[key] for values, _ in floors])) for key in levels}
    measured = {}
    for key in keys:
        found = [interval[key] for _, interval in floors if interval[key] is not None]
        spread = finite(tuple(np.mean(found, 0))) if found else None
        measured[key] = Measured(levels[key], cut(intervals[key], (0, np.inf)), floor[key], cut(spread, (0, np.inf)))
    return measured, levels, floor


def _measured_beside(
    fake: Patches, reference: Patches, settings: EvaluationSettings, known: Mapping[str, Figure], n: Mapping[str, int]
) -> tuple[dict[str, Measured], dict[str, float]]:
    """Return, per key, the distance beside the floor of a known figure; then all levels of the distance."""
    levels, intervals = _levels(fake, reference, settings, tuple(known), max(20, settings.resamples // 20))
    beside = {key: known_floor(figure, n) for key, figure in known.items()}
    return {key: Measured(levels[key], cut(intervals[key], (0, np.inf)), *beside[key]) for key in known}, levels


def _levels(
    x: Patches, y: Patches, settings: EvaluationSettings, keys: Sequence[str], resamples: int
) -> tuple[dict[str, float], dict[str, Interval | None]]:
    """Return the distance per level with intervals; one pass over the resamples serves all keys."""
    distance = SlicedWasserstein(x[0], y[0])
    cache: dict[bytes, dict[str, float]] = {}

    def at(key: str) -> Callable[[np.ndarray, np.ndarray], float]:
        def of_rows(rows_x: np.ndarray, rows_y: np.ndarray) -> float:
            address = rows_x.tobytes() + b"|" + rows_y.tobytes()
            if address not in cache:
                cache[address] = distance.distance(rows_x, rows_y)
            return cache[address][key]

        return of_rows

    intervals = {
        key: finite(bootstrap_patients(at(key), [x[1], y[1]], resamples=resamples, seed=settings.seed)) for key in keys
    }
    return distance.distance(), intervals


def _take(statistics: PatchStatistics, rows: np.ndarray) -> PatchStatistics:
    return PatchStatistics(
        tuple(p[rows] for p in statistics.projections), tuple(m[rows] for m in statistics.moments), statistics.address
    )


def _region_figures(
    train: SliceSet, holdout: SliceSet, synthetic: SliceSet, settings: EvaluationSettings
) -> list[Figure]:
    parts = synthetic, holdout, train
    hearts = shared_heart(*parts)
    return [
        _region("heart", parts, hearts, settings),
        _region("background", parts, [~heart for heart in hearts], settings),
    ]


def _region(
    where: str, parts: Sequence[SliceSet], regions: Sequence[np.ndarray], settings: EvaluationSettings
) -> Figure:
    """Return the finest-level distance of the patches that lie wholly inside a region."""
    about = ("fidelity", f"sliced_wasserstein_{where}", f"Texture of the {where}: sliced Wasserstein, finest level")
    made_with = (
        f"7 x 7 patches {'within' if where == 'heart' else 'beyond'} {HEART_MARGIN_MM:g} mm of the mask, "
        f"{DIRECTIONS} directions; no weights"
    )
    options = {"patches_per_image": PATCHES, "num_projections": DIRECTIONS, "seed": settings.seed}
    try:
        found = [region_patch_statistics(p.images, r, **options) for p, r in zip(parts, regions, strict=True)]
    except ValueError as error:
        return not_computed(*about, f"Not computed: {error}.", counts(parts[2], parts[1], parts[0]), made_with)
    fake, reference, real = ((s, p.patient_id[rows]) for (s, rows), p in zip(found, parts, strict=True))
    measured = _measured(fake, reference, real, settings, keys=("level_0",))[0]["level_0"]
    judgement = judge_distance(measured)
    detail = float(np.log(_detail(fake[0]) / _detail(reference[0])))
    reading = distance_reading(measured, f"the texture of the {where}")
    if judgement.verdict != GOOD:
        reading += f" It has {np.exp(detail):.2f} times the fine detail of held-out patients."
    n = {
        "synthetic": len(fake[0]),
        "reference": len(reference[0]),
        "floor": min(len(real[0]), len(fake[0])),
        "patients": len(np.unique(reference[1])),
    }
    reading += few_patients(n["patients"])
    details = {"region": where, "margin_mm": HEART_MARGIN_MM, "fine_log_ratio": detail}
    return judged(*about, measured, judgement, reading, n=n, made_with=made_with, details=details)


def _detail(statistics: PatchStatistics) -> float:
    """Mean square of the finest level: its power, which blur lowers."""
    return float(statistics.moments[0][:, 1].mean()) + 1e-10


def _spectrum(
    train: SliceSet, holdout: SliceSet, synthetic: SliceSet, settings: EvaluationSettings, n: dict[str, int]
) -> Figure:
    spectra = [Sample(radial_power_spectrum(p.images), p.patient_id) for p in (synthetic, holdout, train)]
    measured = measure(spectrum_distance, *spectra, settings, bounds=(0, np.inf))
    judgement = judge_distance(measured)
    ratio = np.log(spectra[0].rows.mean(0) + 1e-10) - np.log(spectra[1].rows.mean(0) + 1e-10)
    finest = float(ratio[len(ratio) // 2 :].mean())
    lean = "too little" if finest < 0 else "too much"
    reading = distance_reading(measured, "spectrum")
    if judgement.verdict != GOOD:
        reading += f" There is {lean} fine detail."
    return judged(
        "fidelity",
        "spectrum_distance",
        "Texture: power spectrum, mean absolute log-ratio",
        measured,
        judgement,
        reading + few_patients(n["patients"]),
        n=n,
        made_with="radial power spectrum; no weights",
        details={"log_ratio": ratio.tolist(), "fine_log_ratio": finest},
    )
