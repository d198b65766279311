"""Every network in the forms that make it faster: channels last, bfloat16, compiled."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from cmrsynth.labels import one_hot
from cmrsynth.models import MODELS
from cmrsynth.models.discriminator_patch import PatchDiscriminator

SIZE, WIDTHS = 16, (8, 8, 16)
UNET = {"sample_size": SIZE, "block_out_channels": WIDTHS}
VECTOR = {**UNET, "latent_dim": 8, "embedding_dim": 8}
ENCODER = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
OPTIONS = {
    "ConditionEncoder": {"embedding_dim": 8, "vocabularies": {"vendor": ["A", "B"]}},
    "DurationEncoder": {"embedding_dim": 8},
    "MaskUNet": UNET,
    "SpadeUNet": UNET,
    "MaskDiT": {**UNET, "num_layers": 2},
    "MaskControlNet": UNET,
    "SpadeGenerator": {**UNET, "style_dim": 8, "layout_channels": 8},
    "StyleEncoder": {"style_dim": 8, "block_out_channels": WIDTHS},
    "DcganGenerator": VECTOR,
    "ResidualGenerator": VECTOR,
    "CardiacVAE": {**UNET, "latent_dim": 8},
    "MaskVAE": {**UNET, "latent_dim": 8},
    "AutoencoderKL": {
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": (8, 8),
        "norm_num_groups": 4,
        **ENCODER,
    },
    "PatchDiscriminator": {"mask_channels": 4, "widths": (8, 16), "scales": 1},
}


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def given(name: str, dtype: torch.dtype = torch.float32, memory_format: torch.memory_format = torch.contiguous_format):
    """The arguments of a network's call."""
    mask = one_hot(torch.randint(0, 4, (2, SIZE, SIZE), generator=torch.Generator().manual_seed(0)))
    image, vector, time = normal(2, 1, SIZE, SIZE), normal(2, 8), torch.tensor([100.0, 900.0])
    denoiser = (image, time, mask)
    arguments = {
        "ConditionEncoder": (torch.tensor([[0.0], [2.0]]),),
        "DurationEncoder": (torch.tensor([0.25, 1.0]),),
        **dict.fromkeys(("MaskUNet", "SpadeUNet", "MaskDiT", "MaskControlNet"), denoiser),
        "SpadeGenerator": (mask, vector),
        **dict.fromkeys(("DcganGenerator", "ResidualGenerator"), (vector, vector)),
        "CardiacVAE": (image, vector, mask),
        "MaskVAE": (normal(2, 4, SIZE, SIZE), vector),
        "PatchDiscriminator": (image, mask),
    }.get(name, (image,))
    kept = (
        (time, *arguments[:1]) if name in ("ConditionEncoder", "DurationEncoder") else (time,)
    )  # numbers that bfloat16 would round
    cast = [x if any(x is k for k in kept) else x.to(dtype) for x in arguments]
    return [x.contiguous(memory_format=memory_format) if x.ndim == 4 else x for x in cast]


def flat(output) -> Tensor:
    """All numbers of whatever a network returns."""
    if isinstance(output, Tensor):
        return output.float().flatten()
    parts = output.values() if hasattr(output, "values") else output
    return torch.cat([flat(part) for part in parts])


@pytest.fixture(params=list(OPTIONS))
def made(request) -> tuple[str, nn.Module]:
    kinds = {**MODELS, "AutoencoderKL": AutoencoderKL, "PatchDiscriminator": PatchDiscriminator}
    network = kinds[request.param](**OPTIONS[request.param])
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():  # zero-initialised layers would hide what is before them
        nn.init.normal_(parameter, std=0.1, generator=generator)
    return request.param, network.eval()


def test_no_network_is_left_out() -> None:
    assert set(MODELS) <= set(OPTIONS)


@torch.no_grad()
def test_channels_last_changes_nothing(made) -> None:
    name, network = made
    expected = flat(network(*given(name)))
    network.to(memory_format=torch.channels_last)
    found = flat(network(*given(name, memory_format=torch.channels_last)))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_bfloat16_is_near(made) -> None:
    name, network = made
    expected = flat(network(*given(name)))
    found = flat(network.to(torch.bfloat16)(*given(name, torch.bfloat16)))
    assert found.isfinite().all()
    assert (found - expected).norm() < 0.1 * expected.norm()


def compiled_agrees(made: tuple[str, nn.Module], compiler: Callable[[nn.Module], nn.Module], tolerance: float) -> None:
    name, network = made
    expected = flat(network(*given(name)))
    torch.testing.assert_close(flat(compiler(network)(*given(name))), expected, rtol=tolerance, atol=tolerance)


@torch.no_grad()
def test_the_graph_is_traced_in_one_piece(made) -> None:
    compiled_agrees(made, lambda network: torch.compile(network, backend="eager", fullgraph=True), 1e-5)


@pytest.mark.slow  # a C++ compiler works for a minute
@pytest.mark.timeout(1800)
@torch.no_grad()
def test_compiled_code_computes_the_same(made) -> None:
    compiled_agrees(made, torch.compile, 1e-3)
