"""Spatially-adaptive normalisation keeps what a mask says, computes it once, and costs what concatenation costs."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from cmrsynth.labels import one_hot
from cmrsynth.models import ConditionEncoder, MaskUNet, SpadeUNet
from cmrsynth.models.unet_spade import ModulatedBlock, SpatialModulation
from cmrsynth.pipelines import MaskDiffusionPipeline, RectifiedFlowPipeline


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def network() -> SpadeUNet:
    made = SpadeUNet(sample_size=16, block_out_channels=(8, 8, 16), attention_levels=(2,))
    generator = torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return made.eval()


def filled(label: int, size: int = 16) -> torch.Tensor:
    return one_hot(torch.full((1, size, size), label))


def spread_between_classes(network: SpadeUNet) -> float:
    """The largest difference between the outputs for masks that hold one class everywhere."""
    with torch.no_grad():
        outputs = [network(normal(1, 1, 16, 16), 500.0, mask=filled(label)).sample for label in range(4)]
    return max((a - b).abs().max().item() for a in outputs for b in outputs)


def test_one_class_everywhere_is_told_from_another(network, monkeypatch) -> None:
    assert spread_between_classes(network) > 0.05
    plain = SpatialModulation.forward

    def normalised(self, mask):  # planted: what MONAI's SPADE blocks do to gamma and beta
        return F.instance_norm(plain(self, mask))

    monkeypatch.setattr(SpatialModulation, "forward", normalised)
    assert spread_between_classes(network) < 1e-5


@torch.no_grad()
def test_a_constant_mask_gives_constant_maps_to_the_border(network) -> None:
    for maps in network.prepare_mask(filled(2)):
        torch.testing.assert_close(maps, maps[:, :, :1, :1].expand_as(maps))
    shown, hidden = network.prepare_mask(filled(0)), network.prepare_mask(torch.zeros(1, 4, 16, 16))
    assert all((a - b).abs().max() > 0.01 for a, b in zip(shown, hidden, strict=True))


@torch.no_grad()
def test_maps_scale_by_one_plus_gamma_and_shift_by_beta() -> None:
    block = ModulatedBlock(8, 8, embedding_dim=4, mask_channels=4)
    torch.nn.init.normal_(block.conv_2.weight, std=0.2, generator=torch.Generator().manual_seed(0))
    hidden, embedding, gamma, beta = normal(2, 8, 6, 6), normal(2, 4), normal(2, 8, 6, 6, seed=1), normal(2, 8, 6, 6)
    normalised = F.group_norm(block.conv_1(F.silu(block.norm_1(hidden))), 8)
    scale, shift = block.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
    modulated = (normalised * (1 + gamma) + beta) * (1 + scale) + shift
    expected = hidden + block.conv_2(F.silu(modulated))
    torch.testing.assert_close(block(hidden, embedding, torch.cat([gamma, beta], dim=1)), expected)
    torch.testing.assert_close(block(hidden, embedding, torch.zeros(2, 16, 6, 6)), block(hidden, embedding))


@torch.no_grad()
def test_the_mask_acts_where_it_is(network) -> None:
    left = filled(0)
    left[:, :, :, :1] = filled(3)[:, :, :, :1]  # one column at the left border is another class
    full_resolution = [network.prepare_mask(mask)[-1] for mask in (filled(0), left)]
    change = (full_resolution[0] - full_resolution[1]).abs().amax(dim=(0, 1, 2))
    assert change[0] > 0.01
    assert change[3:].max() < 1e-6  # two 3x3 convolutions reach two positions further


def operations(call) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops()


def test_a_prepared_step_costs_no_more_than_concatenation_and_less_than_recomputing() -> None:
    spade, concatenation = SpadeUNet(), MaskUNet()
    sample, mask = normal(1, 1, 64, 64), filled(1, 64)
    prepared = spade.prepare_mask(mask)
    once = operations(lambda: spade.prepare_mask(mask))
    step = operations(lambda: spade(sample, 500.0, prepared=prepared))
    recomputed = operations(lambda: spade(sample, 500.0, mask=mask))
    assert recomputed == once + step
    assert once < 0.25 * step
    beside = operations(lambda: concatenation(sample, 500.0, prepared=concatenation.prepare_mask(mask)))
    assert step < 1.02 * beside


@pytest.mark.parametrize(
    ("guidance", "masks"),
    [({}, 1), ({"guidance_scale": 2.0, "mask_guidance_scale": 3.0}, 2)],  # guidance needs the mask's absence too
)
def test_a_sampler_computes_the_maps_once_for_all_its_steps(network, guidance: dict[str, float], masks: int) -> None:
    encoder = ConditionEncoder(network.embedding_dim)
    schedulers = {RectifiedFlowPipeline: FlowMatchEulerDiscreteScheduler(), MaskDiffusionPipeline: DDIMScheduler()}
    for pipeline_class, scheduler in schedulers.items():
        pipeline = pipeline_class(network, encoder, scheduler, condition_dropout=0.1)
        pipeline.set_progress_bar_config(disable=True)
        maps, steps = [], []
        hooks = [network.register_forward_hook(lambda *_, steps=steps: steps.append(1))]
        for block in network.modules():
            if isinstance(block, SpatialModulation):
                hooks.append(block.register_forward_hook(lambda module, *_, maps=maps: maps.append(module)))
        pipeline(filled(1), num_inference_steps=6, **guidance)
        for hook in hooks:
            hook.remove()
        assert len(steps) >= 6
        assert {maps.count(module) for module in maps} == {masks}  # whatever the steps
