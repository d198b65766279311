"""All attacks on a denoiser by name, and how they are run over many images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from cmrsynth.attacks.denoiser import Denoiser
from cmrsynth.attacks.frequency import FCRE
from cmrsynth.attacks.loss import FlowLoss, Loss
from cmrsynth.attacks.noise import SharedNoise
from cmrsynth.attacks.queries import PIA, SimA
from cmrsynth.attacks.trajectories import ReDiffuse, SecMI

if TYPE_CHECKING:
    from torch import Tensor


class Attack(Protocol):
    """Settings of one attack, and how it scores a batch."""

    @property
    def made_with(self) -> str:
        """What the attack did, in a few words."""
        ...

    @property
    def fusion(self) -> str:
        """How the columns of `features` become one score; see `cmrsynth.attacks.fusion`."""
        ...

    def features(self, denoiser: Denoiser, images: Tensor, noise: SharedNoise) -> Tensor:
        """Return (B, k) for images (B, C, H, W) in [-1, 1], or latents; every column is higher for members."""
        ...


ATTACKS: dict[str, Attack] = {
    "velocity": FlowLoss(),
    "loss": Loss(),
    "secmi": SecMI(),
    "pia": PIA(),
    "pian": PIA(normalised=True),
    "sima": SimA(),
    "rediffuse": ReDiffuse(),
    "fcre": FCRE(),
    "fcre_logreg": FCRE(score="logreg"),
}
QUICK = ("velocity", "pia", "sima")  # 15 network calls an image; all attacks together need 158


def score_images(
    attacks: Mapping[str, Attack],
    bind_rows: Callable[[slice], Denoiser],
    images: Tensor,
    *,
    seed: int,
    batch: int = 32,
    bf16: bool = False,
    description: str = "Attacking",
) -> dict[str, np.ndarray]:
    """Return the features of every attack for every image.

    Args:
        attacks: by name.
        bind_rows: returns the denoiser with the conditions of these rows.
        images: (N, C, H, W) in [-1, 1], or latents.
        seed: names the noise, which all images share.
        batch: images at a time.
        bf16: run the networks (not what is done with their output) in bfloat16.
        description: of the progress bar.

    Returns:
        Per attack (N, k) float64.
    """
    import torch
    from rich.progress import track

    noise, found = SharedNoise(seed), {name: [] for name in attacks}
    with torch.inference_mode():
        for start in track(range(0, len(images), batch), description=description, transient=True):
            rows = slice(start, start + batch)
            denoiser = _InPrecision(bind_rows(rows), bf16)
            for name, attack in attacks.items():
                found[name].append(attack.features(denoiser, images[rows], noise).double().cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


@dataclass(frozen=True)
class _InPrecision:
    denoiser: Denoiser
    bf16: bool

    @property
    def alphas_cumprod(self) -> object:
        return getattr(self.denoiser, "alphas_cumprod", None)

    def predict_noise(self, point: Tensor, alpha_bar: float) -> Tensor:
        import torch

        with torch.autocast(point.device.type, torch.bfloat16) if self.bf16 else nullcontext():
            return self.denoiser.predict_noise(point, alpha_bar).float()

    def average_velocity(self, point: Tensor, t: float) -> Tensor:
        import torch

        with torch.autocast(point.device.type, torch.bfloat16) if self.bf16 else nullcontext():
            return self.denoiser.average_velocity(point, t).float()
