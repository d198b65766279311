"""The diffusion pipeline's contract: known answers of its samplers, swaps and their refusals, seeds, and the export."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

from cmrsynth.hub.export import export_pipeline
from cmrsynth.hub.load import load_pipeline
from cmrsynth.labels import one_hot
from cmrsynth.models import ConditionEncoder, MaskUNet
from cmrsynth.pipelines import MaskDiffusionPipeline

VOCABULARIES = {"vendor": ["A", "B"], "phase": ["ED", "ES"]}
MEAN, DEVIATION = -0.2, 0.15
PREDICTIONS = ("v_prediction", "epsilon", "sample")


def schedule(prediction_type: str = "v_prediction", beta_schedule: str = "squaredcos_cap_v2", **settings):
    return DDIMScheduler(
        prediction_type=prediction_type, beta_schedule=beta_schedule, timestep_spacing="trailing", **settings
    )


def random_pipeline(scheduler=None, *, condition_dropout: float = 0.1, **settings) -> MaskDiffusionPipeline:
    unet = MaskUNet(sample_size=16, block_out_channels=(8, 8, 16), attention_levels=(2,))
    encoder = ConditionEncoder(unet.embedding_dim, vocabularies=VOCABULARIES)
    generator = torch.Generator().manual_seed(0)
    for parameter in [*unet.parameters(), *encoder.parameters()]:  # zero-initialised layers would hide conditions
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    pipe = MaskDiffusionPipeline(
        unet.eval(), encoder.eval(), scheduler or schedule(), condition_dropout=condition_dropout, **settings
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def pipeline() -> MaskDiffusionPipeline:
    return random_pipeline(pixel_spacing_mm=2.0)


@pytest.fixture
def mask() -> torch.Tensor:
    return one_hot(torch.randint(0, 4, (3, 16, 16), generator=torch.Generator().manual_seed(0)))


def seeds(*values: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(value) for value in values]


class GaussianDenoiser(torch.nn.Module):
    """The best denoiser of independent pixels of N(MEAN, DEVIATION^2): of the noise, the image, or v."""

    def __init__(self, config, scheduler) -> None:
        super().__init__()
        self.config, self.dtype, self.device = config, torch.float32, torch.device("cpu")
        self.alphas, self.kind = scheduler.alphas_cumprod.double(), scheduler.config.prediction_type

    def prepare_mask(self, mask) -> list:
        return [mask]

    def forward(self, sample, timestep, condition=None, prepared=None):
        alpha = self.alphas[torch.as_tensor(timestep)].reshape(-1, 1, 1, 1)
        signal, variance = alpha.sqrt(), alpha * DEVIATION**2 + 1 - alpha
        image = MEAN + signal * DEVIATION**2 / variance * (sample - signal * MEAN)
        noise = (1 - alpha).sqrt() / variance * (sample - signal * MEAN)
        predicted = {"epsilon": noise, "sample": image, "v_prediction": signal * noise - (1 - alpha).sqrt() * image}
        return type("Output", (), {"sample": predicted[self.kind].float()})


def gaussian_pipeline(prediction_type: str, beta_schedule: str = "squaredcos_cap_v2") -> MaskDiffusionPipeline:
    pipe = random_pipeline(schedule(prediction_type, beta_schedule))
    pipe.unet = GaussianDenoiser(pipe.unet.config, pipe.scheduler)
    return pipe


def exact(*values: int) -> torch.Tensor:
    """The probability flow of a Gaussian is affine: noise z becomes the image MEAN + DEVIATION z."""
    noise = torch.cat([torch.randn(1, 1, 16, 16, generator=generator) for generator in seeds(*values)])
    return ((MEAN + DEVIATION * noise) / 2 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize(("solver", "steps"), [(None, 250), ("dpm", 50), ("unipc", 50)])
def test_samplers_reach_the_known_answer(prediction_type: str, solver: str | None, steps: int) -> None:
    beta_schedule = "squaredcos_cap_v2"
    if (prediction_type, solver) == ("epsilon", "unipc"):  # refused with the cosine schedule
        beta_schedule, steps = "linear", 200  # whose last steps are coarser
    pipe = gaussian_pipeline(prediction_type, beta_schedule)
    images = pipe(batch_size=2, generator=seeds(1, 2), solver=solver, num_inference_steps=steps).images
    error = (images - exact(1, 2)).abs()
    assert error.mean() < 0.1 * DEVIATION / 2
    assert (images.std() / exact(1, 2).std() - 1).abs() < 0.05


@pytest.mark.parametrize(("solver", "eta"), [("ddpm", 0.0), ("ddim", 1.0)])
@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_samplers_with_noise_on_the_way_reach_the_distribution(prediction_type: str, solver: str, eta: float) -> None:
    pipe = gaussian_pipeline(prediction_type)
    sampling = {"solver": solver, "eta": eta, "num_inference_steps": 250}
    images = 2 * pipe(batch_size=8, generator=torch.Generator().manual_seed(0), **sampling).images - 1
    assert images.mean() == pytest.approx(MEAN, abs=0.02)
    assert images.std() == pytest.approx(DEVIATION, rel=0.06)


def test_swapped_schedulers_agree_at_many_steps(pipeline, mask) -> None:
    def sample(pipe: MaskDiffusionPipeline, steps: int) -> torch.Tensor:
        return pipe(mask, vendor="A", num_inference_steps=steps, generator=seeds(1, 2, 3)).images

    pipeline.unet.conv_out.weight.data *= 0.2  # a random network is rougher than any trained one
    reference = sample(pipeline, 250)
    for kind in (DPMSolverMultistepScheduler, UniPCMultistepScheduler):
        swapped = MaskDiffusionPipeline(**{**pipeline.components, "scheduler": kind.from_config(schedule().config)})
        swapped.set_progress_bar_config(disable=True)
        assert (sample(swapped, 100) - reference).abs().mean() < 0.2 * reference.std()


@pytest.mark.parametrize("solver", [None, "ddpm", "dpm", "unipc"])
def test_an_image_does_not_depend_on_its_batch(pipeline, mask, solver: str | None) -> None:
    options = {"num_inference_steps": 4, "solver": solver, "eta": 0.0 if solver else 1.0}
    together = pipeline(mask, vendor=["A", "B", None], generator=seeds(1, 2, 3), **options).images
    alone = pipeline(mask[1:2], vendor="B", generator=seeds(2), **options).images
    torch.testing.assert_close(together[1:2], alone, rtol=1e-3, atol=1e-4)
    assert torch.equal(together, pipeline(mask, vendor=["A", "B", None], generator=seeds(1, 2, 3), **options).images)


def test_shapes_and_output_types(pipeline, mask) -> None:
    arguments = {"num_inference_steps": 2, "generator": None}
    tensor = pipeline(mask, **arguments).images
    assert tensor.shape == (3, 1, 16, 16)
    assert tensor.min() >= 0
    assert tensor.max() <= 1
    assert pipeline(mask, output_type="np", return_dict=False, **arguments)[0].shape == (3, 16, 16, 1)
    assert [p.mode for p in pipeline(mask, output_type="pil", **arguments).images] == ["L"] * 3
    assert pipeline(batch_size=2, **arguments).images.shape == (2, 1, 16, 16)
    assert (pipeline.sample_size, pipeline.mask_channels) == (16, 4)


def test_conditions_change_the_image(pipeline, mask) -> None:
    def sample(given_mask=mask, **attributes) -> torch.Tensor:
        return pipeline(given_mask, num_inference_steps=2, generator=seeds(1, 2, 3), **attributes).images

    assert not torch.allclose(sample(), sample(vendor="A"), atol=1e-4)
    assert not torch.allclose(sample(), sample(mask.flip(1)), atol=1e-4)
    assert not torch.allclose(sample(), sample(guidance_scale=2.0), atol=1e-4)
    assert not torch.allclose(sample(), sample(mask_guidance_scale=2.0), atol=1e-4)
    assert torch.equal(sample(), sample(vendor=None, phase=[None, "unknown", None]))


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_audits_see_the_noise_whatever_is_predicted(prediction_type: str) -> None:
    pipe = gaussian_pipeline(prediction_type)
    sample = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    timestep = torch.tensor([50, 500, 950])
    expected = gaussian_pipeline("epsilon").predict_noise(sample, timestep)
    torch.testing.assert_close(pipe.predict_noise(sample, timestep), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (FlowMatchEulerDiscreteScheduler(), "does not integrate the noise levels"),
        (UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True), "does not integrate"),
        (DDPMScheduler(beta_schedule="squaredcos_cap_v2"), "predicts 'v_prediction' and DDPMScheduler expects 'epsi"),
        (DDPMScheduler(prediction_type="v_prediction"), r"noise levels of DDPMScheduler \('linear'\) are not those"),
    ],
)
def test_a_scheduler_that_does_not_fit_is_refused_with_the_reason(pipeline, mask, scheduler, message) -> None:
    pipeline.scheduler = scheduler
    with pytest.raises(ValueError, match=message):
        pipeline(mask)


def test_noise_prediction_is_not_divided_by_nothing(mask) -> None:
    pipe = random_pipeline(schedule("epsilon"))
    for solver in (None, "ddpm", "dpm"):
        assert pipe(mask, solver=solver, num_inference_steps=4).images.isfinite().all()
    with pytest.raises(ValueError, match="ends in pure noise"):
        pipe(mask, solver="unipc")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask": torch.zeros(2, 3, 16, 16)}, "one-hot of shape"),
        ({"mask": one_hot(torch.zeros(1, 18, 16))}, "multiples of 4"),
        ({"vendor": "C"}, "unknown vendor 'C'"),
        ({"num_inference_steps": 0}, "must be 1 to 1000"),
        ({"num_inference_steps": 1001}, "must be 1 to 1000"),
        ({"num_inference_steps": 600}, "a divisor of 1000"),
        ({"solver": "heun"}, "solver must be one of"),
        ({"solver": "ddpm", "eta": 0.5}, "eta is the noise of DDIM"),
        ({"eta": 2.0}, "between 0"),
        ({"control_scale": 0.5}, "belong to a ControlNet"),
        ({"prompt": "end-diastole"}, "trained without prompts"),
        ({"output_type": "latent"}, "output_type must be"),
        ({"generator": seeds(1, 2)}, "2 generators for 1 images"),
    ],
)
def test_wrong_use_is_refused_with_the_reason(pipeline, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        pipeline(**arguments)


def test_guidance_without_condition_dropout_is_refused(mask) -> None:
    with pytest.raises(ValueError, match="trained without condition dropout"):
        random_pipeline(condition_dropout=0.0)(mask, guidance_scale=2.0)


def test_the_exported_folder_loads_everywhere_and_remembers_what_it_predicts(pipeline, mask, tmp_path: Path) -> None:
    folder = export_pipeline(pipeline, tmp_path / "repo")
    sampling = {"vendor": "A", "num_inference_steps": 2}
    expected = pipeline(mask, generator=seeds(1, 2, 3), **sampling).images
    again, other = load_pipeline(folder), DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    assert type(again) is MaskDiffusionPipeline is not type(other)
    assert again.config.pixel_spacing_mm == 2.0
    second = export_pipeline(other, tmp_path / "again")
    for pipe in (again, other, load_pipeline(second)):
        pipe.set_progress_bar_config(disable=True)
        torch.testing.assert_close(pipe(mask, generator=seeds(1, 2, 3), **sampling).images, expected)
    wrong = MaskDiffusionPipeline.from_pretrained(folder, scheduler=DDIMScheduler())
    with pytest.raises(ValueError, match="expects 'epsilon'"):
        wrong(mask)


def test_bf16_samples_are_finite(pipeline, mask) -> None:
    pipe = pipeline.to(dtype=torch.bfloat16)
    for solver in (None, "ddpm", "dpm", "unipc"):
        assert pipe(mask, num_inference_steps=3, solver=solver).images.isfinite().all()
