"""The segmentation network that measures adherence and utility, trained the same way every time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmrsynth.seeds import torch_generator

if TYPE_CHECKING:
    import torch

CHANNELS = (16, 32, 64, 128)  # feature maps at 1/2, 1/4, 1/8 and 1/8 of the size; 0.4 M parameters
STRIDE = 8  # image sides are padded to a multiple of this
ROTATION_DEGREES, SHIFT, ZOOM, GAIN, GAMMA = 12.0, 0.08, 0.12, 0.15, 0.25  # half-widths of the augmentation
PROTOCOL = "MONAI UNet, DiceCE, AdamW 3e-3 cosine, v2"  # part of the key under which weights are reused


@dataclass(frozen=True)
class Segmenter:
    """A trained segmentation network.

    Args:
        network: maps (B, 1, H, W) standardised images to (B, 1 + len(labels), H, W) logits.
        labels: the foreground labels, in the order of its output channels after background.
        path: the safetensors file.
        facts: name, sha256, parameters, updates, ... for the report.
    """

    network: torch.nn.Module
    labels: tuple[int, ...]
    path: Path
    facts: dict[str, Any]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return label maps.

        Args:
            images: (N, H, W) float32 in [0, 1].

        Returns:
            (N, H, W) uint8 in the label map of `cmrsynth.labels`.
        """
        values = np.array((0, *self.labels), np.uint8)
        parts = [values[logits.argmax(1).numpy()] for logits in self._logits(images)]
        return np.concatenate(parts)

    def _logits(self, images: np.ndarray) -> Iterator[torch.Tensor]:
        import torch

        height, width = images.shape[1:]
        with torch.inference_mode():
            for start in range(0, len(images), 64):
                yield self.network(prepare(images[start : start + 64]))[:, :, :height, :width]


def prepare(images: np.ndarray) -> torch.Tensor:
    """Return (N, H, W) images in [0, 1] as the network's input (N, 1, H', W') in [-1, 1], edges repeated to fit."""
    import torch

    height, width = images.shape[1:]
    batch = torch.from_numpy(np.ascontiguousarray(images, np.float32))[:, None] * 2 - 1
    batch = torch.nn.functional.pad(batch, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
    return batch.contiguous(memory_format=torch.channels_last)


def build_network(num_classes: int, seed: int) -> torch.nn.Module:
    """Return the untrained network, its weights drawn from `seed` alone.

    Batch normalisation, not instance normalisation: the encoder built on this network must still see an
    image's brightness and contrast.
    """
    import torch
    from monai.networks.nets import UNet

    with torch.random.fork_rng(devices=[]):
        network = UNet(2, 1, num_classes, channels=CHANNELS, strides=(2, 2, 2), num_res_units=2, norm="BATCH")
    generator = torch_generator(seed, "segmenter weights")
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            torch.nn.init.kaiming_normal_(module.weight, a=0.25, generator=generator)
            torch.nn.init.zeros_(module.bias)
    return network.to(memory_format=torch.channels_last)


def train_segmenter(
    images: np.ndarray,
    masks: np.ndarray,
    labels: Sequence[int],
    *,
    updates: int,
    batch_size: int,
    seed: int,
    path: Path,
) -> Segmenter:
    """Return a segmenter trained for `updates` updates, or the one saved in `path` if it is the same.

    Args:
        images: (N, H, W) float32 in [0, 1].
        masks: (N, H, W) in the label map of `cmrsynth.labels`; labels not in `labels` count as background.
        labels: the annotated foreground labels.
        updates: optimiser updates; the number of images does not change it.
        batch_size: images in one update.
        seed: names the weights, the batches and the augmentation.
        path: safetensors file. One whose recorded data and settings agree is loaded instead of trained.
    """
    labels = tuple(labels)
    key = {
        "protocol": PROTOCOL,
        "images": sha256(np.ascontiguousarray(images).tobytes()).hexdigest(),
        "masks": sha256(np.ascontiguousarray(masks).tobytes()).hexdigest(),
        "labels": list(labels),
        "updates": updates,
        "batch_size": batch_size,
        "seed": seed,
    }
    network = build_network(len(labels) + 1, seed)
    if _saved_key(path) != key:
        _fit(network, images, _class_indices(masks, labels), updates, batch_size, seed, path.stem)
        _save(network, key, path)
    return _load(network, labels, key, path)


def _class_indices(masks: np.ndarray, labels: tuple[int, ...]) -> np.ndarray:
    """Return (N, H, W) int64 output-channel indices of the label maps."""
    table = np.zeros(256, np.int64)
    table[list(labels)] = np.arange(1, len(labels) + 1)
    return table[masks]


def _fit(
    network: torch.nn.Module,
    images: np.ndarray,
    classes: np.ndarray,
    updates: int,
    batch_size: int,
    seed: int,
    title: str,
) -> None:
    import torch
    from monai.losses import DiceCELoss
    from rich.progress import track

    loss_of = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-4)
    warmup = max(1, updates // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda u: min(1.0, (u + 1) / warmup) * 0.5 * (1 + np.cos(np.pi * min(1.0, u / updates)))
    )
    stack, target = prepare(images), _pad_classes(classes)
    batches = _batches(len(images), batch_size, seed)
    generator = torch_generator(seed, "segmenter augmentation")
    network.train()
    for _ in track(range(updates), description=f"Training {title}", transient=True):
        rows = next(batches)
        image, label = augment(stack[rows], target[rows], generator)
        loss = loss_of(network(image), label)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()


def _pad_classes(classes: np.ndarray) -> torch.Tensor:
    import torch

    height, width = classes.shape[1:]
    return torch.from_numpy(np.pad(classes, ((0, 0), (0, -height % STRIDE), (0, -width % STRIDE))))[:, None]


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


def augment(
    images: torch.Tensor, classes: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and labels under one mild random transform per image.

    Rotation, zoom and shift move both; gain and gamma change intensities. No flips: a mirrored heart is not a
    heart (dextrocardia), and left-right is how a network tells the right ventricle from the left.

    Args:
        images: (B, 1, H, W) in [-1, 1].
        classes: (B, 1, H, W) int64.
        generator: where the transforms are drawn from.
    """
    import torch

    uniform = torch.rand((6, len(images)), generator=generator) * 2 - 1  # one row per kind of transform
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


def _saved_key(path: Path) -> dict[str, Any] | None:
    from safetensors import safe_open

    if not path.exists():
        return None
    with safe_open(str(path), "pt") as file:
        return json.loads((file.metadata() or {}).get("key", "null"))


def _save(network: torch.nn.Module, key: dict[str, Any], path: Path) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(weights, str(partial), metadata={"key": json.dumps(key)})
    partial.replace(path)


def _load(network: torch.nn.Module, labels: tuple[int, ...], key: dict[str, Any], path: Path) -> Segmenter:
    from safetensors.torch import load_file

    network.load_state_dict(load_file(str(path)))
    network.eval().requires_grad_(False)
    facts = {
        "name": path.stem,
        "file": path.name,
        "sha256": sha256(path.read_bytes()).hexdigest(),
        "parameters": sum(p.numel() for p in network.parameters()),
        **{name: key[name] for name in ("protocol", "labels", "updates", "batch_size", "seed")},
    }
    return Segmenter(network, labels, path, facts)
