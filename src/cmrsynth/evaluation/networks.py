"""The networks of the evaluation, built so that a seed alone decides their weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cmrsynth.errors import InputError
from cmrsynth.seeds import torch_generator

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Architecture:
    """A segmentation network and the learning rate it is trained with.

    Args:
        name: "unet" or "dynunet".
        filters: feature maps of each stage; the size halves from one stage to the next.
        learning_rate: the peak of the cosine schedule.
    """

    name: str
    filters: tuple[int, ...]
    learning_rate: float

    @property
    def stride(self) -> int:
        """Image sides are padded to a multiple of this."""
        return 2 ** (len(self.filters) - 1)

    @property
    def protocol(self) -> str:
        """How it is built and trained; part of the key under which weights are reused."""
        kind = {"unet": "MONAI UNet", "dynunet": "MONAI DynUNet 2-D"}[self.name]
        filters = "-".join(map(str, self.filters))
        return f"{kind} {filters}, DiceCE, AdamW {self.learning_rate:g} cosine, v3"


UNET = Architecture("unet", (16, 32, 64, 128), 3e-3)  # 0.4 M parameters; the cardiac encoder stands on it
DYNUNET = Architecture("dynunet", (32, 64, 128, 256, 512), 1e-3)  # 7.8 M parameters
ARCHITECTURES = {a.name: a for a in (UNET, DYNUNET)}


def architecture(name: str, filters: tuple[int, ...] = ()) -> Architecture:
    """Return the architecture called `name`, with other filters than its own where some are given.

    Raises:
        InputError: there is no such architecture, or the filters are not two or more positive numbers.

    >>> architecture("dynunet", (8, 16, 32)).stride
    4
    """
    if name not in ARCHITECTURES:
        raise InputError(f"--segmenter {name}", "no such network", f"choose one of {', '.join(ARCHITECTURES)}")
    if not filters:
        return ARCHITECTURES[name]
    if len(filters) < 2 or min(filters) < 1:
        raise InputError("--filters", f"{filters} is no list of stages", "give two or more numbers, as in 16,32,64,128")
    return replace(ARCHITECTURES[name], filters=tuple(filters))


def build_network(num_classes: int, seed: int, kind: Architecture = UNET) -> torch.nn.Module:
    """Return the untrained network, its weights drawn from `seed` alone.

    The UNet has batch normalisation: the encoder built on it must still see an image's brightness and contrast.
    The DynUNet has instance normalisation, as in nnU-Net (Isensee et al. 2021), which forgives a change of scanner.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        network = (_dynunet if kind.name == "dynunet" else _unet)(num_classes, kind.filters)
    return seeded(network, seed, "segmenter weights")


def seeded(network: torch.nn.Module, seed: int, stream: str) -> torch.nn.Module:
    """Return `network` with the weights of its convolutions drawn anew from `(seed, stream)`."""
    import torch

    generator = torch_generator(seed, stream)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            torch.nn.init.kaiming_normal_(module.weight, a=0.25, generator=generator)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    return network.to(memory_format=torch.channels_last)


def prepare(images: np.ndarray, stride: int = UNET.stride) -> torch.Tensor:
    """Return (N, H, W) images in [0, 1] as a network's input (N, 1, H', W') in [-1, 1], edges repeated to fit."""
    import torch

    height, width = images.shape[1:]
    batch = torch.from_numpy(np.ascontiguousarray(images, np.float32))[:, None] * 2 - 1
    batch = torch.nn.functional.pad(batch, (0, -width % stride, 0, -height % stride), mode="replicate")
    return batch.contiguous(memory_format=torch.channels_last)


def best_device() -> torch.device:
    """Return the accelerator where there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _unet(num_classes: int, filters: tuple[int, ...]) -> torch.nn.Module:
    from monai.networks.nets import UNet

    strides = (2,) * (len(filters) - 1)
    return UNet(2, 1, num_classes, channels=filters, strides=strides, num_res_units=2, norm="BATCH")


def _dynunet(num_classes: int, filters: tuple[int, ...]) -> torch.nn.Module:
    from monai.networks.nets import DynUNet

    down = [2] * (len(filters) - 1)
    return DynUNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=num_classes,
        kernel_size=[3] * len(filters),
        strides=[1, *down],
        upsample_kernel_size=down,
        filters=list(filters),
        norm_name=("INSTANCE", {"affine": True}),
        act_name=("leakyrelu", {"inplace": True, "negative_slope": 0.01}),
        deep_supervision=False,
    )
