"""What every denoiser must do, whichever way the mask enters: it can stand in for any other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from cmrsynth.errors import InputError
from cmrsynth.flow.rectified import interpolate
from cmrsynth.labels import one_hot
from cmrsynth.models import ConditionEncoder, MaskDiT, MaskUNet, SpadeUNet
from cmrsynth.pipelines import RectifiedFlowPipeline
from cmrsynth.training.config import RectifiedFlowConfig
from cmrsynth.training.denoiser import build_network

NETWORKS = {"concat": MaskUNet, "spade": SpadeUNet, "dit": MaskDiT}
SETTINGS = {"concat": {}, "spade": {"conditioning": "spade"}, "dit": {"backbone": "dit", "transformer_layers": 2}}


def random_network(name: str, *, seed: int = 0, **options):
    """A small network whose weights are all random, because zero-initialised layers would hide what is before them."""
    network = NETWORKS[name](**{"sample_size": 16, "block_out_channels": (8, 8, 16), **options})
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return network.eval()


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=list(NETWORKS))
def network(request):
    return random_network(request.param)


@pytest.fixture
def mask() -> torch.Tensor:
    return one_hot(torch.randint(0, 4, (3, 16, 16), generator=torch.Generator().manual_seed(0)))


@torch.no_grad()
def test_a_mask_prepared_once_is_the_mask_at_every_step(network, mask) -> None:
    prepared = network.prepare_mask(mask)
    for timestep in (0.0, 300.0, 1000.0):
        given = network(normal(3, 1, 16, 16), timestep, mask=mask).sample
        torch.testing.assert_close(network(normal(3, 1, 16, 16), timestep, prepared=prepared).sample, given)


@torch.no_grad()
def test_everything_that_is_given_matters(network, mask) -> None:
    def output(timestep: float = 500.0, **given: torch.Tensor) -> torch.Tensor:
        return network(normal(3, 1, 16, 16), timestep, return_dict=False, **given)[0]

    background = one_hot(torch.zeros(3, 16, 16, dtype=torch.long))
    outputs = [
        output(),
        output(100.0),
        output(mask=mask),
        output(mask=background),
        output(condition=normal(3, network.embedding_dim)),
    ]
    for i, one in enumerate(outputs):
        assert all((one - other).abs().max() > 1e-3 for other in outputs[:i])
    assert torch.equal(output(), output(mask=torch.zeros_like(mask)))  # absent is all zeros, not background


@torch.no_grad()
def test_an_output_does_not_depend_on_its_batch_nor_on_the_layout_in_memory(network, mask) -> None:
    sample, time, condition = normal(3, 1, 16, 16), torch.tensor([5.0, 500.0, 990.0]), normal(3, network.embedding_dim)
    together = network(sample, time, mask=mask, condition=condition).sample
    alone = network(sample[1:2], time[1:2], mask=mask[1:2], condition=condition[1:2]).sample
    torch.testing.assert_close(together[1:2], alone)
    network.to(memory_format=torch.channels_last)
    last = network(sample.to(memory_format=torch.channels_last), time, mask=mask, condition=condition).sample
    torch.testing.assert_close(last, together)


@pytest.mark.parametrize("name", list(NETWORKS))
@torch.no_grad()
def test_latents_other_sizes_and_no_mask_at_all(name: str) -> None:
    latent = random_network(name, in_channels=4, sample_size=8)
    labels = torch.randint(0, 4, (2, 64, 32), generator=torch.Generator().manual_seed(0))
    soft = torch.nn.functional.avg_pool2d(one_hot(labels), 4)
    assert latent(normal(2, 4, 16, 8), 3.0, mask=soft).sample.shape == (2, 4, 16, 8)
    free = random_network(name, mask_channels=0)
    assert free(normal(2, 1, 16, 16), 3.0).sample.shape == (2, 1, 16, 16)
    assert free.to(torch.bfloat16)(normal(2, 1, 16, 16).bfloat16(), 3.0).sample.isfinite().all()


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_the_gradient_reaches_every_parameter(network, mask, precision: str) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        velocity = network.train()(normal(3, 1, 16, 16), 500.0, mask=mask, condition=normal(3, network.embedding_dim))
    velocity.sample.float().square().mean().backward()
    untouched = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert untouched == []


def test_the_graph_compiles_in_one_piece(network, mask) -> None:
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    prepared = network.prepare_mask(mask)
    with torch.no_grad():
        expected = network(normal(3, 1, 16, 16), torch.tensor([500.0]), prepared=prepared).sample
        torch.testing.assert_close(
            compiled(normal(3, 1, 16, 16), torch.tensor([500.0]), prepared=prepared).sample, expected
        )


def test_eight_images_are_learned_by_heart(mask) -> None:
    for name in ("spade", "dit"):
        torch.random.default_generator.manual_seed(0)
        network = NETWORKS[name](sample_size=16, block_out_channels=(8, 16, 32))
        image, noise, t = normal(8, 1, 16, 16), normal(8, 1, 16, 16, seed=1), torch.linspace(0.2, 0.9, 8)
        optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
        losses = []
        for _ in range(150):
            predicted = network(interpolate(image, noise, t), 1000 * t, mask=mask[:1].expand(8, -1, -1, -1)).sample
            loss = (predicted - (noise - image)).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        assert losses[-1] < 0.3 * losses[0], (name, losses[0], losses[-1])


def configuration(folder: Path, data: Path, **settings) -> RectifiedFlowConfig:
    tiny = {"block_out_channels": [8, 8, 16], "attention_levels": [2], "batch_size": 4, "mixed_precision": "no"}
    return RectifiedFlowConfig(
        data=str(data), output=str(folder), max_train_steps=6, warmup_steps=2, cpu_threads=1, **{**tiny, **settings}
    )


def flow(name: str) -> RectifiedFlowPipeline:
    unet = random_network(name)
    encoder = ConditionEncoder(unet.embedding_dim, vocabularies={"vendor": ["A", "B"]}).eval()
    pipeline = RectifiedFlowPipeline(unet, encoder, FlowMatchEulerDiscreteScheduler(), condition_dropout=0.1)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def seeds(*values: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(value) for value in values]


@pytest.mark.parametrize("name", ["spade", "dit"])
def test_an_image_depends_on_its_seed_and_not_on_its_batch(name: str, mask) -> None:
    pipeline = flow(name)
    options = {"num_inference_steps": 3, "guidance_scale": 1.5, "mask_guidance_scale": 2.0}
    together = pipeline(mask, vendor=["A", None, "B"], generator=seeds(1, 2, 3), **options).images
    alone = pipeline(mask[2:], vendor="B", generator=seeds(3), **options).images
    torch.testing.assert_close(together[2:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_configuration_chooses_the_network(name: str) -> None:
    config = configuration(Path("run"), Path("data"), **SETTINGS[name])
    network = build_network(config, size=16)
    assert type(network) is NETWORKS[name]
    assert (network.config.sample_size, network.config.mask_channels) == (16, 4)
    if name != "spade":
        free = build_network(
            configuration(Path("run"), Path("data"), **{**SETTINGS[name], "conditioning": "none"}), size=16
        )
        assert (type(free), free.config.mask_channels) == (NETWORKS[name], 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"conditioning": "spade", "backbone": "dit"}, "a transformer has no decoder.*--backbone unet"),
        ({"conditioning": "film"}, "conditioning 'film'"),
        ({"backbone": "vit"}, "backbone 'vit'"),
        ({"backbone": "dit", "block_out_channels": [64]}, "two or more"),
        ({"backbone": "dit", "block_out_channels": [8, 30]}, "a multiple of 4"),
        ({"transformer_layers": 0}, "transformer_layers is 0"),
        ({"attention_levels": [1, 3]}, r"attention_levels \[3\] of a network with levels 0 to 2"),
    ],
)
def test_what_cannot_be_built_is_refused_before_training(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        configuration(Path("run"), Path("data"), **settings)
