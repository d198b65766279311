from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmrsynth.errors import InputError
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.swap import SwapJudge, swap_lines
from cmrsynth.evaluation.swap_picture import draw_swap

SETTINGS = EvaluationSettings(resamples=60)
BACKGROUND = {"A": 0.32, "B": 0.5}


@pytest.fixture(scope="module")
def judge(stacked) -> SwapJudge:
    train, holdout = (stacked.stacked_set(name, 12, seed=seed) for seed, name in enumerate(("train", "holdout")))
    return SwapJudge(train, holdout, stacked.BrightnessEncoder(), stacked.ThresholdSegmenter(), SETTINGS)


def repainted(slices, vendor: str) -> np.ndarray:
    """The background of a vendor around the hearts of the slices: a perfect swap."""
    noise = np.random.default_rng(0).normal(0, 0.01 if vendor == "A" else 0.02, slices.images.shape)
    return np.where(slices.masks == 0, BACKGROUND[vendor] + noise, slices.images).astype(np.float32)


def test_a_perfect_swap_is_taken_for_the_other_vendor_and_keeps_the_mask(judge) -> None:
    lines, made = swap_lines(judge, {"attribute": repainted})
    assert [(line.style, line.target, line.patients) for line in lines] == [
        ("attribute", "A", 6),
        ("attribute", "B", 6),
    ]
    for line in lines:
        assert line.recognised.value > 0.9
        assert line.floor.value > 0.9
        assert line.control.value < 0.1
        assert line.adherence.value == pytest.approx(line.adherence_floor.value, abs=0.05)
        assert line.recognised.interval[0] > line.control.interval[1]
        assert line.per_source == {{"A": "B", "B": "A"}[line.target]: line.recognised.value}
    assert line.as_json()["recognised"]["value"] == line.recognised.value
    assert made["attribute"]["A"].shape == judge.of_others("A").images.shape


def test_images_in_their_own_look_are_not_taken_for_another(judge) -> None:
    for line in swap_lines(judge, {"nothing": lambda slices, vendor: slices.images})[0]:
        assert line.recognised == line.control
        assert line.recognised.value < 0.1
        assert line.adherence == line.adherence_floor


def test_real_images_of_the_other_vendor_do_not_follow_the_masks(judge) -> None:
    def strangers(slices, vendor: str) -> np.ndarray:
        theirs = judge.holdout.images[judge.holdout.vendor == vendor]
        return np.roll(theirs, 7, axis=0)[: len(slices)]

    for line in swap_lines(judge, {"strangers": strangers})[0]:
        assert line.recognised.value > 0.9
        assert line.adherence.value < line.adherence_floor.value - 0.2


def test_the_picture_shows_masks_real_slices_and_looks(judge, tmp_path) -> None:
    _, made = swap_lines(judge, {"attribute": repainted})
    draw_swap(judge, made["attribute"], "A", tmp_path / "swap.png")
    assert (tmp_path / "swap.png").read_bytes()[:4] == b"\x89PNG"


def test_one_vendor_alone_or_too_few_images_are_refused(judge, stacked) -> None:
    part = stacked.stacked_set("train", 12, seed=0)
    alone = replace(part, vendor=np.full(len(part), "A"))
    with pytest.raises(InputError, match="fewer than two vendors"):
        SwapJudge(alone, part, judge.encoder, judge.segmenter, SETTINGS)
    with pytest.raises(ValueError, match="make one per mask"):
        judge.line("attribute", "A", judge.of_others("A").images[:3])
