"""Labels, seeds, errors and the reading of data sets: what everything else stands on."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from cmrsynth.data.loading import load_slices, load_split, to_slices
from cmrsynth.errors import InputError
from cmrsynth.labels import LV, MYO, RV, harmonise, one_hot
from cmrsynth.seeds import derive_seed, torch_generator
from cmrsynth.training.schedule import Budget, learning_rate_factor


def test_the_same_heart_in_two_label_maps_is_the_same_mask() -> None:
    acdc = np.array([[0, 1, 2, 3]])
    mnms = np.array([[0, 3, 2, 1]])
    expected = np.array([[0, RV, MYO, LV]])
    np.testing.assert_array_equal(harmonise(acdc, {1: RV, 2: MYO, 3: LV}, "acdc"), expected)
    np.testing.assert_array_equal(harmonise(mnms, {1: LV, 2: MYO, 3: RV}, "mnms"), expected)


@pytest.mark.parametrize("value", [4, 255, 0.5, -1])
def test_an_unknown_label_is_refused_with_its_value(value: float) -> None:
    with pytest.raises(InputError, match=r"file\.nii: the mask holds label values"):
        harmonise(np.array([0.0, 1.0, value]), {1: LV}, "file.nii")


def test_one_hot_is_one_hot() -> None:
    labels = torch.randint(0, 4, (2, 5, 5), generator=torch.Generator().manual_seed(0))
    assert torch.equal(one_hot(labels).argmax(1), labels)
    assert torch.equal(one_hot(labels).sum(1), torch.ones(2, 5, 5))


def test_seeds_are_addresses() -> None:
    seeds = {derive_seed(0, "noise", i) for i in range(1000)} | {derive_seed(0, "order", i) for i in range(1000)}
    assert len(seeds) == 2000
    assert all(0 <= seed < 2**63 for seed in seeds)
    draws = [torch.randn(3, generator=torch_generator(1, "x", 2)) for _ in range(2)]
    assert torch.equal(*draws)


def test_the_learning_rate_depends_on_progress_alone() -> None:
    rates = [learning_rate_factor(s, s / 100, warmup_steps=10, decay_fraction=0.3) for s in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:71] == pytest.approx([1.0] * 62)
    assert all(a > b for a, b in pairwise(rates[70:]))
    assert rates[-1] == pytest.approx(0)
    assert learning_rate_factor(50, 1.0, warmup_steps=0, decay_fraction=0.0) == 1
    assert Budget(steps=4).progress(9, 0) == 1


def test_a_data_set_reads_back_as_it_was_written(toy_folder: Path) -> None:
    slices = load_slices(toy_folder, "test")
    assert (len(slices), slices.images.shape[1:], slices.annotated_labels) == (18, (16, 16), (LV, MYO, RV))
    assert 0 <= slices.images.min() < slices.images.max() <= 1
    assert slices.patients == ["toy-0008", "toy-0009", "toy-0010"]
    both = load_slices(f"{toy_folder}:train+test", "ignored")
    assert len(both) == 36 + 18
    np.testing.assert_array_equal(both.images[36:], slices.images)
    part = slices.select(slices.phase == "ED")
    assert set(part.phase) == {"ED"}
    assert len(part.masks) == len(part) == 9
    assert (
        load_slices(toy_folder, "test").fingerprint
        == slices.fingerprint
        != load_slices(toy_folder, "train").fingerprint
    )


def test_what_is_not_there_is_refused_by_name(toy_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no split 'tset' \(found \['test', 'train', 'validation'\]\)"):
        load_split(f"{toy_folder}:tset", "train")
    with pytest.raises(InputError, match="no such folder"):
        load_split(tmp_path / "nothing", "train")
    with pytest.raises(InputError, match="no Parquet files"):
        load_split(tmp_path, "train")


def test_the_fingerprint_sees_conditions(toy_folder: Path) -> None:
    rows = load_split(toy_folder, "test")
    other = rows.remove_columns("vendor").add_column("vendor", ["C"] * len(rows))
    assert to_slices(rows, "a").fingerprint != to_slices(other, "b").fingerprint
