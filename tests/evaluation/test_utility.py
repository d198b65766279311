"""Arms, their statistics, and failures planted in what they are trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmrsynth.evaluation.arms import Arm, Pool, predict_all, score_arm, train_arm
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, NOT_COMPUTED
from cmrsynth.evaluation.protocol import judge_ratio, ratio_figure
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.utility import paired_difference, utility_figures
from cmrsynth.evaluation.utility_tables import Table, comparison_table, scores_table, subgroup_table, write_tables
from cmrsynth.labels import LV, MYO

LABELS = (LV, MYO)
SETTINGS = EvaluationSettings(segmenter_updates=4, segmenter_batch=4, segmenter_seeds=3, resamples=200)


def arm_of(dice):
    dice = np.asarray(dice, float)
    surface = np.full(dice.shape, 3.0)
    return Arm(dice, surface, 0.0, {"iou": dice / (2 - dice), "assd": surface, "hausdorff_95_penalised": surface})


def random_arms(*, lost=0.0, seeds=3, patients=12):
    rng = np.random.default_rng(0)
    real = rng.uniform(0.7, 0.9, (1, patients, 2)) + rng.normal(0, 0.005, (seeds, patients, 2))
    synthetic = real - lost + rng.normal(0, 0.005, real.shape)
    return {"real": arm_of(real), "synthetic": arm_of(synthetic), "both": arm_of(real + 0.02)}


def test_perfect_masks_score_one_and_missed_structures_are_counted(toy_set):
    part = toy_set("holdout", 3, seed=1)
    perfect = score_arm([part.masks], part, LABELS)
    assert perfect.dice == pytest.approx(1)
    assert perfect.score("iou") == pytest.approx(1)
    assert perfect.score("assd") == pytest.approx(0)
    assert perfect.missed == 0
    blind = part.masks.copy()
    blind[part.patient_id == part.patients[0]] = 0
    arm = score_arm([blind], part, LABELS)
    assert arm.dice[0, 0] == pytest.approx(0)
    assert np.isnan(arm.hausdorff_95[0, 0]).all()
    assert arm.score("hausdorff_95_penalised")[0, 0] == pytest.approx(np.hypot(64, 64))  # 32 pixels of 2 mm
    assert arm.missed == 8


def test_intersection_over_union_is_that_of_its_definition(toy_set):
    part = replace(toy_set("holdout", 2, seed=1), phase=np.tile(["ED", "ES"], 4))
    shifted = np.roll(part.masks, 2, axis=2)
    found = score_arm([shifted], part, LABELS).score("iou")
    own = part.patient_id == part.patients[0]
    by_hand = []
    for phase in ("ED", "ES"):
        a, b = (m[own & (part.phase == phase)] == LV for m in (shifted, part.masks))
        by_hand.append((a & b).sum() / (a | b).sum())
    assert found[0, 0, 0] == pytest.approx(np.mean(by_hand))


def test_every_patient_counted_k_times_does_not_shrink_the_interval(toy_set):
    part = toy_set("holdout", 6, seed=1)
    rows = np.tile(np.arange(len(part)), 4)
    predictions = [np.roll(part.masks, shift, axis=2) for shift in (1, 2)]
    arms = [score_arm([p[r] for p in predictions], part.select(r), LABELS) for r in (np.arange(len(part)), rows)]
    perfect = [arm_of(np.ones_like(arm.dice)) for arm in arms]
    once, often = (paired_difference(a, b, SETTINGS) for a, b in zip(arms, perfect, strict=True))
    assert once[0] == pytest.approx(often[0])
    assert once[1] == pytest.approx(often[1])


def test_ratio_of_a_copy_is_one_and_of_a_ruin_is_near_nothing():
    n = {"patients": 12}
    same = ratio_figure(random_arms(), n, SETTINGS)
    assert same.interval[0] <= 1 <= same.interval[1]
    assert same.floor_interval[0] <= 1 <= same.floor_interval[1]
    assert same.verdict == GOOD
    worse = ratio_figure(random_arms(lost=0.3), n, SETTINGS)
    assert worse.value == pytest.approx(0.62, abs=0.02)
    assert worse.verdict == DO_NOT_SHARE
    arms = {name: arm_of(np.full((3, 4, 2), 0.01)) for name in ("real", "synthetic", "both")}
    assert ratio_figure(arms, n, SETTINGS).verdict == NOT_COMPUTED
    assert judge_ratio(0.7, (0.5, 0.97)).verdict != DO_NOT_SHARE  # not certain


def test_tables_have_every_structure_score_and_group(toy_set, tmp_path):
    part = toy_set("holdout", 6, seed=1)
    part = replace(part, vendor=np.repeat(["A", "B"], 12), phase=np.tile(["ED", "ES"], 12))
    predictions = {
        "real": [part.masks, np.roll(part.masks, 1, 2)],
        "synthetic": [np.roll(part.masks, 3, 2), np.roll(part.masks, 4, 2)],
    }
    arms = {arm: score_arm(p, part, LABELS) for arm, p in predictions.items()}
    scores = scores_table("scores", "Scores", arms, LABELS, SETTINGS)
    assert len(scores.rows) == 2 * 5 * 3  # arms, scores, two structures and their mean
    differences = comparison_table("differences", "Differences", arms, LABELS, SETTINGS)
    for row in differences.rows:
        assert row[2] < 0
        assert row[6] >= row[5]  # corrected for two structures
    groups = subgroup_table("groups", "Groups", arms, predictions, part, LABELS, SETTINGS)
    assert {row[:2] for row in groups.rows} >= {("vendor", "A"), ("vendor", "B"), ("phase", "ED"), ("phase", "ES")}
    vendor_a = next(row for row in groups.rows if row[:3] == ("vendor", "A", "real"))
    assert vendor_a[3] == pytest.approx(float(arms["real"].dice[:, :3].mean()), rel=1e-3)
    assert vendor_a[-1] == 3
    write_tables([scores, differences, groups], tmp_path)
    assert (tmp_path / "tables" / "scores.csv").read_text().splitlines()[0].startswith("trained on,structure")
    assert "## Groups" in (tmp_path / "tables.md").read_text()


def test_an_undefined_cell_is_empty():
    table = Table("t", "T", ("a", "b"), ((None, 0.123456),))
    assert table.as_csv() == "a,b\n,0.123456\n"
    assert "| - | 0.1235 |" in table.as_markdown()


@pytest.fixture(scope="module")
def planted(toy_set, tmp_path_factory):
    """Utility figures for a copy of the real set, for random images, and for shuffled masks."""
    train, holdout = toy_set("train", 10, seed=0), toy_set("holdout", 8, seed=1)
    rng = np.random.default_rng(0)
    noise = rng.uniform(0, 1, train.images.shape).astype(np.float32)
    # masks of other patients, moved: hearts of the toy set all lie near the centre
    moved = np.roll(train.masks[rng.permutation(len(train))], (11, 11), axis=(1, 2))
    sets = {
        "real": train,
        "copy": train.select(rng.permutation(len(train))),  # in another order, or it would be the same network
        "noise": replace(train, images=noise),
        "shuffled": replace(train, masks=moved),
    }
    settings = replace(
        SETTINGS, segmenter_updates=60, segmenter_batch=8, segmenter_seeds=1, segmenter_filters=(8, 16, 32)
    )
    folder = tmp_path_factory.mktemp("models")
    arms = {
        name: score_arm(predict_all(train_arm(Pool.of(part), LABELS, settings, folder, name), holdout), holdout, LABELS)
        for name, part in sets.items()
    }
    found = {}
    for name in ("copy", "noise", "shuffled"):
        three = {"real": arms["real"], "synthetic": arms[name], "both": arms["copy"]}
        figures = utility_figures(three, train, holdout, sets[name], LABELS, settings)
        found[name] = {f.name: f for f in [*figures, ratio_figure(three, {"patients": 8}, settings)]}
    return found


def test_a_copy_of_the_real_set_trains_as_well_as_it(planted):
    ratio = planted["copy"]["tstr_ratio"]
    assert ratio.value == pytest.approx(1, abs=0.05)
    assert ratio.verdict == GOOD
    assert planted["copy"]["utility_gap"].verdict == GOOD


@pytest.mark.parametrize("failure", ["noise", "shuffled"])
def test_images_that_do_not_belong_to_their_masks_train_nothing(planted, failure):
    figures = planted[failure]
    assert figures["dice_real"].value > 0.6
    assert figures["dice_synthetic"].value < 0.45  # where hearts usually lie is all there is to learn from noise
    assert figures["tstr_ratio"].verdict == DO_NOT_SHARE


def test_figures_name_the_network(planted):
    assert "MONAI UNet 8-16-32" in planted["copy"]["dice_real"].made_with
    assert "60 updates" in planted["copy"]["dice_real"].made_with
