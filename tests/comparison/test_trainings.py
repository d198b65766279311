from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from cmrsynth.comparison import trainings
from cmrsynth.comparison.plan import read_plan
from cmrsynth.comparison.programs import check_settings, pipeline_of
from cmrsynth.comparison.trainings import TrainingProcess, family_error, log_of, run_trainings
from cmrsynth.data.loading import load_slices
from cmrsynth.errors import InputError
from cmrsynth.provenance import portable_path

FLOW = {"program": "rectified_flow", "minutes": 2}


def finish(plan, name: str, **changes) -> None:
    """Leave what a finished training leaves beside the weights."""
    fingerprint = load_slices(plan.data, "train").fingerprint
    settings = {k: portable_path(v) if isinstance(v, str) else v for k, v in asdict(check_settings(plan)[name]).items()}
    config = {**settings, **changes}
    folder = pipeline_of(plan, name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "training.json").write_text(json.dumps({"config": config, "data": {"fingerprint": fingerprint}}))
    (folder / "README.md").write_text("a card")


class Pretended:
    """A training that ends at the second look, as `codes` say."""

    def __init__(self, plan, name: str) -> None:
        self.plan, self.name, self.looks = plan, name, 0
        Pretended.order.append(name)
        Pretended.most = max(Pretended.most, len(Pretended.running | {name}))
        Pretended.running.add(name)

    def poll(self) -> int | None:
        self.looks += 1
        if self.looks < 2:
            return None
        Pretended.running.discard(self.name)
        if self.name == Pretended.broken:
            log_of(self.plan, self.name).parent.mkdir(parents=True, exist_ok=True)
            log_of(self.plan, self.name).write_text("one line\nerror: out of luck\n")
            return 1
        finish(self.plan, self.name)
        return 0

    def terminate(self) -> None:
        Pretended.ended.append(self.name)


@pytest.fixture
def pretended(monkeypatch) -> type[Pretended]:
    monkeypatch.setattr(trainings, "POLL_SECONDS", 0)
    Pretended.order, Pretended.ended, Pretended.running, Pretended.most, Pretended.broken = [], [], set(), 0, None
    return Pretended


@pytest.fixture
def chain(write_plan):
    flows = {name: {**FLOW, "conditioning": "none", "mask_dropout": 0.0} for name in ("base", "other", "last")}
    control = {"program": "controlnet", "minutes": 2, "base": "base"}
    return read_plan(write_plan(trainings={"control": control, **flows}, sweeps=None, shared={}, equal_minutes=False))


def test_what_is_stood_on_comes_first_and_never_too_many_run(chain, pretended) -> None:
    assert run_trainings(chain, chain.families, 2, pretended) == {}
    assert pretended.order == ["base", "other", "control", "last"]
    assert pretended.most == 2
    assert run_trainings(chain, chain.families, 2, pretended) == {}
    assert len(pretended.order) == 4  # all were finished


def test_only_what_is_asked_for_is_trained(chain, pretended) -> None:
    run_trainings(chain, ["control"], 2, pretended)
    assert pretended.order == ["base", "control"]
    assert family_error(chain, "control", {}) is None
    assert family_error(chain, "other", {}) == "not trained yet"


def test_a_failure_stops_what_stands_on_it_alone(chain, pretended) -> None:
    pretended.broken = "base"
    failed = run_trainings(chain, chain.families, 1, pretended)
    assert failed == {"base": "exit code 1: error: out of luck", "control": "it stands on base, which failed"}
    assert pretended.order == ["base", "other", "last"]
    assert family_error(chain, "control", failed) == "not trained: it stands on base, which failed"


def test_an_interruption_asks_the_others_to_end(chain, pretended, monkeypatch) -> None:
    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trainings.time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_trainings(chain, chain.families, 2, pretended)
    assert pretended.ended == ["base", "other"]


def test_a_run_of_other_settings_is_not_taken_for_this_one(chain, pretended) -> None:
    finish(chain, "base", learning_rate=1.0)
    with pytest.raises(InputError, match=r"holds a run of other settings .*'learning_rate': \(1.0, 0.0006\)"):
        run_trainings(chain, ["base"], 1, pretended)
    finish(chain, "base", max_train_minutes=1.0)
    with pytest.raises(InputError, match="max_train_minutes"):
        run_trainings(chain, ["base"], 1, pretended)


def test_what_decides_no_weight_may_differ(chain, pretended) -> None:
    finish(chain, "base", sample_steps=7, cpu_threads=3, output="moved", checkpoint_steps=1)
    config = json.loads((pipeline_of(chain, "base") / "training.json").read_text())
    del config["config"]["time_mean"]  # made by code that had no such setting
    (pipeline_of(chain, "base") / "training.json").write_text(json.dumps(config))
    assert run_trainings(chain, ["base"], 1, pretended) == {}
    assert pretended.order == []


def test_a_run_on_other_data_is_refused(chain, pretended) -> None:
    finish(chain, "base")
    path = pipeline_of(chain, "base") / "training.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "data": {"fingerprint": "another"}}))
    with pytest.raises(InputError, match="was trained on other data"):
        run_trainings(chain, ["base"], 1, pretended)


def test_half_an_export_is_not_finished(chain, pretended) -> None:
    finish(chain, "base")
    (pipeline_of(chain, "base") / "README.md").unlink()
    run_trainings(chain, ["base"], 1, pretended)
    assert pretended.order == ["base"]


def test_a_training_waits_for_the_one_that_a_killed_comparison_left(chain) -> None:
    fcntl = pytest.importorskip("fcntl")
    log_of(chain, "base").parent.mkdir(parents=True)
    with log_of(chain, "base").open("ab") as orphan:
        fcntl.flock(orphan, fcntl.LOCK_EX)
        waiting = TrainingProcess(chain, "base")
        assert waiting.poll() is None
        assert waiting._process is None
        finish(chain, "base")  # by the orphan
    assert waiting.poll() == 0
    assert waiting._process is None


@pytest.mark.slow
def test_the_program_runs_as_a_process_and_its_refusal_is_told(chain) -> None:
    broken = replace(chain, data=str(chain.output / "nowhere"))
    process = TrainingProcess(broken, "base")
    while process.poll() is None:
        process._process.wait(timeout=200)
    assert process.poll() == 1
    assert "no such folder" in log_of(broken, "base").read_text()
