from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.certification import speed


def test_the_table_has_a_line_per_contestant() -> None:
    """Sizes are small, so that only the agreement of the contestants is tested, not who wins."""
    table = speed.speed_table(speed.SMALL)
    assert len(table) == 5
    assert [line.ratio for line in table if line.what.endswith("cmrsynth")] == [1.0, 1.0]
    assert all(line.seconds > 0 and line.ratio > 0 for line in table)
    assert any("scaled" in line.what for line in table)


def test_wrong_answers_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "frechet_distance", lambda x, y: 0.0)
    with pytest.raises(ArithmeticError, match="sqrtm"):
        speed.frechet_speed(speed.SMALL, seed=0)


def test_ties_within_rounding_agree() -> None:
    speed._agree(np.array([1.0]), np.array([1.0005]), "x")
