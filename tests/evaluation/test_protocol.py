"""The utility protocol from three sets to files, its curve, its vendors left out, and its volumes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from cmrsynth.errors import InputError
from cmrsynth.evaluation.arms import Pool
from cmrsynth.evaluation.augmentation_curve import CurveSettings, nested_patients, pool_at
from cmrsynth.evaluation.cross_domain import check_external, vendors_to_leave_out
from cmrsynth.evaluation.figure import NOT_COMPUTED, VERDICTS
from cmrsynth.evaluation.protocol import run_protocol
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.volumetry import correlation, hearts, train_regressor, true_areas, volumetry_figures
from cmrsynth.labels import LV, MYO, RV

SETTINGS = EvaluationSettings(
    segmenter_updates=3, segmenter_batch=4, segmenter_seeds=2, segmenter_filters=(4, 8), resamples=100
)


def cine(part):
    """The toy slices as two vendors with two phases."""
    vendor = np.where(np.arange(len(part)) // 4 % 2 == 0, "A", "B")
    return replace(part, vendor=vendor, phase=np.where(part.slice_index < 2, "ED", "ES"))


@pytest.fixture(scope="module")
def sets(toy_set):
    names = (("train", 6), ("holdout", 6), ("third", 6), ("far", 3))
    return [cine(toy_set(name, count, seed=seed)) for seed, (name, count) in enumerate(names)]


@pytest.fixture(scope="module")
def run(sets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("utility")
    options = {"external": [sets[3]], "curve": CurveSettings((0.5, 1), (1, 9)), "settings": SETTINGS}
    return run_protocol(*sets[:3], output=folder, **options), folder, options


def test_every_part_of_the_protocol_has_figures_and_tables(run):
    evaluation, folder, _ = run
    names = {f.name for f in evaluation.figures}
    assert len(names) == len(evaluation.figures)
    assert names >= {
        "dice_real", "dice_synthetic", "dice_both", "utility_gap", "utility_gain", "tstr_ratio",
        "dice_real_on_synthetic", "external_far_gain", "left_out_a_gain", "left_out_b_gain",
        "volumetry_ef_synthetic", "curve_gain_50", "curve_gain_100",
    }  # fmt: skip
    tables = {p.stem for p in (folder / "tables").iterdir()}
    assert tables >= {"scores", "differences", "groups", "external_far", "left_out_vendors", "volumetry",
                      "augmentation_curve"}  # fmt: skip
    assert (folder / evaluation.pictures[0].file).read_bytes()[:4] == b"\x89PNG"


def test_every_figure_is_whole(run):
    written = json.loads((run[1] / "utility.json").read_text())
    assert written["verdict"]["utility"] in VERDICTS
    for figure in written["figures"]:
        assert figure["axis"] == "utility"
        assert figure["reading"]
        assert figure["rule"]
        assert figure["n"]
        if figure["value"] is None:
            assert figure["verdict"] == NOT_COMPUTED
            continue
        assert figure["floor"] is not None, figure["name"]
        for interval in (figure["interval"], figure["floor_interval"]):
            assert interval is None or interval[0] <= interval[1]
    assert all(len(model["sha256"]) == 64 for model in written["models"].values())


def test_run_again_no_network_is_trained_twice(run, sets):
    evaluation, folder, options = run
    times = {p.name: p.stat().st_mtime_ns for p in (folder / "models").iterdir()}
    again = run_protocol(*sets[:3], output=folder, **options)
    assert {p.name: p.stat().st_mtime_ns for p in (folder / "models").iterdir()} == times
    assert [f.value for f in again.figures] == [f.value for f in evaluation.figures]


def test_a_ratio_without_enough_synthetic_images_is_left_out(run):
    points = run[0].figure("curve_gain_100").details["points"]
    assert [(p["ratio"], p["synthetic"]) for p in points] == [(0.0, 0), (1, 24), (9, 0)]
    assert points[2]["dice"] is None
    assert points[0]["gain"] == 0


def test_real_subsets_are_nested_and_synthetic_ones_grow(sets):
    train, _, synthetic, _ = sets
    few, more = (nested_patients(train.patients, f, 0) for f in (0.3, 0.6))
    assert set(few) < set(more)
    grid = CurveSettings((0.5,), (0.5, 1))
    half, whole = (pool_at(train, synthetic, 0.5, ratio, grid, 0)[1] for ratio in (0.5, 1))
    assert (len(half), len(whole)) == (6, 12)
    assert {i.tobytes() for i in half.images} < {i.tobytes() for i in whole.images}


def test_synthetic_images_of_other_patients_masks_can_be_kept_out(sets):
    train = sets[0]
    made = train.select(np.arange(len(train)))  # as if generated from the training masks
    grid = CurveSettings((0.5,), (1,), own_masks_only=True)
    real, added = pool_at(train, made, 0.5, 1.0, grid, 0)
    assert set(added.patient_id) <= set(real.patient_id)
    assert pool_at(train, sets[2], 0.5, 1.0, grid, 0)[1] is None  # all masks are of other patients


@pytest.mark.parametrize("wrong", [{"fractions": (0.0,)}, {"fractions": ()}, {"ratios": (-1.0,)}])
def test_a_grid_that_is_none_is_refused(wrong):
    with pytest.raises(InputError):
        CurveSettings(**wrong)


def test_other_data_sets_must_fit_the_networks(sets):
    train, _, _, far = sets
    check_external(train, far, (LV, MYO))
    with pytest.raises(InputError, match="shares"):
        check_external(train, train, (LV, MYO))
    with pytest.raises(InputError, match="annotates"):
        check_external(train, far, (LV, RV))
    with pytest.raises(InputError, match="mm"):
        check_external(train, replace(far, pixel_spacing=far.pixel_spacing * 1.5), (LV, MYO))


def test_a_vendor_is_left_out_only_where_it_can_be_tested(sets):
    train, holdout, synthetic, _ = sets
    assert vendors_to_leave_out(train, holdout, synthetic) == ["A", "B"]
    only_a = synthetic.select(synthetic.vendor == "A")
    assert vendors_to_leave_out(train, holdout, only_a) == ["A"]
    assert vendors_to_leave_out(train.select(train.vendor == "A"), holdout, synthetic) == []


def test_volumes_are_the_sum_of_discs(sets):
    part = sets[1]
    found = hearts(part, true_areas(part))
    own = (part.patient_id == part.patients[0]) & (part.phase == "ED")
    # 2 x 2 mm pixels, 8 mm between slices: 0.032 mL each
    assert found.edv[0] == pytest.approx(0.032 * (part.masks[own] == LV).sum(), rel=1e-5)
    assert found.ef[0] == pytest.approx(100 * (1 - found.esv[0] / found.edv[0]))
    assert found.unit == "mL"
    unknown = replace(part, slice_spacing=np.full(len(part), np.nan, np.float32))
    areas = hearts(unknown, true_areas(unknown))
    assert areas.unit == "cm2"
    np.testing.assert_allclose(areas.ef, found.ef)
    only_ed = part.select(part.phase == "ED")
    assert len(hearts(only_ed, true_areas(only_ed)).patients) == 0


class Oracle:
    """Reads the areas of a set, times a factor."""

    def __init__(self, part, factor=1.0):
        self.part, self.factor = part, factor

    def areas(self, images):
        return true_areas(self.part) * self.factor


def test_errors_of_volumes_are_those_planted(sets):
    train, holdout = sets[:2]
    truth = hearts(holdout, true_areas(holdout))
    regressors = {"real": [Oracle(holdout)] * 2, "synthetic": [Oracle(holdout, 1.5)] * 2, "both": [Oracle(holdout)] * 2}
    figures, tables = volumetry_figures(regressors, train, holdout, SETTINGS)
    by_name = {f.name: f for f in figures}
    assert by_name["volumetry_edv_real"].value == pytest.approx(0)
    assert by_name["volumetry_edv_synthetic"].value == pytest.approx(0.5 * truth.edv.mean())
    assert by_name["volumetry_edv_synthetic"].verdict == "do not share"
    assert by_name["volumetry_ef_synthetic"].value == pytest.approx(0, abs=1e-9)  # a factor cancels in EF
    assert by_name["volumetry_edv_both"].details["r"] == pytest.approx(1)
    assert len(tables[0].rows) == 9


def test_volumes_of_too_few_patients_are_refused(sets):
    train, holdout = sets[:2]
    few = holdout.select(np.isin(holdout.patient_id, holdout.patients[:3]))
    figures, tables = volumetry_figures({"real": [Oracle(few)]}, train, few, SETTINGS)
    assert (figures[0].verdict, tables) == (NOT_COMPUTED, [])
    assert "annotate" in volumetry_figures({}, train, holdout, SETTINGS)[0][0].reading


def test_a_regressor_reads_areas_of_hearts_it_never_saw(toy_set, tmp_path):
    train, other = toy_set("train", 16, seed=0), toy_set("other", 8, seed=1)
    settings = replace(SETTINGS, segmenter_updates=120, segmenter_batch=16)
    regressor = train_regressor(Pool.of(train), settings, 0, tmp_path / "x.safetensors")
    assert correlation(regressor.areas(other.images), true_areas(other)) > 0.6


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_dynunet_learns_and_adds_up(sets, toy_set, tmp_path):
    train, holdout, synthetic = (
        replace(cine(toy_set(name, 16, seed=seed)), vendor=np.full(64, "A"))
        for seed, name in enumerate(("train", "holdout", "third"))
    )
    settings = replace(
        SETTINGS, segmenter_updates=150, segmenter_batch=8, segmenter_seeds=3, segmenter="dynunet",
        segmenter_filters=(8, 16, 32), resamples=1000,
    )  # fmt: skip
    evaluation = run_protocol(train, holdout, synthetic, output=tmp_path, settings=settings)
    assert evaluation.figure("dice_real").value > 0.8
    # real patients of a third group in the place of synthetic ones: nothing is lost
    ratio = evaluation.figure("tstr_ratio")
    assert ratio.interval[0] < 1.02
    assert ratio.interval[1] > 0.98
    assert ratio.verdict == "good"
    assert evaluation.figure("volumetry_edv_real").value < evaluation.figure("volumetry_edv_real").planted
