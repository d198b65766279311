"""The one training loop of the evaluation: equal updates, mild augmentation, weights reused where nothing changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmrsynth.evaluation.networks import best_device, prepare
from cmrsynth.precision import hardware_precision
from cmrsynth.seeds import torch_generator

if TYPE_CHECKING:
    import torch

ROTATION_DEGREES, SHIFT, ZOOM, GAIN, GAMMA = 12.0, 0.08, 0.12, 0.15, 0.25  # half-widths of the augmentation


@dataclass(frozen=True)
class Budget:
    """How much a network is trained, the same for every set it is trained on.

    Args:
        updates: optimiser updates; the number of images does not change it.
        batch_size: images in one update.
        seed: names the batches and the augmentation.
        learning_rate: the peak of the cosine schedule.
        stride: image sides are padded to a multiple of this.
    """

    updates: int
    batch_size: int
    seed: int
    learning_rate: float
    stride: int


def fit(
    network: torch.nn.Module,
    images: np.ndarray,
    classes: np.ndarray,
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    budget: Budget,
    title: str,
) -> None:
    """Train `network` in place, in bf16 where the hardware computes it, and leave it on the CPU.

    Args:
        network: maps (B, 1, H', W') in [-1, 1] to what `loss_of` takes.
        images: (N, H, W) float32 in [0, 1].
        classes: (N, H, W) int64; moved together with the images by the augmentation.
        loss_of: of the network's output in float32 and the (B, 1, H', W') moved classes.
        budget: how much.
        title: what the progress bar calls it.
    """
    import torch
    from rich.progress import track

    device = best_device()
    network.to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=budget.learning_rate, weight_decay=1e-4)
    warmup = max(1, budget.updates // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda u: min(1.0, (u + 1) / warmup) * 0.5 * (1 + np.cos(np.pi * min(1.0, u / budget.updates)))
    )
    stack, target = prepare(images, budget.stride), _pad_classes(classes, budget.stride)
    batches = _batches(len(images), budget.batch_size, budget.seed)
    generator = torch_generator(budget.seed, "segmenter augmentation")
    for _ in track(range(budget.updates), description=f"Training {title}", transient=True):
        rows = next(batches)
        image, label = augment(stack[rows].to(device), target[rows].to(device), generator)
        with _autocast(device):
            output = network(image)
        loss = loss_of(output.float(), label)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    network.to("cpu")


def predict(network: torch.nn.Module, images: np.ndarray, stride: int) -> Iterator[torch.Tensor]:
    """Yield the network's output in float32 on the CPU for 64 (N, H, W) images at a time."""
    import torch

    device = best_device()
    network.to(device)
    try:
        with torch.inference_mode():
            for start in range(0, len(images), 64):
                yield network(prepare(images[start : start + 64], stride).to(device)).cpu()
    finally:
        network.to("cpu")


def augment(
    images: torch.Tensor, classes: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and labels under one mild random transform per image.

    Rotation, zoom and shift move both; gain and gamma change intensities. No flips: a mirrored heart is not a
    heart (dextrocardia), and left-right is how a network tells the right ventricle from the left.

    Args:
        images: (B, 1, H, W) in [-1, 1].
        classes: (B, 1, H, W) int64.
        generator: where the transforms are drawn from; on the CPU, so that every device gets the same ones.
    """
    import torch

    uniform = torch.rand((6, len(images)), generator=generator) * 2 - 1  # one row per kind of transform
    uniform = uniform.to(images.device)
    angle, zoom = uniform[0] * np.deg2rad(ROTATION_DEGREES), torch.exp(uniform[1] * ZOOM)
    cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    theta = torch.stack(
        [torch.stack([cosine, -sine, uniform[2] * SHIFT], 1), torch.stack([sine, cosine, uniform[3] * SHIFT], 1)], 1
    )
    grid = torch.nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    moved = torch.nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    labels = torch.nn.functional.grid_sample(classes.float(), grid, mode="nearest", align_corners=False)
    gain, gamma = torch.exp(uniform[4] * GAIN), torch.exp(uniform[5] * GAMMA)
    unit = ((moved + 1) / 2).clamp(1e-4, 1) ** gamma[:, None, None, None] * gain[:, None, None, None]
    return (unit * 2 - 1).contiguous(memory_format=torch.channels_last), labels.long()


def data_key(images: np.ndarray, masks: np.ndarray) -> dict[str, str]:
    """Return the hashes that tell one training set from another, and the number format of this machine."""
    return {
        "images": sha256(np.ascontiguousarray(images).tobytes()).hexdigest(),
        "masks": sha256(np.ascontiguousarray(masks).tobytes()).hexdigest(),
        "precision": hardware_precision(),
    }


def trained_or_saved(
    network: torch.nn.Module, key: dict[str, Any], path: Path, train: Callable[[], None]
) -> dict[str, Any]:
    """Leave trained weights in `network`: those of `path` if they were trained under `key`, else those of `train`.

    Args:
        network: the untrained network.
        key: everything that decides the weights, JSON-able.
        path: safetensors file; written if it is not there or holds another key.
        train: trains `network` in place.

    Returns:
        name, file, sha256 and parameters of the network.
    """
    import torch
    from safetensors.torch import load_model

    if _saved_key(path) != key:
        train()
        _save(network, key, path)
    network.to(memory_format=torch.contiguous_format)  # safetensors looks for shared weights, and reads no other format
    load_model(network, str(path))
    network.to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return {
        "name": path.stem,
        "file": path.name,
        "sha256": sha256(path.read_bytes()).hexdigest(),
        "parameters": sum(p.numel() for p in network.parameters()),
    }


def _autocast(device: torch.device) -> AbstractContextManager:
    import torch

    return torch.autocast(device.type, torch.bfloat16) if hardware_precision() == "bf16" else nullcontext()


def _pad_classes(classes: np.ndarray, stride: int) -> torch.Tensor:
    import torch

    height, width = classes.shape[1:]
    return torch.from_numpy(np.pad(classes, ((0, 0), (0, -height % stride), (0, -width % stride))))[:, None]


def _batches(count: int, batch_size: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield batches of rows for ever; every row once before any row twice."""
    import torch

    generator = torch_generator(seed, "segmenter batches")
    queue = torch.empty(0, dtype=torch.long)
    while True:
        while len(queue) < batch_size:
            queue = torch.cat([queue, torch.randperm(count, generator=generator)])
        yield queue[:batch_size]
        queue = queue[batch_size:]


def _saved_key(path: Path) -> dict[str, Any] | None:
    from safetensors import safe_open

    if not path.exists():
        return None
    with safe_open(str(path), "pt") as file:
        return json.loads((file.metadata() or {}).get("key", "null"))


def _save(network: torch.nn.Module, key: dict[str, Any], path: Path) -> None:
    import torch
    from safetensors.torch import save_model

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    # a DynUNet holds its blocks twice, flat and nested: `save_model` writes shared weights once
    network.to(memory_format=torch.contiguous_format)
    save_model(network, str(partial), metadata={"key": json.dumps(key)})
    partial.replace(path)
