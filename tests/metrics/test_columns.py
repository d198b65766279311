"""Columns of a stream: what is taken, what is refused, and in which words."""

from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.metrics.columns import checked_batch, read_images

KINDS = {"images": "images", "is_real": "flags", "patient_id": "names"}
REST = {"is_real": [True, False], "patient_id": ["a", "b"]}


def _images(value):
    return checked_batch({"images": value, **REST}, KINDS)["images"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float64"])
def test_images_of_every_kind_become_floats_from_0_to_1(dtype):
    largest = np.iinfo(dtype).max if dtype != "float64" else 1
    stack = np.zeros((2, 4, 5), dtype)
    stack[0, 0, 0] = largest
    for value in (stack, list(stack)):
        found = _images(value)
        assert found.dtype == np.float32
        assert found.shape == (2, 4, 5)
        assert found.max() == 1


def test_a_column_of_a_data_set_and_tensors_are_taken():
    import datasets
    import torch

    stack = (np.arange(40).reshape(2, 4, 5) * 6).astype(np.uint8)
    features = datasets.Features({"image": datasets.Image()})
    column = datasets.Dataset.from_dict({"image": list(stack)}, features=features)["image"]
    np.testing.assert_allclose(_images(column), stack / np.float32(255))
    np.testing.assert_allclose(_images(torch.from_numpy(stack / 255)), stack / np.float32(255), rtol=1e-6)


def test_paths_are_read_when_asked_for(tmp_path):
    from PIL import Image

    stack = (np.arange(40).reshape(2, 4, 5) * 6).astype(np.uint8)
    Image.fromarray(stack[0]).save(tmp_path / "a.png")
    np.save(tmp_path / "b.npy", stack[1])
    paths = _images([tmp_path / "a.png", tmp_path / "b.npy"])
    assert paths == [str(tmp_path / "a.png"), str(tmp_path / "b.npy")]
    np.testing.assert_allclose(read_images(np.array(paths)), stack / np.float32(255))
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "colour.png")
    with pytest.raises(ValueError, match="grey image"):
        read_images(np.array([str(tmp_path / "colour.png")]))
    np.save(tmp_path / "small.npy", stack[1, :3])
    with pytest.raises(ValueError, match="sizes differ"):
        read_images(np.array([paths[0], str(tmp_path / "small.npy")]))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[[0.0, 1.0]], [[0.0, 1.0]]], "nested lists of pixels"),
        (np.full((2, 4, 4), 1.5), "outside"),
        (np.full((2, 4, 4), np.nan), "outside"),
        (np.zeros((2, 4, 4), np.int64), "expected float"),
        (np.zeros((2, 1, 4, 4)), r"\(N, H, W\)"),
        ([np.zeros((4, 4)), np.zeros((5, 4))], "sizes differ"),
        (np.zeros((3, 4, 4)), "differ in length"),
        (None, r"missing \['images'\]"),
    ],
)
def test_wrong_images_are_refused_in_words(value, message):
    with pytest.raises(ValueError, match=message):
        _images(value)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("flags", ["True", "False"], "True or False"),
        ("flags", [0, 2], "True or False"),
        ("names", ["a", None], "some rows have none"),
        ("names", [1.0, float("nan")], "some rows have none"),
        ("vectors", [[1.0, 2.0], [1.0]], "differ in length"),
        ("vectors", np.full((2, 3), np.inf), "finite"),
        ("spacings", np.ones((2, 3)), r"\(N, 2\)"),
        ("spacings", np.zeros((2, 2)), "above 0"),
        ("label_maps", np.zeros((2, 3, 3)), "integers"),
        ("label_maps", np.full((2, 3, 3), -1), "integers"),
        ("numbers", np.zeros((2, 2)), "one number per row"),
    ],
)
def test_wrong_columns_are_refused_in_words(kind, value, message):
    with pytest.raises(ValueError, match=message):
        checked_batch({"column": value}, {"column": kind})


def test_unknown_columns_are_named():
    with pytest.raises(ValueError, match=r"unknown \['label'\]"):
        checked_batch({"images": np.zeros((2, 4, 4)), **REST, "label": [1, 2]}, KINDS)
