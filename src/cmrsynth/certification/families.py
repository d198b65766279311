"""Which part of the evaluation computes which figure, so that an entry costs only what it names."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cmrsynth.certification.entries import REFUSED, SECONDS, SLOW, ImageCase, ModelCase, TrainingCase
from cmrsynth.certification.ground import Ground
from cmrsynth.certification.private_training import audit, judge_claim
from cmrsynth.errors import InputError
from cmrsynth.evaluation.figure import GOOD, Figure
from cmrsynth.evaluation.settings import EvaluationSettings

ATTACK_SETTINGS = EvaluationSettings(resamples=60)


@dataclass(frozen=True)
class Observation:
    """What a figure said: its value (None where it gave none) and its verdict."""

    value: float | None
    verdict: str


Observations = dict[str, Observation]


@dataclass(frozen=True)
class Family:
    """Figures that are computed together.

    Args:
        name: of the family.
        figures: their names.
        observe: computes them for a case on a ground.
        cost: `SECONDS` or `SLOW`.
    """

    name: str
    figures: tuple[str, ...]
    observe: Callable[[Ground, ImageCase], Observations]
    cost: str = SECONDS


def observed(figures: Iterable[Figure]) -> Observations:
    """Return the values and verdicts of figures by name."""
    return {figure.name: Observation(figure.value, figure.verdict) for figure in figures}


def observe(ground: Ground, case: ImageCase | ModelCase | TrainingCase, names: Iterable[str]) -> Observations:
    """Return what the named figures say of a case; figures that are computed beside them are returned too.

    Raises:
        ValueError: a name is of no family.
    """
    if isinstance(case, TrainingCase):
        return _claim(case)
    if isinstance(case, ModelCase):
        return _membership(case)
    found: Observations = {}
    for family in families_of(names):
        found |= family.observe(ground, case)
    return found


def families_of(names: Iterable[str]) -> list[Family]:
    """Return the fewest families that compute the named figures: the narrowest of each, less those within another.

    >>> [family.name for family in families_of(["recall", "spectrum_distance"])]
    ['fidelity']
    """
    chosen = {}
    for name in names:
        able = [family for family in FAMILIES if name in family.figures]
        if not able:
            raise ValueError(f"figure: no family computes {name!r}; add it to cmrsynth.certification.families")
        narrowest = min(able, key=lambda family: len(family.figures))
        chosen[narrowest.name] = narrowest
    within = {a.name for a in chosen.values() for b in chosen.values() if set(a.figures) < set(b.figures)}
    return [family for name, family in chosen.items() if name not in within]


def _inputs(ground: Ground, case: ImageCase) -> Observations:
    from cmrsynth.evaluation.inputs import check_sets

    try:
        check_sets(case.train, case.holdout, case.synthetic)
    except InputError:
        return {"check_sets": Observation(None, REFUSED)}
    return {"check_sets": Observation(None, GOOD)}


def _texture(ground: Ground, case: ImageCase) -> Observations:
    from cmrsynth.evaluation.texture import texture_figures

    return observed(texture_figures(case.train, case.holdout, case.synthetic, ground.settings))


def _fidelity(ground: Ground, case: ImageCase) -> Observations:
    from cmrsynth.evaluation.fidelity import fidelity_figures

    return observed(
        fidelity_figures(case.train, case.holdout, case.synthetic, [ground.encoder], ground.settings),
    )


def _adherence(ground: Ground, case: ImageCase) -> Observations:
    from cmrsynth.evaluation.adherence import adherence_figures

    sets = case.train, case.holdout, case.synthetic
    return observed(adherence_figures(*sets, ground.labels, ground.segmenter, ground.settings))


def _recognition(ground: Ground, case: ImageCase) -> Observations:
    from cmrsynth.evaluation.recognition import recognition_figures

    sets = case.train, case.holdout, case.synthetic
    return observed(recognition_figures(*sets, ground.encoder, ground.segmenter, ground.settings))


def _shown(ground: Ground, case: ImageCase) -> Observations:
    from cmrsynth.evaluation.missing_values import missing_value_figures

    sets = case.train, case.holdout, case.synthetic
    return observed(missing_value_figures(*sets, ground.encoder, ground.segmenter, ground.settings))


def _diversity(ground: Ground, case: ImageCase) -> Observations:
    from cmrsynth.evaluation.diversity import diversity_figures

    return observed(diversity_figures(case.train, case.holdout, case.synthetic, ground.settings))


def _privacy(ground: Ground, case: ImageCase) -> Observations:
    from cmrsynth.evaluation.distances import all_distances
    from cmrsynth.evaluation.privacy import privacy_figures

    sets = case.train, case.holdout, case.synthetic
    distances = all_distances(*sets, ground.encoder)
    return observed(privacy_figures(*sets, ground.encoder, distances, ground.settings))


def _mask_memory(ground: Ground, case: ImageCase) -> Observations:
    from cmrsynth.evaluation.mask_memory import mask_memory_figure

    return observed([mask_memory_figure(case.train, case.synthetic, ground.settings)])


def _copy_detector(ground: Ground, case: ImageCase) -> Observations:
    from cmrsynth.evaluation.audit import Audit
    from cmrsynth.evaluation.copies import copy_detector_figures

    audit = Audit(case.train, case.holdout, case.synthetic, ground.settings)
    return observed(copy_detector_figures(audit, ground.folder))


def _two_sample(ground: Ground, case: ImageCase) -> Observations:
    from cmrsynth.evaluation.two_sample import two_sample_figure

    return observed([two_sample_figure(case.train, case.holdout, case.synthetic, ground.settings)])


def _evaluation(ground: Ground, case: ImageCase) -> Observations:
    from cmrsynth.evaluation.evaluate import evaluate

    with tempfile.TemporaryDirectory() as folder:
        whole = evaluate(case.train, case.holdout, case.synthetic, output=Path(folder), settings=ground.settings)
    verdicts = {f"verdict_{axis}": Observation(None, verdict) for axis, verdict in whole.verdict.items()}
    return observed(whole.figures) | verdicts


def _membership(case: ModelCase) -> Observations:
    from cmrsynth.evaluation.generator_attacks import generator_figures

    return observed(generator_figures(case.pipeline, case.train, case.holdout, ATTACK_SETTINGS))


def _claim(case: TrainingCase) -> Observations:
    result = audit(case.recipe, delta=case.delta, seed=case.seed)
    return {"privacy_claim": Observation(result.lower_bound, judge_claim(result).verdict)}


TEXTURE = (
    "sliced_wasserstein_finest",
    "sliced_wasserstein",
    "sliced_wasserstein_heart",
    "sliced_wasserstein_background",
    "spectrum_distance",
)
FEATURES = (
    "frechet_distance",
    "kernel_distance",
    "precision",
    "recall",
    "density",
    "coverage",
    "frechet_distance_heart",
)
ADHERENCE = (
    "adherence_dice",
    "adherence_hausdorff_95",
    "adherence_assd",
    "anatomy_lv_area_mm2",
    "anatomy_lv_myo_ratio",
    "anatomy_rv_lv_ratio",
    "anatomy_wall_thickness_mm",
    "anatomy_impossible_masks",
    "anatomy_impossible_images",
    "lv_ef",
)
RECOGNITION = tuple(f"recognition_{name}" for name in ("vendor", "pathology", "phase", "slice_level"))
SHOWN = tuple(f"shown_{name}" for name in ("vendor", "pathology", "phase"))
DIVERSITY = ("pairwise_ms_ssim", "vendi_score", "per_mask_diversity")
DISTANCES = (
    "near_copies",
    "closer_to_train_pixels",
    "closer_to_train_features",
    "copy_rate_pixels",
    "copy_rate_features",
    "nearest_ratio_pixels",
    "nearest_ratio_features",
    "extraction_rate",
)
MEMORY = (
    "identifiability",
    "gan_leaks_auc",
    "monte_carlo_auc",
    "likelihood_gap",
    "authenticity",
    "data_copying",
)
CLIQUES = ("clique_rate",)
WHOLE = ("utility_gap", "verdict_fidelity", "verdict_utility", "verdict_privacy", "verdict_overall")
FAMILIES = (
    Family("inputs", ("check_sets",), _inputs),
    Family("texture", TEXTURE, _texture),
    Family("fidelity", (*FEATURES, *TEXTURE), _fidelity),
    Family("adherence", ADHERENCE, _adherence),
    Family("recognition", RECOGNITION, _recognition),
    Family("values shown", SHOWN, _shown),
    Family("diversity", DIVERSITY, _diversity),
    Family("privacy", (*DISTANCES, *MEMORY, *CLIQUES), _privacy),
    Family("memory of masks", ("mask_memory",), _mask_memory),
    Family("copy detector", ("copy_detector", "copy_detector_certain"), _copy_detector, SLOW),
    Family("two-sample test", ("two_sample_auc",), _two_sample, SLOW),
    Family("whole evaluation", WHOLE, _evaluation, SLOW),
)
