"""A flow map in the pipeline: the steps' duration reaches the network, everywhere the folder is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cmrsynth.hub.export import export_pipeline
from cmrsynth.hub.load import load_pipeline
from cmrsynth.labels import one_hot
from cmrsynth.models import DurationEncoder
from cmrsynth.pipelines import RectifiedFlowPipeline

ONE_STEP = {"num_inference_steps": 1, "vendor": "A"}


def seeds(*values: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(value) for value in values]


@pytest.fixture
def flow(tiny_flow) -> RectifiedFlowPipeline:
    return tiny_flow(vocabularies={"vendor": ["A", "B"]})


def flow_map(flow: RectifiedFlowPipeline, std: float) -> RectifiedFlowPipeline:
    """The flow with a duration encoder, as it begins (std 0) or with random weights."""
    encoder = DurationEncoder(flow.unet.embedding_dim).eval()
    for parameter in encoder.parameters() if std else ():
        torch.nn.init.normal_(parameter, std=std, generator=torch.Generator().manual_seed(1))
    parts = {**flow.components, "duration_encoder": encoder}
    made = RectifiedFlowPipeline(**parts, condition_dropout=0.1, pixel_spacing_mm=2.0)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture
def mask() -> torch.Tensor:
    return one_hot(torch.randint(0, 4, (3, 16, 16), generator=torch.Generator().manual_seed(0)))


def test_a_duration_encoder_begins_without_effect_and_then_tells_durations_apart(flow, mask) -> None:
    options = {"num_inference_steps": 3, "solver": "euler", "vendor": "A", "guidance_scale": 1.5}
    plain, untrained, trained = (
        pipe(mask, **options, generator=seeds(1, 2, 3)).images
        for pipe in (flow, flow_map(flow, 0.0), flow_map(flow, 0.2))
    )
    assert torch.equal(plain, untrained)
    assert not torch.allclose(plain, trained, atol=1e-3)
    waves = flow_map(flow, 0.2).duration_encoder(torch.tensor([0.0, 0.02, 0.25, 0.5, 1.0]))
    assert torch.pdist(waves).min() > 1e-2


@torch.no_grad()
def test_a_step_takes_the_average_velocity_and_an_audit_the_velocity(flow, mask) -> None:
    pipe = flow_map(flow, 0.2)
    noise, embedding = torch.randn(3, 1, 16, 16, generator=seeds(9)[0]), pipe.encode_conditions(3, vendor="A")
    nothing = pipe.encode_conditions(3)

    def average(duration: float, condition: torch.Tensor, shown: torch.Tensor | None) -> torch.Tensor:
        condition = condition + pipe.duration_encoder(torch.tensor([duration]))
        return pipe.unet(noise, 1000.0, mask=shown, condition=condition).sample

    images = pipe(mask, **ONE_STEP, generator=seeds(9)[0], guidance_scale=2.0).images
    guided = 2 * average(1.0, embedding, mask) - average(1.0, nothing, None)  # a duration is not withheld
    torch.testing.assert_close(images, ((noise - guided) / 2 + 0.5).clamp(0, 1), rtol=1e-4, atol=1e-5)
    velocity = pipe.velocity(noise, torch.ones(3), mask, vendor="A")
    torch.testing.assert_close(velocity, average(0.0, embedding, mask), rtol=1e-4, atol=1e-5)


def test_it_takes_the_steps_it_learned_and_is_an_ordinary_flow_beyond(flow, mask) -> None:
    pipe = flow_map(flow, 0.2)
    assert (flow.default_steps, pipe.default_steps) == (10, 4)
    default, four = (pipe(mask, generator=seeds(1, 2, 3), **steps).images for steps in ({}, {"num_inference_steps": 4}))
    assert torch.equal(default, four)
    assert [pipe.duration_encoder.learned(steps) for steps in (1, 2, 4, 5, 50)] == [1.0, 0.5, 0.25, 0.0, 0.0]
    constant = pipe.duration_encoder(torch.zeros(1)).flatten()
    options = {"num_inference_steps": 8, "solver": "euler"}
    many = pipe(mask, **options, generator=seeds(1, 2, 3)).images
    with torch.no_grad():  # the flow whose every call sees the embedding of duration 0
        flow.condition_encoder.bias += constant
    plain = flow(mask, **options, generator=seeds(1, 2, 3)).images
    torch.testing.assert_close(many, plain, rtol=1e-4, atol=1e-5)


def test_its_solver_is_euler_and_heun_is_refused_with_the_reason(flow, mask) -> None:
    pipe = flow_map(flow, 0.2)
    assert (flow.default_solver, pipe.default_solver) == ("heun", "euler")
    default, euler = (
        pipe(mask, num_inference_steps=4, generator=seeds(1, 2, 3), **solver).images
        for solver in ({}, {"solver": "euler"})
    )
    assert torch.equal(default, euler)
    with pytest.raises(ValueError, match="predicts the average over the whole step"):
        pipe(mask, solver="heun")


def test_the_exported_folder_loads_with_and_without_cmrsynth(flow, mask, tmp_path: Path) -> None:
    pipe = flow_map(flow, 0.2)
    folder = export_pipeline(pipe, tmp_path / "repo")
    assert (folder / "duration_encoder" / "duration_encoder.py").is_file()
    expected = pipe(mask, **ONE_STEP, generator=seeds(1, 2, 3)).images
    again = load_pipeline(folder)
    again.set_progress_bar_config(disable=True)
    assert torch.equal(again(mask, **ONE_STEP, generator=seeds(1, 2, 3)).images, expected)
    save_file({"mask": mask.contiguous()}, tmp_path / "mask.safetensors")
    program = f"""
import sys
for name in ("cmrsynth", "accelerate", "transformers", "datasets", "monai", "evaluate"):
    sys.modules[name] = None
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file
pipe = DiffusionPipeline.from_pretrained({str(folder)!r}, trust_remote_code=True)
mask = load_file({str(tmp_path / "mask.safetensors")!r})["mask"]
generators = [torch.Generator().manual_seed(s) for s in (1, 2, 3)]
images = pipe(mask, num_inference_steps=1, vendor="A", generator=generators).images
save_file({{"images": images.contiguous()}}, {str(tmp_path / "images.safetensors")!r})
"""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home")}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    torch.testing.assert_close(load_file(tmp_path / "images.safetensors")["images"], expected)
