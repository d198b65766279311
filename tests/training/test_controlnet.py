"""A ControlNet in training: the base stays as it was, the mask comes to matter, and what cannot work is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from cmrsynth.data.loading import load_slices
from cmrsynth.errors import InputError
from cmrsynth.hub.export import export_pipeline
from cmrsynth.hub.load import load_pipeline
from cmrsynth.labels import one_hot
from cmrsynth.models import ConditionEncoder, MaskUNet
from cmrsynth.pipelines import MaskDiffusionPipeline, RectifiedFlowPipeline
from cmrsynth.training.batches import Withholding, draw_batch
from cmrsynth.training.config import RectifiedFlowConfig, parse_config
from cmrsynth.training.controlnet import ControlNet
from cmrsynth.training.controlnet_config import ControlNetConfig
from cmrsynth.training.family import seeded_weights
from cmrsynth.training.program import train
from cmrsynth.training.run import Run

ROOT = Path(__file__).resolve().parents[2]
TINY = {"batch_size": 4, "warmup_steps": 2, "log_steps": 1, "mixed_precision": "no", "cpu_threads": 1}
PIPELINES = {
    "flow": (RectifiedFlowPipeline, FlowMatchEulerDiscreteScheduler),
    "diffusion": (MaskDiffusionPipeline, DDIMScheduler),
}


def base(kind: str = "flow", *, seed: int = 0, vocabularies=None, schedule=None, vae=None, spacing=2.0, **options):
    """A base that was never trained: its networks begin as `training` begins them."""
    pipeline_class, scheduler = PIPELINES[kind]
    options = {"mask_channels": 0, "block_out_channels": (16, 16, 32), "attention_levels": (2,), **options}
    with seeded_weights(seed):
        unet = MaskUNet(**{"sample_size": 16, **options})
        encoder = ConditionEncoder(unet.embedding_dim, vocabularies=vocabularies)
    settings = {"vae": vae, "condition_dropout": 0.1, "pixel_spacing_mm": spacing}
    return pipeline_class(unet, encoder, scheduler(**(schedule or {})), **settings)


@pytest.fixture
def config(toy_folder: Path, tmp_path: Path) -> ControlNetConfig:
    folder = export_pipeline(base(vocabularies={"vendor": ["A", "B"]}), tmp_path / "base")
    output = str(tmp_path / "run")
    return ControlNetConfig(data=str(toy_folder), output=output, base=str(folder), max_train_steps=4, **TINY)


def with_base(config: ControlNetConfig, pipe, **settings) -> ControlNetConfig:
    folder = Path(config.output).parent / "other_base"
    return replace(config, base=str(export_pipeline(pipe, folder)), **settings)


def weights(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", list(PIPELINES))
def test_it_learns_eight_images_by_their_masks_and_leaves_the_base_alone(config, kind: str) -> None:
    config = with_base(config, base(kind), snr_gamma=0.0)
    slices = load_slices(config.data, "train")
    with seeded_weights(0):
        family = ControlNet(config, slices.select(np.arange(8)))
    data, objective = family.tensors(family.slices), family.phases[0].objective
    before, encoder = weights(family.base.unet), weights(family.encoder)
    trained = [p for p in objective.parameters() if p.requires_grad]
    assert len(trained) == len(list(family.averaged["controlnet"].parameters()))
    optimizer = torch.optim.AdamW(trained, lr=3e-3)

    def step(number: int) -> float:
        batch = draw_batch(data, range(8 * number, 8 * number + 8), seed=0, withholding=Withholding(), shift=0)
        loss = objective(batch).mean()
        loss.backward()
        optimizer.step()
        reached = [n for n, p in family.averaged["controlnet"].named_parameters() if not p.grad.abs().max() > 0]
        optimizer.zero_grad()
        if number == 3:  # zero-initialised layers hide those before them from the first gradients
            assert reached == []
        return loss.item()

    losses = [step(number) for number in range(100)]
    assert np.mean(losses[-20:]) < 0.8 * losses[0]
    assert same(before, weights(family.base.unet))
    assert same(encoder, weights(family.encoder))
    batch = draw_batch(data, range(8), seed=1, withholding=Withholding(), shift=0)
    with torch.no_grad():
        own = objective(batch).mean()
        foreign = objective(batch._replace(mask=batch.mask.flip(2))).mean()
        absent = objective(batch._replace(mask=torch.zeros_like(batch.mask))).mean()
    assert own < foreign
    assert own < 0.9 * absent


@pytest.mark.parametrize("train_base", [False, True])
def test_a_resumed_run_reaches_the_same_weights_and_only_with_its_base(config, train_base, tmp_path: Path) -> None:
    config = replace(config, train_base=train_base, condition_dropout=0.2 * train_base)
    straight, first = Run(config, ControlNet), Run(replace(config, output=str(tmp_path / "broken")), ControlNet)
    began = weights(straight.family.base.unet)
    for _ in range(4):
        straight.train_step()
    for _ in range(2):
        first.train_step()
    first.save()
    torch.rand(7)  # nothing may hang on the global random state
    second = Run(first.config, ControlNet)
    second.resume()
    for _ in range(2):
        second.train_step()
    assert same(weights(straight.family.averaged), weights(second.family.averaged))
    assert same(weights(straight.averaged_networks()), weights(second.averaged_networks()))
    assert same(began, weights(straight.averaged_networks()["unet"])) != train_base
    export_pipeline(base(seed=1, vocabularies={"vendor": ["A", "B"]}), Path(config.base))  # another one in its place
    with pytest.raises(InputError, match="another base than this run began with"):
        Run(first.config, ControlNet).resume()


@pytest.mark.parametrize("kind", list(PIPELINES))
def test_the_finished_pipeline_takes_masks_and_states_its_base(config, kind: str, tmp_path: Path) -> None:
    config = with_base(
        config, base(kind, vocabularies={"vendor": ["A", "B"]}), sample_steps=4, sample_inference_steps=2
    )
    train(config, ControlNet)
    folder = Path(config.output) / "pipeline"
    pipe = load_pipeline(folder)
    pipe.set_progress_bar_config(disable=True)
    assert type(pipe) is PIPELINES[kind][0]
    assert (pipe.mask_channels, pipe.sample_size) == (4, 16)
    assert (pipe.config.condition_dropout, pipe.config.pixel_spacing_mm) == (0.1, 2.0)
    base_hash = json.loads((folder / "training.json").read_text())["base"]["hash"]
    assert f"pipeline hash `{base_hash}`" in (folder / "README.md").read_text()
    assert list((Path(config.output) / "samples").glob("*.png"))
    mask = one_hot(torch.from_numpy(load_slices(config.data, "test").masks[:2]))
    options = {"num_inference_steps": 2, "vendor": "A", "mask_guidance_scale": 1.5, "control_scale": 0.5}
    assert pipe(mask, **options).images.shape == (2, 1, 16, 16)
    assert pipe(batch_size=2, num_inference_steps=2).images.shape == (2, 1, 16, 16)


def test_a_mask_can_be_exaggerated_wherever_the_base_is_as_it_was(config) -> None:
    def dropout(configured: ControlNetConfig) -> float:
        return ControlNet(configured, load_slices(configured.data, "train")).condition_dropout

    assert dropout(config) == 0.1  # what the base saw of nothing
    assert dropout(replace(config, train_base=True)) == 0.0  # no longer seen by the base that changes
    assert dropout(with_base(config, base())) == 1.0  # without conditions it saw nothing else


@pytest.mark.parametrize(
    ("pipe", "message"),
    [
        (lambda: base(mask_channels=4), "a MaskUNet with 4 mask channels"),
        (lambda: base(sample_size=32), "learned 32x32 images"),
        (lambda: base(spacing=1.0), r"images of 1\.00 mm, the data have 16x16 of 2\.00 mm"),
        (lambda: base(vae=AutoencoderKL(block_out_channels=(8,), norm_num_groups=4)), "in latents"),
        (lambda: base("diffusion", schedule={"rescale_betas_zero_snr": True}), "ends in pure noise"),
    ],
)
def test_a_base_that_cannot_work_is_refused_with_the_reason(config, pipe, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ControlNet(with_base(config, pipe()), load_slices(config.data, "train"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base": ""}, "--base is needed"),
        ({"attributes": ["vendor"]}, "takes the conditions of its base"),
        ({"mask_dropout": 0.1}, "teach nothing"),
        ({"condition_dropout": 0.1}, "teach nothing"),
        ({"snr_gamma": -1.0}, "snr_gamma is -1"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_reason(config, settings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(config, **settings)


def test_the_shipped_configurations_are_read() -> None:
    folder = ROOT / "training" / "configs"
    network = parse_config(ControlNetConfig, ["--config", str(folder / "sunnybrook_64_controlnet.yaml")])
    first = parse_config(RectifiedFlowConfig, ["--config", str(folder / "sunnybrook_64_controlnet_base.yaml")])
    assert network.base == f"{first.output}/pipeline"
    assert first.conditioning == "none"
    assert not network.train_base
