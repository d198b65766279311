from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmrsynth.certification.denoisers import random_fields
from cmrsynth.evaluation.blind import blind_check
from cmrsynth.evaluation.settings import EvaluationSettings

SETTINGS = EvaluationSettings(resamples=100)


@pytest.fixture(scope="session")
def fields(toy_set):
    def of(seed: int, patients: int = 30, slope: float = 2.5):
        part = toy_set(f"set{seed}", patients, seed=seed, slices=2)
        images = 0.5 + random_fields(2 * patients, 16, seed=seed, slope=slope, variance=0.04)
        return replace(part, images=np.clip(images, 0, 1).astype(np.float32))

    return of


def test_another_texture_is_seen(fields):
    found = blind_check(fields(1), fields(2, slope=2.0), SETTINGS)
    assert found["shifted"]
    assert found["blind_auc"] > max(0.9, found["blind_chance"])


def test_an_interval_above_chance_alone_is_no_shift(fields):
    """Sides 1 and 2 come from one distribution, but their interval happens to exclude 0.5."""
    found = blind_check(fields(1), fields(2), SETTINGS)
    assert found["blind_interval"][0] > 0.5
    assert not found["shifted"]
    assert found["blind_auc"] <= found["blind_chance"]


@pytest.mark.slow
def test_sound_splits_are_refused_no_more_often_than_stated(fields):
    refused = [blind_check(fields(2 * s + 100), fields(2 * s + 101), SETTINGS)["shifted"] for s in range(60)]
    assert np.mean(refused) <= 0.07
