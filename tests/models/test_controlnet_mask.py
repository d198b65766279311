"""The ControlNet: silent at first and where there is no mask, trainable everywhere, and at home in both pipelines."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from cmrsynth.labels import one_hot
from cmrsynth.models import ConditionEncoder, MaskControlNet, MaskUNet, SpadeUNet
from cmrsynth.pipelines import MaskDiffusionPipeline, RectifiedFlowPipeline

WIDTHS = (16, 16, 32)
PIPELINES = {
    "flow": (RectifiedFlowPipeline, FlowMatchEulerDiscreteScheduler),
    "diffusion": (MaskDiffusionPipeline, DDIMScheduler),
}


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def randomise(network: torch.nn.Module, std: float = 0.2) -> torch.nn.Module:
    """Give every weight a random value, because zero-initialised layers would hide what is before them."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=std, generator=generator)
    return network.eval()


@pytest.fixture
def unet() -> MaskUNet:
    options = {"mask_channels": 0, "block_out_channels": WIDTHS, "layers_per_block": 2, "attention_levels": (2,)}
    return randomise(MaskUNet(sample_size=16, **options))


@pytest.fixture
def mask() -> torch.Tensor:
    return one_hot(torch.randint(0, 4, (3, 16, 16), generator=torch.Generator().manual_seed(0)))


def pipeline(kind: str, unet: MaskUNet, controlnet: MaskControlNet | None):
    pipeline_class, scheduler = PIPELINES[kind]
    encoder = randomise(ConditionEncoder(unet.embedding_dim, vocabularies={"vendor": ["A", "B"]}))
    pipe = pipeline_class(unet, encoder, scheduler(), controlnet=controlnet, condition_dropout=0.1)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sample(pipe, mask: torch.Tensor | None, seeds: tuple[int, ...] = (1, 2, 3), **options) -> torch.Tensor:
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return pipe(mask, batch_size=len(seeds), generator=generators, num_inference_steps=4, **options).images


@torch.no_grad()
def test_it_begins_as_a_copy_of_the_base_that_changes_nothing(unet, mask) -> None:
    controlnet = MaskControlNet.from_unet(unet)
    copied = controlnet.state_dict()
    shared = [name for name in unet.state_dict() if name.startswith(("time_embedding", "stem", "down"))]
    assert len(shared) > 10
    assert all(torch.equal(unet.state_dict()[name], copied[name]) for name in shared)
    residuals = controlnet(normal(3, 1, 16, 16), 500.0, mask)
    assert [tuple(r.shape) for r in residuals] == [(3, 16, 16, 16), (3, 16, 8, 8), (3, 32, 4, 4)]
    alone = unet(normal(3, 1, 16, 16), 500.0).sample
    assert torch.equal(unet(normal(3, 1, 16, 16), 500.0, residuals=residuals).sample, alone)


@torch.no_grad()
def test_without_the_mask_its_levels_are_those_of_the_base(unet) -> None:
    controlnet = MaskControlNet.from_unet(unet)
    for output in controlnet.outputs:  # planted: let the levels through, in place of the zeros
        torch.nn.init.dirac_(output.weight)
    for convolution in (controlnet.mask_stem, *controlnet.mask_projections):
        torch.nn.init.zeros_(convolution.weight)
    seen = []
    unet.middle.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    unet(normal(2, 1, 16, 16), 300.0, condition=normal(2, 64))
    background = one_hot(torch.zeros(2, 16, 16, dtype=torch.long))
    deepest = controlnet(normal(2, 1, 16, 16), 300.0, background, normal(2, 64))[-1]
    torch.testing.assert_close(deepest, seen[0])


def test_the_zero_convolutions_learn_from_the_first_step_and_the_rest_from_the_second(unet, mask) -> None:
    controlnet = MaskControlNet.from_unet(unet).train()
    unet.requires_grad_(False)
    optimizer = torch.optim.SGD(controlnet.parameters(), lr=0.1)

    def untouched() -> set[str]:
        optimizer.zero_grad()
        residuals = controlnet(normal(3, 1, 16, 16), 500.0, mask, normal(3, unet.embedding_dim))
        unet(normal(3, 1, 16, 16), 500.0, residuals=residuals).sample.square().mean().backward()
        return {n for n, p in controlnet.named_parameters() if p.grad is None or not p.grad.abs().max() > 0}

    assert untouched() == {n for n, _ in controlnet.named_parameters() if not n.startswith("outputs")}
    optimizer.step()
    assert untouched() == set()
    assert all(p.grad is None for p in unet.parameters())


@torch.no_grad()
def test_an_absent_mask_adds_nothing_to_its_image_and_a_background_mask_does(unet, mask) -> None:
    controlnet = randomise(MaskControlNet.from_unet(unet))
    mask[1] = 0
    residuals = controlnet(normal(3, 1, 16, 16), 500.0, mask)
    assert all((r[1] == 0).all() and (r[0] != 0).any() for r in residuals)
    background = one_hot(torch.zeros(1, 16, 16, dtype=torch.long))
    assert all((r != 0).any() for r in controlnet(normal(1, 1, 16, 16), 500.0, background))
    with pytest.raises(ValueError, match="call the base alone"):
        controlnet(normal(1, 1, 16, 16), 500.0)


@torch.no_grad()
def test_a_mask_prepared_once_is_the_mask_at_every_step_and_every_level_sees_it(unet, mask) -> None:
    controlnet = randomise(MaskControlNet.from_unet(unet))
    prepared = controlnet.prepare_mask(mask)
    for timestep in (0.0, 300.0, torch.tensor([5.0, 500.0, 990.0])):
        given = controlnet(normal(3, 1, 16, 16), timestep, mask)
        assert all(map(torch.equal, controlnet(normal(3, 1, 16, 16), timestep, prepared=prepared), given))
    other = controlnet(normal(3, 1, 16, 16), 300.0, mask.flip(1))
    given = controlnet(normal(3, 1, 16, 16), 300.0, mask)
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(given, other, strict=True))
    half = controlnet.to(torch.bfloat16)
    assert all(r.isfinite().all() for r in half(normal(3, 1, 16, 16).bfloat16(), 300.0, mask))


def test_a_base_that_takes_a_mask_or_has_no_skips_is_refused() -> None:
    with pytest.raises(ValueError, match="mask_channels=0"):
        MaskControlNet.from_unet(MaskUNet(sample_size=16, block_out_channels=WIDTHS))
    with pytest.raises(ValueError, match="this is a SpadeUNet"):
        MaskControlNet.from_unet(SpadeUNet(sample_size=16, block_out_channels=WIDTHS))


@pytest.mark.parametrize("kind", list(PIPELINES))
def test_it_acts_in_the_chosen_steps_alone(kind: str, unet, mask) -> None:
    controlnet = MaskControlNet.from_unet(unet)
    seen, prepared = [], []
    controlnet.register_forward_pre_hook(lambda module, arguments: seen.append(float(arguments[1])))
    controlnet.mask_stem.register_forward_hook(lambda *_: prepared.append(1))
    pipe = pipeline(kind, unet, controlnet)
    options = {"num_inference_steps": 10} | ({"solver": "euler"} if kind == "flow" else {})
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2, 3)]
    pipe(mask, control_range=(0.2, 0.5), generator=generators, **options)
    steps = pipe.scheduler.timesteps.tolist()
    assert seen == pytest.approx(steps[2:5])
    assert len(prepared) == 1  # once for all steps


@pytest.mark.parametrize("kind", list(PIPELINES))
def test_in_a_pipeline_its_strength_and_its_steps_can_be_chosen(kind: str, unet, mask) -> None:
    alone = sample(pipeline(kind, unet, None), None, vendor="A")
    silent = pipeline(kind, unet, MaskControlNet.from_unet(unet))
    assert silent.mask_channels == 4
    assert torch.equal(sample(silent, mask, vendor="A"), alone)
    pipe = pipeline(kind, unet, randomise(MaskControlNet.from_unet(unet), std=0.05))
    assert torch.equal(sample(pipe, mask, vendor="A", control_scale=0.0), alone)
    assert torch.equal(sample(pipe, torch.zeros_like(mask), vendor="A"), alone)
    assert torch.equal(sample(pipe, None, vendor="A"), alone)
    chosen = ({}, {"control_scale": 0.1}, {"control_range": (0.5, 1.0)}, {"mask_guidance_scale": 2.0})
    images = [alone, *(sample(pipe, mask, vendor="A", **options) for options in chosen)]
    for i, image in enumerate(images):
        assert all((image - other).abs().max() > 1e-4 for other in images[:i]), chosen[i - 1]
    assert (images[2] - alone).abs().mean() < (images[1] - alone).abs().mean()
    together = sample(pipe, mask, vendor="A")
    torch.testing.assert_close(sample(pipe, mask[1:2], (2,), vendor="A"), together[1:2], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="one-hot of shape"):
        pipe(mask[:, :3])
    for nowhere in ((0.8, 0.2), (0.5, 0.5), (0.0, 50)):  # it would act in no step, or steps are taken for shares
        with pytest.raises(ValueError, match="two shares of the steps"):
            pipe(mask, control_range=nowhere)
