from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from cmrsynth.comparison.plan import read_plan
from cmrsynth.comparison.programs import check_settings, config_class_of, program_names
from cmrsynth.errors import InputError

FLOW = {"program": "rectified_flow", "minutes": 2}
PUBLISHED = sorted((Path(__file__).parents[2] / "training" / "configs" / "comparisons").glob("*.yaml"))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda p: p.stem)
def test_every_training_of_a_published_plan_parses_with_its_program(path: Path) -> None:
    plan = read_plan(path)
    configs = check_settings(plan)
    assert set(configs) == set(plan.trainings)
    for name, config in configs.items():
        assert type(config) is config_class_of(plan.trainings[name].program)
        assert config.max_train_minutes == plan.trainings[name].minutes
        assert asdict(config)["output"].endswith(name)


def test_a_program_is_found_by_its_name_alone() -> None:
    assert {"rectified_flow", "gan", "vae", "controlnet"} <= set(program_names())
    for name in program_names():
        assert config_class_of(name).__name__.endswith("Config")
    with pytest.raises(InputError, match="program sorcery: is not there"):
        config_class_of("sorcery")


def test_what_stands_on_what_is_counted_once(write_plan) -> None:
    latent = {"program": "latent_flow", "minutes": 2, "vae": "encoder"}
    student = {"program": "few_step", "minutes": 1, "teacher": "latent"}
    trainings = {"encoder": {"program": "autoencoder", "minutes": 1}, "latent": latent, "student": student}
    plan = read_plan(write_plan(trainings=trainings, sweeps=None, equal_minutes=False))
    assert plan.families == ("student",)
    assert plan.standing_on("student") == ("encoder", "latent")
    assert plan.total_minutes("student") == 4
    assert (plan.teachers, plan.references) == ({"student": "latent"}, ("latent",))
    assert plan.chosen("stu*") == ("student", "latent")  # a student is shown beside its teacher
    assert plan.chosen("lat*") == ("latent",)
    with pytest.raises(InputError, match="fits no family"):
        plan.chosen("gan*")


def changed(**settings) -> dict:
    return {"trainings": {"flow": {**FLOW, **settings}}, "sweeps": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"traings": {}}, r"unknown settings: \['traings'\]"),
        ({"data": None}, r"\['data'\] are missing"),
        (changed(minutes=0), "minutes is 0"),
        (changed(minutes="long"), "minutes is 'long'"),
        (changed(output="elsewhere"), r"\['output'\] are set by the plan"),
        (changed(max_train_steps=3), r"\['max_train_steps'\] are set by the plan"),
        (changed(vae="nobody"), r"stands on \['nobody'\], which this plan does not train"),
        (changed(teacher="flow"), "flow stand on each other"),
        ({"trainings": {"samples": FLOW}, "sweeps": None}, "cannot be the name of its folder"),
        ({"trainings": {"a/b": FLOW}, "sweeps": None}, "cannot be the name of its folder"),
        ({"families": ["flow", "gan"]}, r"\['gan'\] are no trainings of this plan"),
        ({"families": ["flow", "vae"], "sweeps": {"g": {"families": ["blind"], "option": "x", "values": [1]}}},
         r"\['blind'\] are sampled but not compared"),
        ({"sampling": {"steps": [0]}}, "give whole numbers from 1"),
        ({"sampling": {"step": [1]}}, r"unknown settings of sampling: \['step'\]"),
        ({"sampling": {"steps": 4}}, "steps is 4"),
        ({"scoring": {"resamples": "many"}}, "resamples is 'many'"),
        ({"sweeps": {"g": {"families": ["flow"]}}}, r"\['option', 'values'\] are missing"),
        ({"sweeps": []}, "sweeps is no mapping"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_work_is_refused(write_plan, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_plan(write_plan(**changes))


def test_families_that_stand_on_each_other_are_refused(write_plan) -> None:
    trainings = {"a": {**FLOW, "teacher": "b"}, "b": {**FLOW, "base": "c"}, "c": {**FLOW, "vae": "a"}}
    with pytest.raises(InputError, match="stand on each other"):
        read_plan(write_plan(trainings=trainings, sweeps=None, families=["a"]))


def test_unequal_minutes_need_a_word(write_plan) -> None:
    trainings = {"base": FLOW, "short": FLOW, "long": {"program": "controlnet", "minutes": 2, "base": "base"}}
    with pytest.raises(InputError, match=r"not trained equally long.*short 2, long 4"):
        read_plan(write_plan(trainings=trainings, sweeps=None))
    plan = read_plan(write_plan(trainings=trainings, sweeps=None, equal_minutes=False))
    assert [plan.total_minutes(name) for name in plan.families] == [2, 4]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"program": "sorcery"}, "program sorcery"),
        ({"learning_rat": 1}, r"train_rectified_flow has no settings \['learning_rat'"),
        ({"conditioning": "wish"}, "training flow: conditioning 'wish'"),
    ],
)
def test_what_a_program_would_refuse_is_refused_before_anything_is_trained(write_plan, settings, message) -> None:
    trainings = {"flow": {**FLOW, **settings}}
    with pytest.raises(InputError, match=message):
        check_settings(read_plan(write_plan(trainings=trainings, sweeps=None, shared={})))
