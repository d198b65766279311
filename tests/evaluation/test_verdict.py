from __future__ import annotations

import pytest

from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, NOT_COMPUTED, Figure
from cmrsynth.evaluation.floors import Measured
from cmrsynth.evaluation.verdict import (
    judge_attack,
    judge_closeness,
    judge_dice,
    judge_distance,
    judge_gain,
    judge_near_copies,
    judge_rate,
    judge_score,
    judge_two_sided,
    overall,
)


def figure(axis: str, name: str, verdict: str, encoder: str | None = None) -> Figure:
    return Figure(
        axis=axis,
        name=name,
        title=name,
        value=None if verdict == NOT_COMPUTED else 1.0,
        interval=None,
        floor=None,
        floor_interval=None,
        unit="",
        better="lower",
        n={},
        made_with="",
        verdict=verdict,
        reading="",
        rule="",
        details={"encoder": encoder} if encoder else {},
    )


def around(value: float, floor: float = 1.0, width: float = 0.1) -> Measured:
    return Measured(value, (value - width, value + width), floor, (floor - width, floor + width))


@pytest.mark.parametrize(
    ("judgement", "verdict"),
    [
        (judge_distance(around(1.6)), GOOD),
        (judge_distance(around(3.0)), LOOK),
        (judge_distance(around(7.0)), DO_NOT_SHARE),
        (judge_distance(Measured(7.0, (1.0, 13.0), 1.0, (0.9, 1.1))), LOOK),  # uncertain: never the worst verdict
        (judge_distance(Measured(0.4, (0.3, 0.6), 0.0, (-0.1, 0.3))), GOOD),  # an unbiased distance may be below 0
        (judge_score(around(0.95)), GOOD),
        (judge_score(around(0.5)), LOOK),
        (judge_score(around(0.1)), DO_NOT_SHARE),
        (judge_two_sided(around(1.1)), GOOD),
        (judge_two_sided(around(5.0)), LOOK),
        (judge_two_sided(around(0.1)), DO_NOT_SHARE),
        (judge_dice(-0.05, (-0.1, 0.0)), GOOD),
        (judge_dice(-0.3, (-0.6, 0.1)), LOOK),
        (judge_dice(-0.3, (-0.4, -0.2)), DO_NOT_SHARE),
        (judge_gain(0.01, (-0.01, 0.03)), GOOD),
        (judge_gain(-0.1, (-0.12, -0.08)), DO_NOT_SHARE),
        (judge_rate(around(0.08, 0.05, 0.02), copying_confirmed=True), GOOD),
        (judge_rate(around(0.9, 0.05, 0.02), copying_confirmed=True), DO_NOT_SHARE),
        (judge_rate(around(0.9, 0.05, 0.02), copying_confirmed=False), LOOK),  # mode collapse is no leak
        (judge_near_copies(1, (0.0003, 0.05)), LOOK),
        (judge_near_copies(20, (0.06, 0.15)), DO_NOT_SHARE),
        (judge_closeness(around(0.55, 0.5)), GOOD),
        (judge_closeness(around(0.7, 0.5, 0.05)), LOOK),
        (judge_closeness(around(0.95, 0.5)), DO_NOT_SHARE),
        (judge_attack(0.9, (0.4, 1.0)), LOOK),  # too few patients to say anything, which is no all-clear
        (judge_attack(0.55, (0.4, 0.7)), GOOD),
        (judge_attack(0.45, None), LOOK),
        (judge_attack(0.5, (0.0, 1.0)), LOOK),  # five patients: a strong leak would look the same
        (judge_gain(-0.003, (-0.005, -0.001)), GOOD),  # certain, and too small to matter
        (judge_attack(0.9, (0.8, 1.0)), DO_NOT_SHARE),
    ],
)
def test_rules(judgement, verdict):
    assert judgement.verdict == verdict
    assert judgement.rule


def test_an_axis_takes_its_worst_figure_and_the_whole_its_worst_axis():
    figures = [
        figure("fidelity", "a", GOOD),
        figure("utility", "b", LOOK),
        figure("privacy", "c", DO_NOT_SHARE),
        figure("privacy", "d", GOOD),
    ]
    assert overall(figures) == {
        "fidelity": GOOD,
        "utility": LOOK,
        "privacy": DO_NOT_SHARE,
        "overall": DO_NOT_SHARE,
    }


def test_no_single_encoder_decides():
    lone = [figure("fidelity", "fd", DO_NOT_SHARE, "cardiac"), figure("fidelity", "texture", GOOD)]
    assert overall(lone)["fidelity"] == LOOK
    assert overall([*lone, figure("fidelity", "recall", DO_NOT_SHARE, "cardiac")])["fidelity"] == LOOK
    assert overall([*lone, figure("fidelity", "adherence", LOOK)])["fidelity"] == DO_NOT_SHARE
    assert overall([*lone, figure("fidelity", "fd2", DO_NOT_SHARE, "inception")])["fidelity"] == DO_NOT_SHARE
    assert overall([figure("fidelity", "texture", DO_NOT_SHARE)])["fidelity"] == DO_NOT_SHARE


def test_what_was_not_computed_does_not_count():
    figures = [figure("privacy", "a", NOT_COMPUTED), figure("privacy", "b", GOOD), figure("utility", "c", NOT_COMPUTED)]
    found = overall(figures)
    assert found["privacy"] == GOOD
    assert found["utility"] == NOT_COMPUTED
    assert found["overall"] == GOOD
