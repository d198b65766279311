"""The picture that shows, while training, what the model has learned so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from skimage.segmentation import find_boundaries

from cmrsynth.conditions import known_conditions
from cmrsynth.data.loading import SliceSet
from cmrsynth.labels import one_hot
from cmrsynth.seeds import torch_generator

COLOURS = np.array([[0, 0, 0], [230, 75, 60], [70, 190, 90], [80, 140, 255]], np.float32) / 255  # LV, MYO, RV


def outlined(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return grey images (N, H, W) in [0, 1] as RGB (N, H, W, 3) with the outlines of their masks (N, H, W)."""
    rgb = np.repeat(images[..., None], 3, axis=-1)
    for picture, mask in zip(rgb, masks, strict=True):
        edge = find_boundaries(mask, mode="inner") & (mask > 0)
        picture[edge] = COLOURS[mask[edge]]
    return rgb


def write_sample_grid(pipeline: Any, slices: SliceSet, path: Path, *, seed: int, **sampling: Any) -> np.ndarray:
    """Sample one image per slice's mask and write rows of real, synthetic, synthetic with the mask's outline.

    Args:
        pipeline: any of this project's.
        slices: a handful of real slices.
        path: PNG file to write.
        seed: of the noise; equal seeds let grids of different steps be compared.
        sampling: options of the pipeline's call, such as num_inference_steps.

    Returns:
        (H, W, 3) uint8, the picture.
    """
    pipeline.set_progress_bar_config(disable=True)
    mask = one_hot(torch.from_numpy(slices.masks)) if pipeline.mask_channels else None
    images = pipeline(
        mask,
        **({} if pipeline.mask_channels else {"batch_size": len(slices)}),
        **known_conditions(pipeline, slices),
        **sampling,
        generator=[torch_generator(seed, "grid", i) for i in range(len(slices))],
        output_type="np",
    ).images[..., 0]
    real = np.repeat(slices.images[..., None], 3, axis=-1)
    plain = np.repeat(images[..., None], 3, axis=-1)
    rows = [np.concatenate(list(row), axis=1) for row in (real, plain, outlined(images, slices.masks))]
    picture = (np.concatenate(rows, axis=0) * 255).round().astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    enlarged = Image.fromarray(picture).resize((picture.shape[1] * 2, picture.shape[0] * 2), Image.Resampling.NEAREST)
    enlarged.save(path)
    return picture
