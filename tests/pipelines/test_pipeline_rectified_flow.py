"""The pipeline's contract: seeds, batches, guidance, solvers, refusals, and the folder that loads without us."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from safetensors.torch import load_file, save_file

from cmrsynth.hub.export import check_standalone, export_pipeline
from cmrsynth.hub.load import load_pipeline, pipeline_hash
from cmrsynth.labels import one_hot
from cmrsynth.models import MaskUNet
from cmrsynth.pipelines import RectifiedFlowPipeline

VOCABULARIES = {"vendor": ["A", "B"], "phase": ["ED", "ES"]}


@pytest.fixture
def pipeline(tiny_flow) -> RectifiedFlowPipeline:
    return tiny_flow(vocabularies=VOCABULARIES)


@pytest.fixture
def mask() -> torch.Tensor:
    return one_hot(torch.randint(0, 4, (3, 16, 16), generator=torch.Generator().manual_seed(0)))


def seeds(*values: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(value) for value in values]


def test_an_image_does_not_depend_on_its_batch(pipeline, mask) -> None:
    together = pipeline(mask, vendor=["A", "B", None], generator=seeds(1, 2, 3), num_inference_steps=3).images
    alone = pipeline(mask[1:2], vendor="B", generator=seeds(2), num_inference_steps=3).images
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


def test_output_types_agree_and_a_tuple_equals_the_dataclass(pipeline, mask) -> None:
    arguments = {"num_inference_steps": 2}
    tensor = pipeline(mask, generator=seeds(1, 2, 3), **arguments).images
    array = pipeline(mask, generator=seeds(1, 2, 3), output_type="np", return_dict=False, **arguments)[0]
    pictures = pipeline(mask, generator=seeds(1, 2, 3), output_type="pil", **arguments).images
    assert tensor.shape == (3, 1, 16, 16)
    assert tensor.min() >= 0
    assert tensor.max() <= 1
    np.testing.assert_array_equal(tensor.permute(0, 2, 3, 1).numpy(), array)
    assert [p.mode for p in pictures] == ["L"] * 3
    assert np.abs(np.asarray(pictures[0]) / 255 - array[0, :, :, 0]).max() <= 0.5 / 255 + 1e-6


class LinearFlow(torch.nn.Module):
    """A network whose flow is known: velocity(x, t) = x, so x(0) = x(1) exp(-1); it counts its calls."""

    def __init__(self, config) -> None:
        super().__init__()
        self.config = config
        self.dtype, self.device, self.calls = torch.float32, torch.device("cpu"), 0
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def prepare_mask(self, mask) -> list:
        return [mask]

    def forward(self, sample, timestep, condition=None, prepared=None):
        self.calls += 1
        return type("Output", (), {"sample": sample})


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_solvers_converge_at_their_order_to_the_exact_flow(solver: str, order: int, pipeline, mask) -> None:
    errors = []
    for steps in (8, 16, 32):
        pipeline.unet = network = LinearFlow(pipeline.unet.config)
        image = pipeline(mask[:1], solver=solver, num_inference_steps=steps, generator=seeds(5)).images
        noise = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(5))
        exact = (noise * np.exp(-1) / 2 + 0.5).clamp(0, 1)
        errors.append((image - exact).abs().max().item())
        assert network.calls == (steps if solver == "euler" else 2 * steps - 1)
    # the last Heun step is Euler's, of error 1/(2 N^2): both halve or quarter with each doubling
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.35)
    assert errors[1] / errors[2] == pytest.approx(2**order, rel=0.35)


def test_no_step_is_wasted(pipeline, mask) -> None:
    pipeline(mask, num_inference_steps=4)
    assert pipeline.scheduler.sigmas.tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_conditions_change_the_image_and_absent_ones_are_the_null_condition(pipeline, mask) -> None:
    def sample(given_mask=mask, **attributes) -> torch.Tensor:
        return pipeline(given_mask, num_inference_steps=2, generator=seeds(1, 2, 3), **attributes).images

    assert not torch.allclose(sample(), sample(vendor="A"), atol=1e-4)
    assert not torch.allclose(sample(vendor="A"), sample(vendor="B"), atol=1e-4)
    assert not torch.allclose(sample(), sample(mask.flip(1)), atol=1e-4)
    assert torch.equal(sample(), sample(vendor=None, phase=[None, "unknown", None]))
    assert torch.equal(sample(None, batch_size=3), sample(None, batch_size=3))


def test_an_absent_mask_is_not_an_empty_heart(pipeline) -> None:
    background = one_hot(torch.zeros(1, 16, 16, dtype=torch.long))
    noise = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.5])
    assert not torch.allclose(pipeline.velocity(noise, t), pipeline.velocity(noise, t, background), atol=1e-4)


def test_guidance_extrapolates_from_the_unconditional_velocity(pipeline, mask) -> None:
    one_step = {"num_inference_steps": 1, "solver": "euler", "generator": None}
    noise = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(9))
    images = pipeline(
        mask, vendor="A", guidance_scale=2.0, **{**one_step, "generator": torch.Generator().manual_seed(9)}
    ).images
    t = torch.ones(3)
    with torch.no_grad():
        conditional, free = pipeline.velocity(noise, t, mask, vendor="A"), pipeline.velocity(noise, t)
    expected = ((noise - (2 * conditional - free)) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(images, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask": torch.zeros(2, 3, 16, 16)}, "one-hot of shape"),
        ({"mask": torch.ones(2, 4, 16, 16)}, "at most one channel"),
        ({"mask": torch.ones(2, 4, 16, 16) / 4}, "at most one channel"),
        ({"mask": one_hot(torch.zeros(1, 18, 16))}, "multiples of 4"),
        ({"vendor": "C"}, "unknown vendor 'C'"),
        ({"pathology": "normal"}, "not conditioned on"),
        ({"vendor": ["A", "B"]}, "2 values for a batch of 1"),
        ({"num_inference_steps": 0}, "at least 1"),
        ({"steps": 5}, r"not conditioned on \['steps'\]"),
        ({"control_scale": 0.5}, "belong to a ControlNet"),
        ({"prompt": "end-diastole"}, "trained without prompts"),
        ({"solver": "ddim"}, "solver must be"),
        ({"output_type": "latent"}, "output_type must be"),
        ({"generator": seeds(1, 2)}, "2 generators for 1 images"),
    ],
)
def test_wrong_use_is_refused_with_the_reason(pipeline, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        pipeline(**arguments)


def test_guidance_without_condition_dropout_is_refused(tiny_flow, mask) -> None:
    pipe = tiny_flow(vocabularies=VOCABULARIES, condition_dropout=0.0)
    with pytest.raises(ValueError, match="trained without condition dropout"):
        pipe(mask, guidance_scale=2.0)


def test_gradients_reach_every_parameter(pipeline, mask) -> None:
    unet, encoder = pipeline.unet.train(), pipeline.condition_encoder.train()
    condition = encoder(encoder.encode(3, vendor=["A", "B", None], phase=["ED", "ES", None]))
    unet(torch.randn(3, 1, 16, 16), 500.0, mask, condition).sample.square().sum().backward()
    for network in (unet, encoder):
        assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_a_prepared_mask_is_the_mask(pipeline, mask) -> None:
    unet, point = pipeline.unet, torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(unet(point, 300.0, mask).sample, unet(point, 300.0, prepared=unet.prepare_mask(mask)).sample)


def test_mask_guidance_is_refused_by_its_name_and_where_there_is_no_mask(tiny_flow, mask) -> None:
    pipe = tiny_flow(condition_dropout=0.0)
    with pytest.raises(ValueError, match=r"mask_guidance_scale is 2\.0, but this model was trained without"):
        pipe(mask, mask_guidance_scale=2.0)
    with pytest.raises(ValueError, match="takes no mask"):
        pipe.condition_encoder.check_guidance(1.0, 2.0, 0.1, 0)
    pipe.condition_encoder.check_guidance(2.0, None, 0.1, 0)


def test_mask_and_attributes_have_guidance_scales_of_their_own(pipeline, mask) -> None:
    noise = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(9))

    def one_step(**scales: float) -> torch.Tensor:
        generator = torch.Generator().manual_seed(9)
        options = {"num_inference_steps": 1, "solver": "euler", "generator": generator, "vendor": "A"}
        return pipeline(mask, **options, **scales).images

    t = torch.ones(3)
    with torch.no_grad():
        nothing, attribute = pipeline.velocity(noise, t), pipeline.velocity(noise, t, vendor="A")
        both = pipeline.velocity(noise, t, mask, vendor="A")
    for scale, mask_scale in ((1.0, 3.0), (2.0, 0.5), (0.0, 1.0), (2.0, 2.0)):
        velocity = nothing + scale * (attribute - nothing) + mask_scale * (both - attribute)
        expected = ((noise - velocity) / 2 + 0.5).clamp(0, 1)
        found = one_step(guidance_scale=scale, mask_guidance_scale=mask_scale)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (DDIMScheduler(), "DDIMScheduler integrates noise .* predicts the velocity"),
        (UniPCMultistepScheduler(), "UniPCMultistepScheduler integrates noise"),
        (FlowMatchHeunDiscreteScheduler(), "makes steps of its own.*solver='heun'"),
        (FlowMatchEulerDiscreteScheduler(stochastic_sampling=True), "stochastic_sampling is not what"),
        (FlowMatchEulerDiscreteScheduler(invert_sigmas=True), "invert_sigmas is not what"),
    ],
)
def test_a_scheduler_that_does_something_else_is_refused_with_the_reason(pipeline, mask, scheduler, message) -> None:
    pipeline.scheduler = scheduler
    with pytest.raises(ValueError, match=message):
        pipeline(mask)


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_shifted_noise_levels_reach_the_exact_flow_too(pipeline, mask, solver: str) -> None:
    pipeline.unet = LinearFlow(pipeline.unet.config)
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    image = pipeline(mask[:1], solver=solver, num_inference_steps=64, generator=seeds(5)).images
    noise = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(5))
    assert (image - (noise * np.exp(-1) / 2 + 0.5).clamp(0, 1)).abs().max() < 0.03


def test_the_exported_folder_loads_everywhere(pipeline, mask, tmp_path: Path) -> None:
    folder = export_pipeline(pipeline, tmp_path / "repo")
    expected = pipeline(mask, vendor="A", generator=seeds(1, 2, 3), num_inference_steps=2).images
    # with cmrsynth: no flag, no code from the folder
    again = RectifiedFlowPipeline.from_pretrained(folder)
    assert type(again.unet) is MaskUNet
    assert again.config.pixel_spacing_mm == 2.0
    assert type(load_pipeline(folder)) is RectifiedFlowPipeline
    assert not any(path.suffix in {".bin", ".pkl", ".pt"} for path in folder.rglob("*"))
    # through diffusers, and exported once more from what diffusers loaded
    other = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    assert type(other) is not RectifiedFlowPipeline
    second = export_pipeline(other, tmp_path / "again")
    for pipe in (again, other, RectifiedFlowPipeline.from_pretrained(second)):
        pipe.set_progress_bar_config(disable=True)
        images = pipe(mask, vendor="A", generator=seeds(1, 2, 3), num_inference_steps=2).images
        torch.testing.assert_close(images, expected)
    assert pipeline_hash(folder) == pipeline_hash(second)


def test_the_exported_folder_loads_without_cmrsynth(pipeline, mask, tmp_path: Path) -> None:
    folder = export_pipeline(pipeline, tmp_path / "repo")
    save_file({"mask": mask.contiguous()}, tmp_path / "mask.safetensors")
    program = f"""
import sys
for name in ("cmrsynth", "accelerate", "transformers", "datasets", "monai", "evaluate"):
    sys.modules[name] = None  # a process that has only torch, diffusers and safetensors
import torch
from diffusers import DiffusionPipeline
pipe = DiffusionPipeline.from_pretrained({str(folder)!r}, trust_remote_code=True)
from safetensors.torch import load_file, save_file
mask = load_file({str(tmp_path / "mask.safetensors")!r})["mask"]
images = pipe(mask, generator=[torch.Generator().manual_seed(s) for s in (1, 2, 3)], num_inference_steps=2).images
save_file({{"images": images.contiguous()}}, {str(tmp_path / "images.safetensors")!r})
"""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home")}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    expected = pipeline(mask, generator=seeds(1, 2, 3), num_inference_steps=2).images
    torch.testing.assert_close(load_file(tmp_path / "images.safetensors")["images"], expected)


def test_incomplete_weights_are_refused(pipeline, tmp_path: Path) -> None:
    folder = export_pipeline(pipeline, tmp_path / "repo")
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors.pop("conv_out.weight")
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"conv_out\.weight"):
        RectifiedFlowPipeline.from_pretrained(folder)


def test_a_file_that_imports_the_package_may_not_ship(tmp_path: Path) -> None:
    source = tmp_path / "x.py"
    source.write_text("import torch\nfrom cmrsynth.labels import one_hot\n")
    with pytest.raises(ValueError, match=r"x\.py:2 imports 'cmrsynth.labels'"):
        check_standalone(source)


def test_bf16_samples_are_finite(pipeline, mask) -> None:
    assert pipeline.to(dtype=torch.bfloat16)(mask, num_inference_steps=2).images.isfinite().all()


def test_an_exported_folder_names_no_folder_of_this_machine_and_no_foreign_class(pipeline, tmp_path: Path) -> None:
    first = export_pipeline(pipeline, tmp_path / "first")
    second = export_pipeline(RectifiedFlowPipeline.from_pretrained(first), tmp_path / "second")
    for path in second.rglob("*.json"):
        assert str(tmp_path) not in path.read_text(), path
    index = second / "model_index.json"
    index.write_text(index.read_text().replace("FlowMatchEulerDiscreteScheduler", "UNet2DModel"))
    with pytest.raises(ValueError, match="UNet2DModel"):  # would read pickles
        RectifiedFlowPipeline.from_pretrained(second)


def test_attention_heads_divide_any_width() -> None:
    unet = MaskUNet(sample_size=16, block_out_channels=(8, 100), attention_levels=(1,))
    assert unet(torch.zeros(1, 1, 16, 16), 0.0).sample.shape == (1, 1, 16, 16)
