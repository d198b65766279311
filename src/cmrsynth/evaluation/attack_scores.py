"""Every attack on one generator, run once: the scores behind the figures on membership, overfitting and leakage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cmrsynth.attacks.denoiser import Denoiser, bind, encode_latents
from cmrsynth.attacks.loss import FlowLoss
from cmrsynth.attacks.memoriser import Memoriser
from cmrsynth.attacks.panel import ATTACKS, Attack, score_images
from cmrsynth.attacks.vae import reconstruction_scores
from cmrsynth.conditions import compiled_prompts, known_conditions
from cmrsynth.data.loading import SliceSet
from cmrsynth.errors import InputError
from cmrsynth.evaluation.attack_statistics import MIN_FITTED, Scored, Sides
from cmrsynth.evaluation.blind import blind_check
from cmrsynth.evaluation.figure import LOOK, NOT_COMPUTED
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.labels import one_hot
from cmrsynth.metrics.membership import image_difficulty
from cmrsynth.precision import hardware_precision
from cmrsynth.seeds import derive_seed

if TYPE_CHECKING:
    from torch import Tensor

BASE = "velocity"  # the attack chosen beforehand, behind every figure but the strongest
ADJUSTED = "adjusted for image difficulty"
PLANTED_AS = "a generator that memorised these training images"
PLANTED_SLICES = 1000  # a side; the memoriser compares every slice with every member


@dataclass(frozen=True)
class Refused:
    """Why the generator was not attacked.

    Args:
        why: a sentence for the reader.
        details: JSON-able numbers, such as those of the blind baseline.
        verdict: "look closer" where a generator was given that these attacks cannot reach: that is no all-clear.
    """

    why: str
    details: dict[str, Any]
    verdict: str = NOT_COMPUTED


@dataclass(frozen=True)
class Attacked:
    """What every attack found.

    Args:
        attacks: per name; `BASE` is always there.
        made_with: per name, what the attack did.
        planted: the base attack on a generator that memorised these very training images.
        blind: AUC and interval of the blind baseline.
        n: counts of patients and slices.
    """

    attacks: dict[str, Scored]
    made_with: dict[str, str]
    planted: Scored
    blind: dict[str, Any]
    n: dict[str, int]

    @property
    def base(self) -> Scored:
        """The attack chosen beforehand."""
        return self.attacks[BASE]

    @property
    def base_made_with(self) -> str:
        """What the base attack did, as a figure states it."""
        return f"{self.made_with[BASE]}, {ADJUSTED}"


def attack_generator(
    pipeline: Any, train: SliceSet, holdout: SliceSet, settings: EvaluationSettings
) -> Attacked | Refused:
    """Return the scores of all chosen attacks, or why there are none.

    Whether training and held-out images can be told apart without the generator is tested first; if they can, it is
    not attacked at all.

    Args:
        pipeline: offers `velocity` or `predict_noise`, see `cmrsynth.attacks.denoiser.bind`; or None.
        train: the slices it was trained on; their own masks and attributes condition it.
        holdout: slices of other patients.
        settings: the attacks, noise draws, resamples and seed.

    Raises:
        InputError: the pipeline makes images of another size.
    """
    if pipeline is None:
        why = "No pipeline was given, so the generator itself could not be attacked; add --pipeline."
        return Refused(why, {})
    if not (hasattr(pipeline, "velocity") or hasattr(pipeline, "predict_noise")):
        why = (
            f"{type(pipeline).__name__} is no flow or diffusion pipeline, so the model itself was not attacked: its "
            "images alone were looked at, and that is not enough to share the model."
        )
        return Refused(why, {}, verdict=LOOK)
    _check_size(pipeline, train)
    if min(len(train.patients), len(holdout.patients)) < 2:
        return Refused("An attack is judged over patients, so at least two on each side are needed.", {})
    blind = blind_check(train, holdout, settings)
    if blind["shifted"]:
        return Refused(_shifted_text(blind["blind_auc"]), blind)
    attacks = _chosen(settings, min(len(train.patients), len(holdout.patients)))
    features = [_features(pipeline, part, attacks, settings) for part in (train, holdout)]
    sides = sides_of(train, holdout)
    scored = {
        name: Scored(
            np.concatenate([part[name] for part in features]),
            attacks[name].fusion if name in attacks else "mean",
            sides,
            settings.seed,
        )
        for name in features[0]
    }
    made_with = {name: attacks[name].made_with if name in attacks else "reconstruction error" for name in scored}
    n = {"members": len(train.patients), "nonmembers": len(holdout.patients), "slices": len(train) + len(holdout)}
    return Attacked(scored, made_with, _planted(train, holdout, attacks[BASE], settings), blind, n)


def _shifted_text(blind_auc: float) -> str:
    return (
        f"Training and held-out images can be told apart without the model (blind AUC {blind_auc:.2f}): the split is "
        "shifted, so whatever an attack found could be read neither as a leak nor as safety. Split one pool of "
        "patients at random, train again, and repeat."
    )


def sides_of(train: SliceSet, holdout: SliceSet) -> Sides:
    """Return who is who among the slices of both sets."""
    patient = np.unique(np.concatenate([train.patient_id, holdout.patient_id]), return_inverse=True)[1]
    difficulty = np.concatenate([image_difficulty(part.images) for part in (train, holdout)])
    return Sides(len(train), patient, difficulty)


def binder(pipeline: Any, part: SliceSet) -> tuple[Tensor, Callable[..., Denoiser]]:
    """Return the images (or latents) of a set, and a function that binds the conditions of some of its rows.

    The function takes rows and, by keyword, attribute values that replace the set's own: one value for all rows.
    """
    import torch

    device = getattr(pipeline, "device", torch.device("cpu"))
    images = (torch.from_numpy(part.images.astype(np.float32))[:, None] * 2 - 1).to(device)
    masks = one_hot(torch.from_numpy(part.masks)).to(device)
    attributes = known_conditions(pipeline, part) if hasattr(pipeline, "condition_encoder") else {}

    def bound(rows: slice, **given: str) -> Denoiser:
        told = {name: values[rows] for name, values in attributes.items()}
        told |= {name: [value] * len(masks[rows]) for name, value in given.items()}
        if getattr(pipeline, "text_encoder", None) is not None:  # an attacker tells all that the model was told
            told["prompt"] = compiled_prompts(told, len(masks[rows]))
        return bind(pipeline, masks[rows], **told)

    if getattr(pipeline, "vae", None) is not None:
        with torch.inference_mode():
            images = torch.cat([encode_latents(pipeline.vae, chunk) for chunk in images.split(32)])
    return images, bound


def computes_bf16(pipeline: Any) -> bool:
    """Return whether the pipeline is a network that this hardware runs faster in bfloat16."""
    import torch

    return isinstance(getattr(pipeline, "unet", None), torch.nn.Module) and hardware_precision() == "bf16"


def _chosen(settings: EvaluationSettings, patients: int) -> dict[str, Attack]:
    attacks = {name: ATTACKS[name] for name in dict.fromkeys((BASE, *settings.membership_attacks))}
    attacks[BASE] = replace(ATTACKS[BASE], draws=settings.membership_draws)
    return {name: attack for name, attack in attacks.items() if attack.fusion == "mean" or patients >= MIN_FITTED}


def _features(
    pipeline: Any, part: SliceSet, attacks: dict[str, Attack], settings: EvaluationSettings
) -> dict[str, np.ndarray]:
    import torch

    images, bound = binder(pipeline, part)
    found = score_images(
        attacks,
        bound,
        images,
        seed=derive_seed(settings.seed, "membership noise"),
        bf16=computes_bf16(pipeline),
        description=f"Attacking with {part.name}",
    )
    if getattr(pipeline, "vae", None) is not None:
        pixels = torch.from_numpy(part.images.astype(np.float32))[:, None].to(images.device) * 2 - 1
        found["autoencoder"] = reconstruction_scores(pipeline.vae, pixels, seed=settings.seed)[:, None]
    return found


def _planted(train: SliceSet, holdout: SliceSet, attack: FlowLoss, settings: EvaluationSettings) -> Scored:
    import torch

    parts = [_some_patients(part, settings.seed) for part in (train, holdout)]
    images = [torch.from_numpy(part.images.astype(np.float32))[:, None] * 2 - 1 for part in parts]
    memoriser = Memoriser(images[0])
    found = [
        score_images({BASE: attack}, lambda rows: memoriser, part, seed=settings.seed, description="Planting a leak")
        for part in images
    ]
    return Scored(np.concatenate([part[BASE] for part in found]), attack.fusion, sides_of(*parts), settings.seed)


def _some_patients(part: SliceSet, seed: int) -> SliceSet:
    rng = np.random.default_rng(derive_seed(seed, "planted patients"))
    counts = np.array([(part.patient_id == p).sum() for p in part.patients])
    order = rng.permutation(len(counts))
    kept = order[np.cumsum(counts[order]) <= max(PLANTED_SLICES, counts[order[0]])]
    return part.select(np.isin(part.patient_id, np.array(part.patients)[kept]))


def _check_size(pipeline: Any, train: SliceSet) -> None:
    side = getattr(pipeline, "sample_size", None)
    if side is None or train.images.shape[1:] == (side,) * 2:
        return
    raise InputError(
        "--pipeline",
        f"it makes images of {side} pixels, {train.name} has {train.images.shape[1:]}",
        "evaluate the pipeline on the data it was trained on",
    )
