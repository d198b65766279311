from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from cmrsynth.errors import InputError
from cmrsynth.evaluation.evaluate import evaluate
from cmrsynth.evaluation.figure import AXES, NOT_COMPUTED, VERDICTS, Evaluation
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.utility import Arm, paired_difference
from cmrsynth.labels import LV

SETTINGS = EvaluationSettings(segmenter_updates=4, segmenter_batch=4, resamples=20, floor_draws=2)


class StillFlow:
    """A pipeline that always predicts no movement."""

    def velocity(self, sample, t, mask, **attributes):
        return sample * 0


@pytest.fixture(scope="module")
def sets(toy_set):
    return toy_set("train", 8, seed=0), toy_set("holdout", 4, seed=1), toy_set("third", 4, seed=2)


@pytest.fixture(scope="module")
def run(sets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    return evaluate(*sets, output=folder, pipeline=StillFlow(), settings=SETTINGS, command="cmrsynth evaluate"), folder


def test_what_is_written_is_what_was_found(run):
    evaluation, folder = run
    assert json.loads((folder / "evaluation.json").read_text())["provenance"]["command"] == "cmrsynth evaluate"
    read = Evaluation.load(folder)
    assert [f.name for f in read.figures] == [f.name for f in evaluation.figures]
    assert read.verdict == evaluation.verdict
    assert set(read.verdict.values()) <= set(VERDICTS)
    assert not list(folder.rglob("*.partial"))


def test_every_figure_has_a_floor_and_intervals_or_says_why_it_has_no_value(run):
    evaluation, _ = run
    names = [f.name for f in evaluation.figures]
    assert len(set(names)) == len(names)
    assert {f.axis for f in evaluation.figures} == set(AXES)
    for figure in evaluation.figures:
        assert figure.reading
        assert figure.group, figure.name
        assert figure.rule
        assert figure.n
        if figure.value is None:
            assert figure.verdict == NOT_COMPUTED
            continue
        assert figure.floor is not None, figure.name
        for interval in (figure.interval, figure.floor_interval):
            # With one network per arm, the floor of a difference between arms is 0 and has no spread.
            unknown = figure.name in ("utility_gap", "utility_gain") or "hausdorff" in figure.name
            assert interval is not None or unknown, figure.name
            if interval is not None:
                assert interval[0] <= interval[1]
                assert all(map(math.isfinite, interval))


def test_the_headline_is_short_and_covers_the_axes(run):
    headline = [f for f in run[0].figures if f.headline]
    assert 6 <= len(headline) <= 10
    assert {f.axis for f in headline} == set(AXES)


def test_networks_are_recorded_by_hash_and_used_again(run, sets):
    evaluation, folder = run
    files = sorted((folder / "models").iterdir())
    assert [f.name for f in files] == [f"segmenter-{arm}-0.safetensors" for arm in ("both", "real", "synthetic")]
    times = [f.stat().st_mtime_ns for f in files]
    again = evaluate(*sets, output=folder, pipeline=StillFlow(), settings=SETTINGS, command="again")
    assert [f.stat().st_mtime_ns for f in files] == times
    assert [f.value for f in again.figures] == [f.value for f in evaluation.figures]
    assert len(evaluation.models["segmenter-real-0"]["sha256"]) == 64
    assert len(evaluation.models["cardiac encoder"]["sha256"]) == 64


def test_pictures_are_png_files_beside_the_evaluation(run):
    evaluation, folder = run
    assert {p.axis for p in evaluation.pictures} == {"overview", *AXES}
    for picture in evaluation.pictures:
        assert (folder / picture.file).read_bytes()[:4] == b"\x89PNG"
        assert picture.caption


def test_inputs_and_provenance_are_complete(run):
    evaluation, _ = run
    assert evaluation.inputs["synthetic"]["masks_from"] == "other"
    assert evaluation.inputs["train"]["patients"] == 8
    assert {"command", "seed", "settings", "versions", "hardware", "seconds"} <= set(evaluation.provenance)


def test_labels_that_are_not_annotated_have_figures_that_say_so(sets, tmp_path):
    lv_only = [replace(part, annotated_labels=(LV,), masks=(part.masks == LV).astype(np.uint8)) for part in sets]
    evaluation = evaluate(*lv_only, output=tmp_path, settings=SETTINGS)
    wall = evaluation.figure("anatomy_wall_thickness_mm")
    assert wall.verdict == NOT_COMPUTED
    assert "lv_myocardium" in wall.reading
    assert evaluation.figure("membership_auc").verdict == NOT_COMPUTED


def test_a_shared_patient_is_refused_before_anything_is_written(sets, tmp_path):
    train, _, synthetic = sets
    with pytest.raises(InputError, match="shares"):
        evaluate(train, train.select(np.arange(16)), synthetic, output=tmp_path / "out", settings=SETTINGS)
    assert not (tmp_path / "out").exists()


def test_paired_differences_cancel_what_patients_share():
    rng = np.random.default_rng(0)
    difficulty = rng.uniform(0.2, 0.9, (1, 12, 1))
    arms = [Arm(difficulty + shift, np.full((1, 12, 1), np.nan), 0.0) for shift in (0.0, -0.1)]
    value, interval = paired_difference(arms[1], arms[0], SETTINGS)
    assert value == pytest.approx(-0.1)
    assert interval == pytest.approx((-0.1, -0.1))


def test_seeds_widen_the_interval_of_a_difference():
    rng = np.random.default_rng(0)
    reference = np.full((3, 12, 1), 0.8)
    steady = reference - 0.1 + rng.normal(0, 0.01, (1, 12, 1))
    unsteady = steady + np.array([-0.1, 0.0, 0.1])[:, None, None]
    settings = replace(SETTINGS, resamples=300)
    widths = []
    for dice in (steady, unsteady):
        arms = [Arm(d, np.full(d.shape, np.nan), 0.0) for d in (dice, reference)]
        value, (low, high) = paired_difference(*arms, settings)
        assert value == pytest.approx(-0.1, abs=0.01)
        widths.append(high - low)
    assert widths[1] > 5 * widths[0]
