"""What each `evaluate` module says of data whose answer is known: nothing wrong, and one thing wrong."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cmrsynth.labels import LV, MYO, RV

pytestmark = pytest.mark.filterwarnings("ignore:.*real patients:UserWarning")
FEW = {"resamples": 24}


def metric(name: str):
    module = importlib.import_module(f"cmrsynth.metrics.{name}")
    return getattr(module, "Cmr" + "".join(part.capitalize() for part in name.split("_")[1:]))()


def above_floor(result, name):
    """The value at floor size lies above the interval of the floor."""
    return result[f"{name}_at_floor_size"] > result[f"{name}_floor_high"]


# Features


def _features(change=lambda rows: rows, n=160, seed=0):
    rng = np.random.default_rng(seed)
    is_real, patient_id = np.arange(2 * n) < n, np.arange(2 * n) // 4
    rows = rng.normal(size=(2 * n, 6)) + 1
    rows[~is_real] = change(rows[~is_real])
    return {"features": rows, "is_real": is_real, "patient_id": patient_id}


@pytest.mark.parametrize("name", ["cmr_fid", "cmr_kid", "cmr_cmmd", "cmr_fid_infinity"])
def test_feature_distances_see_a_shift_and_nothing_where_there_is_nothing(name):
    key = name.removeprefix("cmr_")
    assert above_floor(metric(name).compute(**_features(lambda x: x + 0.7), **FEW), key)
    quiet = [metric(name).compute(**_features(seed=seed), **FEW) for seed in range(3)]
    assert sum(above_floor(each, key) for each in quiet) <= 1


def test_fid_is_the_frechet_distance_and_warns_where_it_is_bias():
    from cmrsynth.metrics.frechet import frechet_distance

    columns = _features(lambda x: x + 0.7)
    rows = columns["features"].astype(np.float32)
    x, y = rows[~columns["is_real"]], rows[columns["is_real"]]
    assert metric("cmr_fid").compute(**columns, resamples=0)["fid"] == frechet_distance(x, y)
    few = {name: column[150:170] for name, column in columns.items()}
    few["features"] = np.random.default_rng(0).normal(size=(20, 30))
    with pytest.warns(UserWarning, match="most of the value is bias"):
        metric("cmr_fid").compute(**few, resamples=0)


def test_fid_infinity_needs_fifty_rows_and_lies_below_fid():
    columns = _features(lambda x: x + 0.7)
    assert (
        metric("cmr_fid_infinity").compute(**columns, resamples=0)["fid_infinity"]
        < metric("cmr_fid").compute(**columns, resamples=0)["fid"]
    )
    with pytest.raises(ValueError, match="at least 50"):
        metric("cmr_fid_infinity").compute(**_features(n=40), resamples=0)


def test_prdc_tells_collapse_from_blur():
    collapsed = metric("cmr_prdc").compute(**_features(lambda x: 1 + 0.2 * (x - 1)), **FEW)
    assert collapsed["density"] > 2 * collapsed["density_floor"]
    assert collapsed["recall"] < 0.2 * collapsed["recall_floor"]
    assert collapsed["recall_low"] >= 0
    quiet = metric("cmr_prdc").compute(**_features(), **FEW)
    for name in ("precision", "recall", "density", "coverage"):
        assert quiet[f"{name}_at_floor_size"] == pytest.approx(quiet[f"{name}_floor"], abs=0.15)
        assert quiet[f"{name}_high"] <= (1 if name != "density" else np.inf)
    with pytest.raises(ValueError, match="more than 5"):
        metric("cmr_prdc").compute(**_features(n=5))


def test_vendi_sees_collapse():
    def repeated(rows):
        return np.repeat(rows[:4], len(rows) // 4, axis=0)

    found = metric("cmr_vendi").compute(**_features(repeated), **FEW)
    assert found["vendi_score"] <= 4 + 1e-6 < found["vendi_score_floor_low"]
    quiet = metric("cmr_vendi").compute(**_features(), **FEW)
    assert quiet["vendi_score"] == pytest.approx(quiet["vendi_score_floor"], rel=0.2)


def test_inception_score_of_known_probabilities():
    is_real, patient_id = np.arange(80) < 40, np.arange(80) // 2
    one_hot = np.tile(np.eye(4), (20, 1))
    one_hot[is_real] = 0.25
    columns = {"is_real": is_real, "patient_id": patient_id}
    found = metric("cmr_inception_score").compute(probabilities=one_hot, **columns, resamples=0)
    assert 2 < found["inception_score"] <= 4
    assert found["inception_score_floor"] == pytest.approx(1)
    with pytest.raises(ValueError, match="softmax"):
        metric("cmr_inception_score").compute(probabilities=3 * one_hot, **columns)


# Images


def _images(change=lambda images: images, n=60, side=32, seed=0):
    rng = np.random.default_rng(seed)
    coarse = gaussian_filter(rng.normal(size=(2 * n, side, side)), (0, 4, 4)) * 2
    fine = gaussian_filter(rng.normal(size=(2 * n, side, side)), (0, 0.7, 0.7)) * 0.15
    images = np.clip(0.5 + 0.3 * coarse + fine, 0, 1)
    is_real = np.arange(2 * n) < n
    images[~is_real] = change(images[~is_real])
    return {"images": images, "is_real": is_real, "patient_id": np.arange(2 * n) // 3}


def _blurred(images):
    return gaussian_filter(images, (0, 1, 1))


@pytest.mark.parametrize(
    ("name", "key"),
    [("cmr_sliced_wasserstein", "sliced_wasserstein_level_0"), ("cmr_spectrum", "spectrum_distance")],
)
def test_texture_figures_see_blur(name, key):
    assert above_floor(metric(name).compute(**_images(_blurred), **FEW), key)
    quiet = metric(name).compute(**_images(), **FEW)
    assert quiet[f"{key}_at_floor_size"] < 1.5 * quiet[f"{key}_floor"]


def test_pairwise_ms_ssim_sees_repeated_images():
    found = metric("cmr_ms_ssim").compute(**_images(lambda x: np.repeat(x[:1], len(x), axis=0)), resamples=20)
    assert found["pairwise_ms_ssim"] == pytest.approx(1, abs=1e-5)
    assert found["pairwise_ms_ssim_floor_high"] < 0.9


@pytest.mark.slow  # trains nine networks
def test_the_two_sample_test_sees_blur_and_nothing_where_there_is_nothing():
    found = metric("cmr_two_sample").compute(**_images(_blurred), updates=80, resamples=20)
    assert found["two_sample_auc_at_floor_size"] > 0.9
    assert found["two_sample_auc_floor"] < 0.75
    assert metric("cmr_two_sample").compute(**_images(), updates=80, resamples=20)["two_sample_auc"] < 0.75


def test_reconstructions_with_a_known_error():
    columns = _images()
    images = np.clip(columns["images"], 0.1, 0.9).astype(np.float32)
    rest = {"patient_id": columns["patient_id"]}
    found = metric("cmr_reconstruction").compute(images=images, reconstructions=images + np.float32(0.1), **rest, **FEW)
    assert found["psnr"] == pytest.approx(20, abs=1e-3)
    assert found["ssim_floor_high"] < found["ssim"] < 1
    same = metric("cmr_reconstruction").compute(images=images, reconstructions=images, **rest, **FEW)
    assert same["psnr"] == np.inf
    assert same["ssim"] == pytest.approx(1)
    assert same["psnr_floor"] < 20
    alone = metric("cmr_reconstruction").compute(images=images[:3], reconstructions=images[:3], patient_id=["a"] * 3)
    assert np.isnan(alone["ssim_floor"])


# Masks


def _masks(n=24, side=32, radius=6.0, spread=0.5, seed=0):
    """(n, side, side) rings with an RV beside them."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] - side / 2
    masks = np.zeros((n, side, side), np.uint8)
    for mask, size in zip(masks, rng.normal(radius, spread, n), strict=True):
        mask[np.hypot(rows, columns + size + 4) < size] = RV
        mask[np.hypot(rows, columns) < size + 3] = MYO
        mask[np.hypot(rows, columns) < size] = LV
    return masks


def _overlap_columns(masks, shift):
    n = len(masks)
    is_real = np.arange(n) >= n // 2
    predictions = np.where(is_real[:, None, None], masks, np.roll(masks, shift, axis=2))
    rest = {"patient_id": np.arange(n) // 3, "phase": np.tile(["ED", "ES"], n // 2)}
    return {"predictions": predictions, "references": masks, "is_real": is_real, **rest}


def test_overlap_of_shifted_masks_against_the_ceiling():
    columns = {**_overlap_columns(_masks(), 2), "pixel_spacing": np.full((24, 2), 1.5)}
    found = metric("cmr_overlap").compute(**columns, **FEW)
    for structure in ("lv", "myo", "rv"):
        assert found[f"dice_{structure}"] < 0.95
        assert found[f"dice_{structure}_floor"] == 1
        assert found[f"iou_{structure}"] < found[f"dice_{structure}"]
        assert found[f"hd95_mm_{structure}"] == pytest.approx(3, abs=0.1)
        assert found[f"missed_{structure}"] == 0
    assert found["n_slices"] == 12
    assert found["n_patients"] == found["n_real_patients"] == 4


def test_overlap_without_real_rows_and_with_missed_structures():
    columns = {**_overlap_columns(_masks(), 0), "pixel_spacing": np.full((24, 2), 1.5)}
    columns["is_real"] = np.zeros(24, bool)
    columns["predictions"] = np.where(columns["predictions"] == RV, 0, columns["predictions"])
    found = metric("cmr_overlap").compute(**columns, labels={1: "lv", 3: "rv"}, resamples=0)
    assert (found["dice_lv"], found["dice_rv"], found["missed_rv"]) == (1, 0, 24)
    assert np.isnan(found["hd95_mm_rv"])
    assert np.isnan(found["dice_lv_floor"])
    assert "dice_myo" not in found
    with pytest.raises(ValueError, match="all are real"):
        metric("cmr_overlap").compute(**{**columns, "is_real": np.ones(24, bool)})
    with pytest.raises(ValueError, match="background"):
        metric("cmr_overlap").compute(**columns, labels={0: "background"})


def test_anatomy_sees_larger_hearts_and_swapped_ventricles():
    def stream(synthetic):
        masks = np.concatenate([_masks(60), synthetic])
        rest = {"is_real": np.arange(120) < 60, "patient_id": np.arange(120) // 3, "pixel_spacing": np.ones((120, 2))}
        return metric("cmr_anatomy").compute(masks=masks, **rest, **FEW)

    quiet = stream(_masks(60, seed=1))
    assert quiet["w1_lv_area_mm2_at_floor_size"] < 2 * quiet["w1_lv_area_mm2_floor"]
    assert above_floor(stream(_masks(60, radius=7, seed=1)), "w1_lv_area_mm2")
    swapped = np.array([0, RV, MYO, LV], np.uint8)[_masks(60, seed=1)]
    assert above_floor(stream(swapped), "w1_lv_enclosed")


# Privacy


def _roles(synthetic, seed=0):
    rng = np.random.default_rng(seed)
    train, holdout, fresh = rng.normal(size=(3, 90, 6))
    rows = {"copies": train + 0.01 * fresh, "fresh": fresh, "collapsed": 0.05 * fresh}[synthetic]
    return {
        "features": np.concatenate([train, holdout, rows]),
        "role": np.repeat(["train", "holdout", "synthetic"], 90),
        "patient_id": np.concatenate([np.arange(180) // 3, np.arange(90) // 3]),
    }


def test_nearest_neighbours_tell_copies_from_fresh_rows_and_from_collapse():
    copies, fresh, collapsed = (
        metric("cmr_nearest_neighbours").compute(**_roles(kind), **FEW) for kind in ("copies", "fresh", "collapsed")
    )
    assert copies["closer_to_train"] > 0.95
    assert copies["closer_to_train"] == pytest.approx(copies["closer_to_train_planted"], abs=0.03)
    assert copies["copy_rate"] == 1
    assert copies["authenticity"] == 0
    assert copies["nndr"] < 0.1 < fresh["nndr_floor"]
    for found in (fresh, collapsed):
        assert found["closer_to_train_low"] < 0.6
    assert fresh["closer_to_train_low"] < 0.5 < fresh["closer_to_train_high"]
    assert fresh["copy_rate"] < 0.15
    assert fresh["authenticity"] == pytest.approx(fresh["authenticity_floor"], abs=0.2)
    assert (fresh["n_train"], fresh["n_holdout"], fresh["n_synthetic"], fresh["n_patients"]) == (90, 90, 90, 30)


def test_nearest_neighbours_refuse_unknown_roles_and_shared_patients():
    columns = _roles("fresh")
    with pytest.raises(ValueError, match=r"unknown \['test'\]"):
        metric("cmr_nearest_neighbours").compute(**{**columns, "role": np.repeat(["train", "test", "synthetic"], 90)})
    with pytest.raises(ValueError, match="both training and held-out"):
        metric("cmr_nearest_neighbours").compute(**{**columns, "patient_id": np.tile(np.arange(90) // 3, 3)})


def test_membership_counts_patients_and_knows_chance():
    rng = np.random.default_rng(0)
    is_member, patient_id = np.arange(400) < 200, np.arange(400) // 4
    chance = metric("cmr_membership").compute(
        scores=rng.normal(size=400), is_member=is_member, patient_id=patient_id, resamples=200
    )
    assert chance["auc_low"] < 0.5 < chance["auc_high"]
    assert chance["auc_floor_low"] == pytest.approx(0.5 - 1.96 * np.sqrt(101 / (12 * 50 * 50)))
    assert np.isnan(chance["tpr_at_01_fpr"])  # 50 patients cannot resolve it
    assert 0.5 < chance["balanced_accuracy_floor"] < 0.65
    leak = metric("cmr_membership").compute(
        scores=rng.normal(size=400) + 2 * is_member, is_member=is_member, patient_id=patient_id, resamples=200
    )
    assert leak["auc_low"] > 0.95
    assert leak["tpr_at_10_fpr_low"] > 0.9
    with pytest.raises(ValueError, match="both sides"):
        metric("cmr_membership").compute(scores=np.zeros(4), is_member=[1, 1, 0, 0], patient_id=["a", "b", "b", "c"])


# Utility


def _arms(gain, seeds=2, patients=12, seed=0):
    rng = np.random.default_rng(seed)
    structures = np.repeat(["lv", "rv"], seeds * patients)
    baseline = rng.uniform(0.7, 0.9, len(structures))
    candidate = baseline + rng.normal(0, 0.02, len(structures)) + np.where(structures == "lv", gain, 0)
    return {
        "baseline": baseline,
        "candidate": candidate,
        "structure": structures,
        "patient_id": np.tile(np.arange(patients), 2 * seeds),
        "training_seed": np.tile(np.repeat(np.arange(seeds), patients), 2),
    }


def test_utility_finds_the_structure_that_gains():
    found = metric("cmr_utility").compute(**_arms(0.1), resamples=500)
    assert found["lv_difference_low"] > 0.05
    assert found["lv_p_holm"] < 0.05 < found["rv_p_holm"]
    assert found["lv_p_holm"] >= found["lv_p"]
    assert found["lv_candidate"] - found["lv_baseline"] == pytest.approx(found["lv_difference"])
    assert (found["n_patients"], found["n_seeds"]) == (12, 2)


def test_utility_refuses_arms_that_are_no_pairs():
    columns = _arms(0.1)
    with pytest.raises(ValueError, match="expected one row for each of 12 patients and 2 seeds, got 23"):
        metric("cmr_utility").compute(**{name: column[1:] for name, column in columns.items()})
    twice = columns["patient_id"].copy()
    twice[0] = 1
    with pytest.raises(ValueError, match="expected one row for each"):
        metric("cmr_utility").compute(**{**columns, "patient_id": twice})
