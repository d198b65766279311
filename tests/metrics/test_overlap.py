from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.labels import LV, MYO, RV
from cmrsynth.metrics.overlap import assd, dice, hausdorff_95, iou, overlap_by_patient


def _disc(radius, column=64, row=64, side=128):
    rows, columns = np.mgrid[:side, :side]
    return (np.hypot(rows - row, columns - column) <= radius).astype(np.uint8)


def test_discs_shifted_by_five_pixels():
    a, b = _disc(20), _disc(20, column=69)
    assert dice(a, b, 1) == pytest.approx(0.8433, abs=5e-5)
    assert hausdorff_95(a, b, 1, (1, 1)) == 5
    assert assd(a, b, 1, (1, 1)) == pytest.approx(2.996, abs=5e-4)


def test_iou_is_intersection_over_union():
    a, b = _disc(20), _disc(20, column=69)
    assert iou(a, b, 1) == pytest.approx((a & b).sum() / (a | b).sum())
    assert (iou(a, a, 1), iou(a, 0 * a, 1)) == (1, 0)
    assert np.isnan(iou(0 * a, 0 * a, 1))


def test_concentric_discs():
    assert assd(_disc(20), _disc(23), 1, (1, 1)) == pytest.approx(2.81, abs=5e-3)


def test_distances_are_in_mm_along_the_right_axis():
    a, b = np.zeros((2, 40, 40), np.uint8)
    a[10:30, 5], b[10:30, 9] = 1, 1  # two lines, four columns apart
    assert hausdorff_95(a, b, 1, (1.0, 2.0)) == assd(a, b, 1, (1.0, 2.0)) == 8
    assert hausdorff_95(a.T, b.T, 1, (1.0, 2.0)) == assd(a.T, b.T, 1, (1.0, 2.0)) == 4


def test_equal_and_empty_sides():
    full, empty = _disc(20), np.zeros((128, 128), np.uint8)
    assert dice(full, full, 1) == 1
    assert hausdorff_95(full, full, 1, (1, 1)) == assd(full, full, 1, (1, 1)) == 0
    assert np.isnan(dice(empty, empty, 1))
    assert dice(full, empty, 1) == dice(empty, full, 1) == 0
    for a, b in ((empty, empty), (full, empty), (empty, full)):
        assert np.isnan(hausdorff_95(a, b, 1, (1, 1)))
        assert np.isnan(assd(a, b, 1, (1, 1)))


@pytest.mark.parametrize("seed", range(3))
def test_it_agrees_with_monai(seed):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    a, b = (gaussian_filter(rng.normal(size=(48, 40)), 3) > 0.02 for _ in range(2))  # ragged, touching the border
    spacing = (1.25, 1.7)
    one_hot = [torch.from_numpy(np.stack([~mask, mask])[None].astype(np.float32)) for mask in (a, b)]
    theirs = metrics.compute_hausdorff_distance(*one_hot, percentile=95, spacing=spacing)
    assert hausdorff_95(a, b, 1, spacing) == pytest.approx(float(theirs), rel=1e-5)
    theirs = metrics.compute_average_surface_distance(*one_hot, symmetric=True, spacing=spacing)
    assert assd(a, b, 1, spacing) == pytest.approx(float(theirs), rel=1e-5)
    theirs = metrics.compute_dice(*one_hot, include_background=False)
    assert dice(a, b, 1) == pytest.approx(float(theirs), rel=1e-6)


@pytest.fixture
def stack():
    """Patient b: a large and a tiny ED slice, one ES slice; patient a: one ED slice. LV everywhere, RV nowhere."""
    targets = np.stack([_disc(20), _disc(2), _disc(10), _disc(15)]) * LV
    return {
        "targets": targets,
        "patient_id": np.array(["b", "b", "b", "a"]),
        "phase": np.array(["ED", "ED", "ES", "ED"]),
        "labels": (LV, MYO, RV),
        "pixel_spacing": np.tile([1.5, 1.5], (4, 1)),
    }


def test_a_perfect_prediction_per_patient(stack):
    found = overlap_by_patient(stack["targets"].copy(), **stack)
    assert found["patients"].tolist() == ["a", "b"]
    assert found["dice"][:, 0].tolist() == [1, 1]
    assert found["hausdorff_95"][:, 0].tolist() == [0, 0]
    assert np.isnan(found["dice"][:, 1:]).all()  # nothing to find is nothing found
    assert not found["missed"].any()


def test_dice_is_pooled_over_the_stack_and_missed_slices_are_counted(stack):
    predictions = stack["targets"].copy()
    predictions[1] = 0  # the tiny apical slice is missed
    predictions[3] = RV * (stack["targets"][3] == LV)  # and patient a is called RV altogether
    found = overlap_by_patient(predictions, **stack)
    large, tiny = (stack["targets"][i] > 0 for i in (0, 1))
    pooled = 2 * large.sum() / (2 * large.sum() + tiny.sum())
    assert found["dice"][1, 0] == pytest.approx((pooled + 1) / 2)  # mean over ED and ES
    assert found["dice"][0].tolist()[0] == 0
    assert found["dice"][0, 2] == 0
    assert found["missed"].tolist() == [[1, 0, 1], [1, 0, 0]]
    assert found["hausdorff_95"][1, 0] == 0  # only slices where both sides hold the label
    assert np.isnan(found["hausdorff_95"][0, 0])


def test_shuffled_masks_fall_far_below(stack):
    found = overlap_by_patient(np.roll(stack["targets"], 30, axis=2), **stack)
    assert (found["dice"][:, 0] < 0.3).all()
    assert (found["hausdorff_95"][:, 0] > 30).all()  # 30 px at 1.5 mm, less where the discs overlap


def test_order_of_slices_does_not_matter(stack):
    predictions = np.roll(stack["targets"], 2, axis=1)
    order = [2, 0, 3, 1]
    moved = {k: v if k == "labels" else v[order] for k, v in stack.items()}
    for key, value in overlap_by_patient(predictions, **stack).items():
        np.testing.assert_array_equal(overlap_by_patient(predictions[order], **moved)[key], value)


def test_background_and_unequal_shapes_are_refused(stack):
    with pytest.raises(ValueError, match="background"):
        overlap_by_patient(stack["targets"], **{**stack, "labels": (0, 1)})
    with pytest.raises(ValueError, match="predictions"):
        overlap_by_patient(stack["targets"][:2], **stack)
    with pytest.raises(ValueError, match="differ"):
        dice(np.zeros((2, 2)), np.zeros((3, 2)), 1)
