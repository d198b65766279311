"""A small network that finds the heart, fitted on the masks of training patients only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from cmrsynth.data.geometry import resample_images, window, window_start
from cmrsynth.data.intensity import rescale
from cmrsynth.data.preprocessing import Step, apply
from cmrsynth.data.study import PatientEntry, Study
from cmrsynth.errors import InputError
from cmrsynth.seeds import derive_seed, torch_generator

GRID = 64  # the network sees GRID x GRID pixels ...
GRID_MM = 4.0  # ... of this size: 256 mm, centred as the image is
CELL = 4  # side of an output cell in grid pixels
MAX_SHIFT = 10  # random shift in training, in grid pixels: the heart is not always in the middle
BATCH = 16


def heart_network() -> nn.Sequential:
    """Return the untrained network: (B, 1, 64, 64) in [0, 1] to (B, 1, 16, 16) logits of "heart here".

    Dilated convolutions let every output see most of the slice: the heart is found by its surroundings.
    """
    layers: list[nn.Module] = []
    channels = (1, 16, 24, 24, 24, 24, 24)
    for number, (before, after) in enumerate(pairwise(channels)):
        stride, dilation = (2, 1) if number < 2 else (1, 2 ** (number - 2))
        layers.append(skip_init(nn.Conv2d, before, after, 3, stride=stride, padding=dilation, dilation=dilation))
        layers.append(nn.SiLU())
    return nn.Sequential(*layers, skip_init(nn.Conv2d, channels[-1], 1, 1))


@dataclass(frozen=True)
class HeartNetwork:
    """A localiser: the centre of where the network sees heart, over all slices and frames of a study.

    Args:
        network: as fitted by `fit`.
        num_patients: how many training patients it was fitted on.
    """

    FILE = "localiser.safetensors"

    network: nn.Sequential
    num_patients: int

    @torch.no_grad()
    def centre(self, study: Study) -> tuple[float, float]:
        """Return the heart's centre as (row, column) in pixels of the study; the masks are not read."""
        images = torch.from_numpy(np.concatenate([_on_grid(v.image, study)[0] for v in study.volumes]))
        heat = self.network(images[:, None]).sigmoid().mean(dim=(0, 1)).double().numpy()
        heat = np.where(heat > 0.5 * heat.max(), heat, 0)
        position = (np.indices(heat.shape) * heat).sum(axis=(1, 2)) / heat.sum()
        position = position * CELL + (CELL - 1) / 2
        return _from_grid(position, study)

    def to_bytes(self) -> bytes:
        """Return the weights as a safetensors file."""
        return safetensors.torch.save({k: v.contiguous() for k, v in self.network.state_dict().items()})

    @classmethod
    def from_bytes(cls, weights: bytes, *, num_patients: int) -> HeartNetwork:
        """Return the localiser saved by `to_bytes`."""
        network = heart_network()
        network.load_state_dict(safetensors.torch.load(weights))
        return cls(network.eval(), num_patients)

    def describe(self) -> dict:
        """Return what is recorded in the card."""
        return {
            "localiser": "network",
            "file": self.FILE,
            "sha256": hashlib.sha256(self.to_bytes()).hexdigest(),
            "training_patients": self.num_patients,
        }


def _grid_starts(study: Study) -> tuple[tuple[float, float], tuple[int, int], tuple[int, int]]:
    """Return the resampling ratios, the size after resampling, and where the grid begins in it."""
    ratios = (GRID_MM / study.pixel_spacing[0], GRID_MM / study.pixel_spacing[1])
    shape = study.volumes[0].image.shape[-2:]
    sizes = tuple(max(1, int(np.floor(n / r + 0.5))) for n, r in zip(shape, ratios, strict=True))
    return ratios, sizes, tuple(window_start((n - 1) / 2, GRID, n) for n in sizes)


def _on_grid(images: np.ndarray, study: Study, masks: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    ratios, _, start = _grid_starts(study)
    image = resample_images(images, ratios, kernel="linear")
    image = window(rescale(image, *map(float, np.percentile(image, [1, 99]))), GRID, start, 0.0)
    if masks is None:
        return image, None
    return image, window(resample_images(masks > 0, ratios, kernel="linear"), GRID, start, 0.0)


def _from_grid(position: np.ndarray, study: Study) -> tuple[float, float]:
    ratios, sizes, starts = _grid_starts(study)
    shape = study.volumes[0].image.shape[-2:]
    row, column = (
        (p + start - (size - 1) / 2) * ratio + (length - 1) / 2
        for p, start, size, ratio, length in zip(position, starts, sizes, ratios, shape, strict=True)
    )
    return float(row), float(column)


def fit(studies: Iterable[Study], *, seed: int = 0, num_steps: int = 300) -> HeartNetwork:
    """Return a localiser fitted on the masks of `studies`.

    Only 64 x 64 copies of the slices are kept, so the studies may be streamed.

    Args:
        studies: training patients only; a test patient here would leak its mask into its crop.
        seed: of the weights and the batches; the same seed gives the same weights on one machine.
        num_steps: optimizer steps of batch 16.

    Raises:
        InputError: there is no study.
    """
    from rich.progress import track

    images, targets, patients = [], [], 0
    for study in studies:
        patients += 1
        for volume in study.volumes:
            image, target = _on_grid(volume.image, study, volume.mask)
            images.append(image)
            targets.append(target)
    if not images:
        raise InputError("localiser", "no training patient to fit the network on", "use --localiser auto")
    network = heart_network()
    _initialise(network, torch_generator(seed, "localiser", "weights"))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    slices, masks = np.concatenate(images), np.concatenate(targets)
    for step in track(range(num_steps), description="fitting the localiser"):
        image, target = _batch(slices, masks, np.random.default_rng(derive_seed(seed, "localiser", step)))
        loss = nn.functional.binary_cross_entropy_with_logits(network(image), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return HeartNetwork(network.eval(), patients)


def _initialise(network: nn.Sequential, generator: torch.Generator) -> None:
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)


def _batch(images: np.ndarray, masks: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return (B, 1, 64, 64) shifted slices and (B, 1, 16, 16) shares of heart."""
    rows = rng.integers(len(images), size=BATCH)
    starts = rng.integers(-MAX_SHIFT, MAX_SHIFT + 1, size=(BATCH, 2))
    pairs = [
        (window(images[row], GRID, tuple(start), 0.0), window(masks[row], GRID, tuple(start), 0.0))
        for row, start in zip(rows, starts, strict=True)
    ]
    image, mask = (torch.from_numpy(np.stack(part))[:, None] for part in zip(*pairs, strict=True))
    return image, nn.functional.avg_pool2d(mask, CELL)


def fit_on_patients(
    entries: Sequence[PatientEntry], steps: Sequence[Step], *, seed: int = 0, skip_bad: bool = False
) -> HeartNetwork:
    """Return a localiser fitted on patients as they are after `steps`.

    Args:
        entries: training patients only.
        steps: what runs before the crop.
        seed: see `fit`.
        skip_bad: leave out patients that cannot be read instead of raising.

    Raises:
        InputError: a patient cannot be read, or none can.
    """

    def readable() -> Iterator[Study]:
        for entry in entries:
            try:
                yield apply(steps, entry.load())
            except InputError:
                # Not lost: the build meets the same patient again and lists it as left out.
                if not skip_bad:
                    raise

    return fit(readable(), seed=seed)
