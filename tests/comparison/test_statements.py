from __future__ import annotations

from dataclasses import replace

from cmrsynth.comparison.statements import statements_of
from cmrsynth.evaluation.figure import GOOD, Figure


def figure(name: str, value: float | None) -> Figure:
    return Figure("fidelity", name, name, value, None, None, None, "", "lower", {}, "", GOOD, "", "")


def row(distance: float | None, auc: float) -> dict[str, Figure]:
    found = {"sliced_wasserstein_finest": distance, "two_sample_auc": auc}
    return {name: figure(name, value) for name, value in found.items()}


def test_both_bounds_decide() -> None:
    figures = {
        "good": {4: row(42.0, 0.69), 50: row(35.0, 0.64), 1: row(30.0, 0.60), 10: row(110.0, 0.77)},
        "plain": {4: row(166.0, 0.96), 50: row(35.0, 0.64)},
        "seen": {4: row(35.0, 0.70), 50: row(35.0, 0.64)},
    }
    found = {(s.family, s.steps): s for s in statements_of(figures, {})}
    assert {key: s.holds for key, s in found.items()} == {
        ("good", 4): True, ("good", 1): True, ("plain", 4): False, ("seen", 4): False,
    }  # fmt: skip
    assert round(found["plain", 4].ratio, 2) == 4.74
    assert round(found["seen", 4].difference, 2) == 0.06
    assert found["good", 4].sentence.startswith("good: four steps reach the texture of 50")
    assert "four steps do not reach" in found["plain", 4].sentence
    assert "one step reaches the texture of 10" in found["good", 1].sentence


def test_to_reach_the_texture_of_a_blur_is_said_to_be_no_feat() -> None:
    figures = {
        name: {4: {k: replace(v, floor_interval=(20.0, 90.0)) for k, v in row(few, 0.64).items()}, 50: row(many, 0.64)}
        for name, few, many in (("sharp", 50.0, 50.0), ("blurred", 280.0, 280.0), ("sharper", 80.0, 140.0),
                                ("worse", 400.0, 280.0))
    }  # fmt: skip
    found = list(statements_of(figures, {}))
    assert [(s.holds, s.like_real) for s in found] == [(True, True), (True, False), (True, True), (False, False)]
    said = [s.sentence.endswith("but not that of real images") for s in found]
    assert said == [False, True, False, False]
    assert [s.outcome for s in found] == ["yes", "yes, but not that of real images", "yes", "no"]


def test_a_student_is_held_against_its_teacher() -> None:
    figures = {"student": {1: row(40.0, 0.66), 4: row(36.0, 0.64)}, "teacher": {50: row(35.0, 0.64)}}
    found = list(statements_of(figures, {"student": "teacher"}))
    assert [(s.steps, s.of, s.of_steps, s.holds) for s in found] == [(1, "teacher", 50, True), (4, "teacher", 50, True)]
    assert "of its teacher teacher" in found[0].sentence


def test_nothing_is_said_where_a_figure_is_missing() -> None:
    assert not list(statements_of({"a": {4: row(None, 0.6), 50: row(35.0, 0.6)}, "b": {4: row(1.0, 0.6)}}, {}))
    assert not list(statements_of({"student": {4: row(36.0, 0.6)}}, {"student": "teacher"}))


def test_a_flow_map_is_not_held_against_steps_it_never_learned() -> None:
    figures = {"student": {4: row(36.0, 0.64), 50: row(900.0, 1.0)}, "teacher": {50: row(35.0, 0.64)}}
    found = list(statements_of(figures, {"student": "teacher"}, {"student": [1, 2, 4]}))
    assert [(s.steps, s.of) for s in found] == [(4, "teacher")]
    assert not list(statements_of(figures, {"student": "teacher"}, {"student": [1, 2]}))
