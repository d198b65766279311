"""Leakage by condition, of generators that leak one subgroup or one attribute on purpose."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cmrsynth.attacks.memoriser import Memoriser
from cmrsynth.certification.denoisers import FlowPipelineOf, Mixture, PopulationDenoiser, field_spectrum, random_fields
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, NOT_COMPUTED
from cmrsynth.evaluation.leakage import leakage_figures
from cmrsynth.evaluation.settings import EvaluationSettings

SIDE, PATIENTS, VARIANCE = 16, 30, 0.04
SETTINGS = EvaluationSettings(resamples=60, membership_draws=2, membership_attacks=())
VENDORS = ("A", "B")


@pytest.fixture(scope="module")
def sets(toy_set):
    def of(seed: int):
        part = toy_set(f"set{seed}", PATIENTS, seed=seed, slices=2)
        images = 0.5 + random_fields(2 * PATIENTS, SIDE, seed=seed, variance=VARIANCE)
        images = np.clip(images, 0, 1).astype(np.float32)
        vendor = np.repeat(np.resize(VENDORS, PATIENTS), 2)
        return replace(part, images=images, masks=np.zeros(images.shape, np.uint8), vendor=vendor)

    return of


POPULATION = PopulationDenoiser(field_spectrum(SIDE, variance=4 * VARIANCE))


def memoriser(part, share: float = 0.5):
    return Mixture(Memoriser(torch.from_numpy(part.images)[:, None] * 2 - 1), POPULATION, share)


class ConditionedFlow:
    """Memorised each training image under its own vendor: asked for another one it knows nothing."""

    condition_encoder = SimpleNamespace(config=SimpleNamespace(vocabularies={"vendor": list(VENDORS)}, scalars=None))

    def __init__(self, train) -> None:
        self.flows = {v: FlowPipelineOf(memoriser(train.select(train.vendor == v))) for v in VENDORS}

    def velocity(self, sample, t, mask, vendor):
        rows = [self.flows[v].velocity(sample[i : i + 1], t) for i, v in enumerate(vendor)]
        return torch.cat(rows)


def figures_of(model, train, holdout):
    return {f.name: f for f in leakage_figures(model, train, holdout, SETTINGS)}


def test_an_exposed_subgroup_is_found_and_named(sets):
    train, holdout = sets(4), sets(5)
    model = FlowPipelineOf(memoriser(train.select(train.vendor == "B")))
    found = figures_of(model, train, holdout)["membership_worst_group"]
    assert found.verdict == DO_NOT_SHARE
    assert found.details["worst"] == "vendor = B"
    assert found.details["groups"]["vendor = A"] < 0.75 < 0.95 < found.value
    assert found.details["patients"] == {"vendor = A": [15, 15], "vendor = B": [15, 15]}
    assert found.planted > 0.95


def test_without_a_leak_no_subgroup_is_accused(sets):
    found = figures_of(FlowPipelineOf(POPULATION), sets(4), sets(5))
    assert found["membership_worst_group"].verdict == GOOD
    assert found["membership_worst_group"].floor > 0.5
    assert found["attribute_inference_any"].verdict == NOT_COMPUTED


def test_a_generator_that_betrays_the_vendor_of_its_patients_is_caught(sets):
    train, holdout = sets(4), sets(5)
    found = figures_of(ConditionedFlow(train), train, holdout)["attribute_inference_vendor"]
    assert found.verdict == DO_NOT_SHARE
    assert found.details["accuracy_members"] > 0.95
    assert found.value > 0.3


def test_one_that_never_saw_these_patients_betrays_nothing(sets):
    found = figures_of(ConditionedFlow(sets(6)), sets(4), sets(5))["attribute_inference_vendor"]
    assert found.verdict == GOOD
    assert abs(found.value) < 0.25


def test_sets_of_one_group_have_no_subgroups_to_compare(sets):
    one = [replace(part, vendor=np.full(len(part), "A")) for part in (sets(4), sets(5))]
    found = figures_of(FlowPipelineOf(POPULATION), *one)["membership_worst_group"]
    assert found.verdict == NOT_COMPUTED
    assert "No two subgroups" in found.reading
