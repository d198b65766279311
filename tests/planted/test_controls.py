"""Controls: nothing that is harmless may be accused."""

from __future__ import annotations

import pytest

from cmrsynth.certification.catalogue import CONTROLS
from cmrsynth.certification.entries import SECONDS
from cmrsynth.certification.record import told
from cmrsynth.certification.runner import PASSED, examine
from cmrsynth.evaluation.figure import NOT_COMPUTED

COSTLY = [
    pytest.param(control, id=control.name, marks=pytest.mark.slow) for control in CONTROLS if control.cost != SECONDS
]
QUICK = [pytest.param(control, id=control.name) for control in CONTROLS if control.cost == SECONDS]


@pytest.mark.parametrize("control", [*QUICK, *COSTLY])
def test_controls_pass(toy, control) -> None:
    row = examine(control, toy)
    assert row.outcome == PASSED, told(row)
    assert NOT_COMPUTED not in {reading.verdict for reading in row.quiet}  # such silence proves nothing
