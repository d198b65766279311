"""Failures planted on purpose: each must be found by the figures named for it, and by no other named figure."""

from __future__ import annotations

import pytest

from cmrsynth.certification.catalogue import PLANTS
from cmrsynth.certification.entries import SECONDS
from cmrsynth.certification.record import told
from cmrsynth.certification.runner import DETECTED, examine
from cmrsynth.evaluation.figure import NOT_COMPUTED

COSTLY = [pytest.param(plant, id=plant.name, marks=pytest.mark.slow) for plant in PLANTS if plant.cost != SECONDS]
QUICK = [pytest.param(plant, id=plant.name) for plant in PLANTS if plant.cost == SECONDS]


@pytest.mark.parametrize("plant", [*QUICK, *COSTLY])
def test_planted_failures_are_found(toy, plant) -> None:
    row = examine(plant, toy)
    assert row.outcome == DETECTED, told(row)
    assert NOT_COMPUTED not in {reading.verdict for reading in row.quiet}  # such silence proves nothing
