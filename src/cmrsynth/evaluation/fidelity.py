"""Do the synthetic images look like those of real patients that were never trained on?

The reference is the held-out patients, so copying the training set is not rewarded; the floor is what real
training patients get against the same reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.encoder import Encoder
from cmrsynth.evaluation.figure import GOOD, LOOK, Figure
from cmrsynth.evaluation.floors import Measured, Sample, cut, draw_rows, finite, measure
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.verdict import Judgement, judge_distance, judge_score, judge_two_sided
from cmrsynth.metrics.frechet import frechet_distance
from cmrsynth.metrics.intervals import bootstrap_patients
from cmrsynth.metrics.kernel import kernel_distance
from cmrsynth.metrics.manifold import prdc
from cmrsynth.metrics.texture import (
    PatchStatistics,
    SlicedWasserstein,
    patch_statistics,
    radial_power_spectrum,
    spectrum_distance,
)

MANIFOLD = {
    "precision": ("Precision", "of the synthetic images lie where real images lie"),
    "recall": ("Recall", "of the real images lie where synthetic images lie"),
    "density": ("Density", "real neighbourhoods (relative to their size) hold each synthetic image"),
    "coverage": ("Coverage", "of the real images have a synthetic image beside them"),
}


def fidelity_figures(
    train: SliceSet, holdout: SliceSet, synthetic: SliceSet, encoders: Sequence[Encoder], settings: EvaluationSettings
) -> list[Figure]:
    """Return the feature figures of every encoder (the first is the cardiac one) and the texture figures."""
    n = {
        "synthetic": len(synthetic),
        "reference": len(holdout),
        "floor": min(len(train), len(synthetic)),
        "patients": len(holdout.patients),
    }
    figures = []
    for number, encoder in enumerate(encoders):
        figures += _encoder_figures(encoder, train, holdout, synthetic, settings, n, headline=number == 0)
    return [
        *figures,
        *_texture_figures(train, holdout, synthetic, settings, n),
        _spectrum(train, holdout, synthetic, settings, n),
    ]


def _encoder_figures(
    encoder: Encoder,
    train: SliceSet,
    holdout: SliceSet,
    synthetic: SliceSet,
    settings: EvaluationSettings,
    n: dict[str, int],
    *,
    headline: bool,
) -> list[Figure]:
    sets = [Sample(encoder(part.images), part.patient_id) for part in (synthetic, holdout, train)]
    suffix = "" if headline else f"_{encoder.name}"
    warning = _small_sample(n, encoder.components.shape[1])
    details = {"encoder": encoder.name, "dimensions": encoder.components.shape[1]}
    figures = []
    for name, title, distance in (
        ("frechet_distance", "Frechet distance", frechet_distance),
        ("kernel_distance", "Kernel distance (KID)", kernel_distance),
    ):
        measured = measure(distance, *sets, settings, bounds=(-np.inf if name == "kernel_distance" else 0, np.inf))
        judgement = judge_distance(measured)
        figures.append(
            Figure(
                axis="fidelity",
                name=name + suffix,
                title=f"{title} ({encoder.name})",
                **as_fields(measured),
                unit="",
                better="lower",
                n=n,
                made_with=encoder.made_with,
                verdict=judgement.verdict,
                reading=distance_reading(measured, "features") + warning,
                rule=judgement.rule,
                headline=headline and name == "frechet_distance",
                details={**details, "to_train": float(distance(sets[0].rows, sets[2].rows))},
            )
        )
    return figures + _manifold_figures(encoder, sets, settings, n, suffix, warning)


def _manifold_figures(
    encoder: Encoder, sets: list[Sample], settings: EvaluationSettings, n: dict[str, int], suffix: str, warning: str
) -> list[Figure]:
    figures = []
    for name, (title, meaning) in MANIFOLD.items():

        def share(x: np.ndarray, y: np.ndarray, name: str = name) -> float:
            return prdc(y, x)[name] if min(len(x), len(y)) > 5 else float("nan")

        measured = measure(
            share,
            *sets,
            settings,
            resamples=max(20, settings.resamples // 5),
            bounds=(0, np.inf if name == "density" else 1),
        )
        judgement: Judgement = (judge_two_sided if name == "density" else judge_score)(measured)
        amount = f"{measured.value:.2f}" if name == "density" else f"{measured.value:.0%}"
        figures.append(
            Figure(
                axis="fidelity",
                name=name + suffix,
                title=f"{title} ({encoder.name})",
                **as_fields(measured),
                unit="",
                better="nearer floor" if name == "density" else "higher",
                n=n,
                made_with=encoder.made_with,
                verdict=judgement.verdict,
                reading=f"{amount} {meaning}; real patients reach {measured.floor:.2f}.{warning}",
                rule=judgement.rule,
                details={"encoder": encoder.name, "k": 5},
            )
        )
    return figures


def _texture_figures(
    train: SliceSet, holdout: SliceSet, synthetic: SliceSet, settings: EvaluationSettings, n: dict[str, int]
) -> list[Figure]:
    """Sliced Wasserstein distance at the finest level and over all levels, from patches drawn once."""

    def patches(part: SliceSet) -> PatchStatistics:
        return patch_statistics(part.images, patches_per_image=48, num_projections=64, seed=settings.seed)

    fake, reference, real = (patches(part) for part in (synthetic, holdout, train))
    resamples = max(20, settings.resamples // 20)
    levels, intervals = _texture_levels(fake, reference, synthetic, holdout, settings, resamples)
    rows = draw_rows(train.patient_id, len(synthetic), settings.floor_draws, settings.seed)
    floors = [
        _texture_levels(_take(real, r), reference, train.select(r), holdout, settings, max(20, resamples // 5))
        for r in rows
    ]
    figures = []
    for key, name, title in (
        ("level_0", "sliced_wasserstein_finest", "Texture: sliced Wasserstein distance, finest level"),
        ("mean", "sliced_wasserstein", "Texture: sliced Wasserstein distance, all levels"),
    ):
        measured = Measured(
            levels[key],
            cut(intervals[key], (0, np.inf)),
            float(np.mean([values[key] for values, _ in floors])),
            cut(finite(tuple(np.mean([found[key] or (np.nan, np.nan) for _, found in floors], 0))), (0, np.inf)),
        )
        judgement = judge_distance(measured)
        figures.append(
            Figure(
                axis="fidelity",
                name=name,
                title=title,
                **as_fields(measured),
                unit="",
                better="lower",
                n=n,
                made_with="7 x 7 patches of a Laplacian pyramid, 64 directions; no weights",
                verdict=judgement.verdict,
                reading=distance_reading(measured, "texture"),
                rule=judgement.rule,
                headline=name == "sliced_wasserstein_finest",
                details={
                    "levels": {k: v for k, v in levels.items() if k != "mean"},
                    "floor_levels": {k: float(np.mean([v[k] for v, _ in floors])) for k in levels if k != "mean"},
                },
            )
        )
    return figures


def _texture_levels(
    x: PatchStatistics,
    y: PatchStatistics,
    x_set: SliceSet,
    y_set: SliceSet,
    settings: EvaluationSettings,
    resamples: int,
) -> tuple[dict[str, float], dict[str, tuple[float, float] | None]]:
    """Return the distance per level with intervals; one pass over the resamples serves the two that are shown."""
    distance = SlicedWasserstein(x, y)
    cache: dict[bytes, dict[str, float]] = {}

    def at(key: str) -> Callable[[np.ndarray, np.ndarray], float]:
        def of_rows(rows_x: np.ndarray, rows_y: np.ndarray) -> float:
            address = rows_x.tobytes() + b"|" + rows_y.tobytes()
            if address not in cache:
                cache[address] = distance.distance(rows_x, rows_y)
            return cache[address][key]

        return of_rows

    groups = [x_set.patient_id, y_set.patient_id]
    intervals = {
        key: finite(bootstrap_patients(at(key), groups, resamples=resamples, seed=settings.seed))
        for key in ("level_0", "mean")
    }
    return distance.distance(), intervals


def _take(statistics: PatchStatistics, rows: np.ndarray) -> PatchStatistics:
    return PatchStatistics(
        tuple(p[rows] for p in statistics.projections), tuple(m[rows] for m in statistics.moments), statistics.address
    )


def _spectrum(
    train: SliceSet, holdout: SliceSet, synthetic: SliceSet, settings: EvaluationSettings, n: dict[str, int]
) -> Figure:
    spectra = [Sample(radial_power_spectrum(p.images), p.patient_id) for p in (synthetic, holdout, train)]
    measured = measure(spectrum_distance, *spectra, settings, bounds=(0, np.inf))
    judgement = judge_distance(measured)
    ratio = np.log(spectra[0].rows.mean(0) + 1e-10) - np.log(spectra[1].rows.mean(0) + 1e-10)
    finest = float(ratio[len(ratio) // 2 :].mean())
    lean = "too little" if finest < 0 else "too much"
    return Figure(
        axis="fidelity",
        name="spectrum_distance",
        title="Texture: power spectrum, mean absolute log-ratio",
        **as_fields(measured),
        unit="",
        better="lower",
        n=n,
        made_with="radial power spectrum; no weights",
        verdict=judgement.verdict,
        reading=distance_reading(measured, "spectrum")
        + (f" There is {lean} fine detail." if judgement.verdict != GOOD else ""),
        rule=judgement.rule,
        details={"log_ratio": ratio.tolist(), "fine_log_ratio": finest},
    )


def as_fields(measured: Measured) -> dict[str, object]:
    """Return the four numbers under the names that `Figure` gives them."""
    return {
        "value": measured.value,
        "interval": measured.interval,
        "floor": measured.floor,
        "floor_interval": measured.floor_interval,
    }


def distance_reading(measured: Measured, what: str) -> str:
    """Return the plain sentence for a distance beside its floor."""
    top = measured.floor_interval[1] if measured.floor_interval else measured.floor
    verdict = judge_distance(measured).verdict
    if verdict == GOOD:
        return f"In {what}, synthetic images are about as far from held-out patients as other real patients are."
    times = f"{measured.value / top:.1f} times" if top else "farther than"
    degree = "noticeably" if verdict == LOOK else "far"
    return f"In {what}, synthetic images are {degree} off: {times} the most that other real patients differ."


def _small_sample(n: dict[str, int], dimensions: int) -> str:
    smallest = min(n["synthetic"], n["reference"])
    if smallest <= 2 * dimensions:
        few = f" With {smallest} images in {dimensions} dimensions the value is mostly sampling error"
        return f"{few}: compare with its floor only."
    if n["patients"] < 10:
        return f" Only {n['patients']} held-out patients stand behind it, so the interval is too narrow."
    return ""
