"""The picture of a swap: one vendor's masks and real slices, and below them the same masks in every other look."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cmrsynth.evaluation.pictures import canvas_of, in_style, show_slice, write_canvas
from cmrsynth.evaluation.swap import SwapJudge
from cmrsynth.labels import NUM_LABELS

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

SHOWN = 8  # masks


def draw_swap(judge: SwapJudge, made: Mapping[str, np.ndarray], source: str, path: Path) -> None:
    """Write a PNG of masks of `source`, their real slices, and the slices in the look of each other vendor.

    Args:
        judge: knows the real slices.
        made: per vendor the images (N, H, W) of the masks of all others, see `SwapJudge.of_others`.
        source: the vendor of the masks.
        path: file to write.
    """
    real = judge.holdout.select(judge.holdout.vendor == source)
    largest = np.argsort((real.masks > 0).sum((1, 2)))[len(real) // 2 :]  # an apical slice shows little heart
    rows = np.sort(largest)[np.linspace(0, len(largest) - 1, min(SHOWN, len(largest))).astype(int)]
    targets = [value for value in judge.values if value != source]
    looks = {f"as {value}": made[value][judge.of_others(value).vendor == source][rows] for value in targets}
    shown = {f"mask of {source}": real.masks[rows] / (NUM_LABELS - 1), f"real, {source}": real.images[rows], **looks}

    def draw() -> Canvas:
        canvas, axes = canvas_of(len(shown), len(rows), 1.1 * len(rows), 1.15 * len(shown))
        for line, (name, images) in zip(axes, shown.items(), strict=True):
            line[0].set_ylabel(name)
            for place, image, mask in zip(line, images, real.masks[rows], strict=True):
                show_slice(place, image, None if name.startswith("mask") else mask)
        return canvas

    write_canvas(in_style(draw), path)
