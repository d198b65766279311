from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, NOT_COMPUTED
from cmrsynth.evaluation.recognition import recognition_figures
from cmrsynth.evaluation.settings import EvaluationSettings

SETTINGS = EvaluationSettings(resamples=60)


@pytest.fixture(scope="module")
def sets(stacked):
    return [stacked.stacked_set(name, 12, seed=seed) for seed, name in enumerate(("train", "holdout", "third"))]


@pytest.fixture(scope="module")
def judge(sets, stacked):
    def of(synthetic, train=sets[0], holdout=sets[1]):
        networks = stacked.BrightnessEncoder(), stacked.ThresholdSegmenter()
        figures = recognition_figures(train, holdout, synthetic, *networks, SETTINGS)
        return {f.name.removeprefix("recognition_"): f for f in figures}

    return of


def test_other_real_patients_show_what_they_are(sets, judge):
    figures = judge(sets[2])
    assert set(figures) == {"vendor", "pathology", "phase", "slice_level"}
    assert {f.verdict for f in figures.values()} == {GOOD}
    assert figures["vendor"].value == pytest.approx(1, abs=0.02)
    assert figures["vendor"].planted == pytest.approx(0, abs=0.02)
    assert "mask alone" in figures["phase"].reading
    assert "mask alone" not in figures["vendor"].reading


def test_labels_shuffled_among_patients_are_caught(sets, judge):
    third = sets[2]
    order = np.random.default_rng(1).permutation(third.patients)
    of_patient = {p: third.vendor[third.patient_id == q][0] for p, q in zip(third.patients, order, strict=True)}
    figures = judge(replace(third, vendor=np.array([of_patient[p] for p in third.patient_id])))
    assert figures["vendor"].verdict == DO_NOT_SHARE
    assert "label is wrong" in figures["vendor"].reading
    assert {figures[name].verdict for name in ("pathology", "phase", "slice_level")} == {GOOD}


def test_a_generator_that_knows_one_vendor_is_caught(sets, judge):
    third = sets[2]
    a = np.flatnonzero(third.vendor == "A")
    figures = judge(replace(third, images=third.images[np.resize(a, len(third))]))
    assert figures["vendor"].value == pytest.approx(0.5, abs=0.02)
    assert figures["vendor"].details["per_value"]["B"] == pytest.approx(0, abs=0.05)
    assert figures["vendor"].verdict == DO_NOT_SHARE


def test_an_attribute_that_real_images_do_not_show_is_not_judged(sets, judge):
    rng = np.random.default_rng(0)

    def coins(part):
        drawn = rng.permutation(np.resize(["X", "Y"], len(part.patients)))
        side = dict(zip(part.patients, drawn, strict=True))
        return replace(part, vendor=np.array([side[p] for p in part.patient_id]))

    figure = judge(coins(sets[2]), train=coins(sets[0]), holdout=coins(sets[1]))["vendor"]
    assert figure.verdict == NOT_COMPUTED
    assert "cannot tell the vendor of real held-out patients" in figure.reading


def test_too_few_patients_or_values_are_not_judged(sets, judge):
    train, _, third = sets
    rare = replace(train, vendor=np.where(np.isin(train.patient_id, train.patients[:2]), "A", "B"))
    assert "3 training and 2 held-out" in judge(third, train=rare)["vendor"].reading
    unknown = replace(train, pathology=np.full(len(train), "unknown"))
    assert judge(third, train=unknown)["pathology"].verdict == NOT_COMPUTED
    one = judge(third.select(third.vendor == "B"))["vendor"]
    assert one.verdict == NOT_COMPUTED
    assert "fewer than two of the values" in one.reading
