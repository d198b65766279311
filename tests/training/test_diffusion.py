"""Diffusion training: targets and weights by their definitions, learning, resuming, and what is refused."""

from __future__ import annotations

import copy
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import PartialState
from diffusers import AutoencoderKL
from torch import Tensor, nn

from cmrsynth.data.loading import load_slices
from cmrsynth.errors import InputError
from cmrsynth.hub.export import export_pipeline
from cmrsynth.hub.load import load_pipeline
from cmrsynth.labels import one_hot
from cmrsynth.pipelines import AutoencoderPipeline
from cmrsynth.training.batches import Withholding, draw_batch
from cmrsynth.training.diffusion import Diffusion, DiffusionObjective, min_snr_weight, noise_schedule, uniform_timestep
from cmrsynth.training.diffusion_config import PREDICTIONS, DiffusionConfig
from cmrsynth.training.family import seeded_weights
from cmrsynth.training.program import train
from cmrsynth.training.run import Run

TINY = {
    "block_out_channels": [8, 8, 16],
    "attention_levels": [2],
    "batch_size": 4,
    "warmup_steps": 2,
    "log_steps": 1,
    "sample_inference_steps": 2,
    "mixed_precision": "no",
    "cpu_threads": 1,
}


@pytest.fixture
def config(toy_folder: Path, tmp_path: Path) -> DiffusionConfig:
    return DiffusionConfig(data=str(toy_folder), output=str(tmp_path / "run"), max_train_steps=6, **TINY)


class Oracle(nn.Module):
    """A network that knows the noise and the image, and is wrong by `off` in whichever of them it predicts."""

    def __init__(self, answer: Tensor, off: float) -> None:
        super().__init__()
        self.answer, self.off = answer, off

    def forward(self, noisy: Tensor, timestep: Tensor, **_: object) -> tuple[Tensor]:
        return (self.answer + self.off,)


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_the_loss_is_zero_for_whoever_knows_the_answer_and_weighs_the_image_by_min_snr(config, prediction_type) -> None:
    config = replace(config, prediction_type=prediction_type)
    family = Diffusion(config, load_slices(config.data, "train"))
    batch = draw_batch(family.tensors(family.slices), range(8), seed=0, withholding=Withholding(), shift=0)
    schedule = noise_schedule(config)
    timestep = uniform_timestep(batch.time_normal, 1000)
    alpha = schedule.alphas_cumprod[timestep].view(-1, 1, 1, 1)
    v = alpha.sqrt() * batch.noise - (1 - alpha).sqrt() * batch.image
    answer = {"epsilon": batch.noise, "sample": batch.image, "v_prediction": v}[prediction_type]

    def losses(off: float, gamma: float) -> Tensor:
        denoiser = nn.ModuleDict({"unet": Oracle(answer, off), "condition_encoder": family.encoder})
        return DiffusionObjective(denoiser, schedule, snr_gamma=gamma)(batch)

    assert losses(0.0, 5.0).abs().max() < 1e-9
    torch.testing.assert_close(losses(0.5, 0.0), torch.full((8,), 0.25))
    # the error of the image that an error of .5 in the prediction means, by the definitions of noise and v
    snr = (alpha / (1 - alpha)).flatten()
    image_error = {"sample": torch.ones(8), "epsilon": 1 / snr, "v_prediction": (1 - alpha).flatten()}[prediction_type]
    torch.testing.assert_close(losses(0.5, 5.0), 0.25 * image_error * snr.clamp(max=5), rtol=1e-3, atol=1e-6)


def test_timesteps_are_uniform() -> None:
    timestep = uniform_timestep(torch.randn(20_000, generator=torch.Generator().manual_seed(0)), 1000)
    assert (timestep.min().item(), timestep.max().item()) == (0, 999)
    counts = torch.histc(timestep.float(), bins=10, min=0, max=1000)
    assert (counts / 2000 - 1).abs().max() < 0.1
    assert uniform_timestep(torch.tensor([-40.0, 40.0]), 1000).tolist() == [0, 999]


def test_weights_are_those_of_the_paper() -> None:
    snr = torch.tensor([0.1, 5.0, 50.0])
    torch.testing.assert_close(min_snr_weight(snr, "epsilon", 5.0), torch.tensor([1.0, 1.0, 0.1]))
    torch.testing.assert_close(min_snr_weight(snr, "sample", 5.0), torch.tensor([0.1, 5.0, 5.0]))
    torch.testing.assert_close(min_snr_weight(snr, "v_prediction", 5.0), snr.clamp(max=5) / (snr + 1))


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_it_learns_eight_images_and_gradients_reach_every_parameter(config, prediction_type: str) -> None:
    config = replace(config, prediction_type=prediction_type, snr_gamma=0.0)
    slices = load_slices(config.data, "train")
    with seeded_weights(0):
        family = Diffusion(config, slices.select(np.arange(8)))
    data, objective = family.tensors(family.slices), family.phases[0].objective
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    withheld = Withholding(condition=0.3)

    def step(number: int) -> float:
        batch = draw_batch(data, range(8 * number, 8 * number + 8), seed=0, withholding=withheld, shift=0)
        loss = objective(batch).mean()
        loss.backward()
        reached = [n for n, p in objective.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        optimizer.step()
        optimizer.zero_grad()
        if number == 3:  # zero-initialised layers hide those before them from the first gradients
            assert reached == []
        return loss.item()

    losses = [step(number) for number in range(50)]
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])


def test_a_resumed_run_reaches_the_same_weights(config, tmp_path: Path) -> None:
    def weights(run: Run) -> dict[str, Tensor]:
        return {
            **run.family.averaged.state_dict(),
            **{f"e.{k}": v for k, v in run.averaged_networks().state_dict().items()},
        }

    straight, first = Run(config, Diffusion), Run(replace(config, output=str(tmp_path / "broken")), Diffusion)
    for _ in range(6):
        straight.train_step()
    for _ in range(2):
        first.train_step()
    first.save()
    torch.rand(7)  # nothing may hang on the global random state
    second = Run(first.config, Diffusion)
    second.resume()
    for _ in range(4):
        second.train_step()
    expected, found = weights(straight), weights(second)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_models_are_freed_before_the_group_of_processes_ends(config, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(config, Diffusion)
    (name,) = run.objectives
    wrapped = nn.Sequential(run.objectives[name])  # as DistributedDataParallel wraps it: held by the accelerator too,
    wrapped.__dict__["itself"] = wrapped  # and in a cycle
    run.objectives[name] = wrapped
    run.accelerator._models.append(wrapped)
    wrapped = weakref.ref(wrapped)
    alive = []
    monkeypatch.setattr(PartialState, "destroy_process_group", lambda _: alive.append(wrapped() is not None))
    run.end()
    assert alive == [False]


def test_the_whole_program_leaves_a_pipeline_that_samples(config) -> None:
    train(replace(config, max_train_steps=2, checkpoint_steps=2, validation_steps=1, sample_steps=2), Diffusion)
    folder = Path(config.output)
    assert list((folder / "samples").glob("*.png"))
    pipe = load_pipeline(folder / "pipeline")
    assert (pipe.config.prediction_type, pipe.config.condition_dropout) == ("v_prediction", 0.1)
    pipe.set_progress_bar_config(disable=True)
    for solver in (None, "ddpm", "dpm", "unipc"):
        assert pipe(batch_size=2, vendor="A", solver=solver, num_inference_steps=2).images.isfinite().all()


def test_an_unconditional_model_is_a_setting(config) -> None:
    family = Diffusion(replace(config, conditioning="none", attributes=[]), load_slices(config.data, "train"))
    pipe = family.pipeline(copy.deepcopy(family.averaged))
    pipe.set_progress_bar_config(disable=True)
    assert pipe(batch_size=2, num_inference_steps=2).images.shape == (2, 1, 16, 16)
    with pytest.raises(ValueError, match="takes no mask"):
        pipe(torch.zeros(1, 4, 16, 16), num_inference_steps=2)


def test_a_schedule_with_zero_terminal_snr_ends_in_pure_noise_and_samples(config) -> None:
    config = replace(config, zero_terminal_snr=True, snr_gamma=0.0)
    assert noise_schedule(config).alphas_cumprod[-1] == 0
    family = Diffusion(config, load_slices(config.data, "train"))
    pipe = family.pipeline(family.averaged)
    pipe.set_progress_bar_config(disable=True)
    for solver in (None, "ddpm", "dpm", "unipc"):
        assert pipe(batch_size=1, solver=solver, num_inference_steps=3).images.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prediction_type": "velocity"}, "prediction_type 'velocity'"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule 'sigmoid'"),
        ({"snr_gamma": -1.0}, "snr_gamma is -1"),
        ({"zero_terminal_snr": True, "prediction_type": "epsilon", "snr_gamma": 0.0}, "pure noise says nothing"),
        ({"zero_terminal_snr": True}, "would weigh nothing"),
        ({"vae": "runs/autoencoder/pipeline", "prediction_type": "epsilon"}, "latents have no range"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_reason(config, settings, message) -> None:
    with pytest.raises(InputError, match=message):
        replace(config, **settings)


@pytest.mark.parametrize("settings", [{"conditioning": "spade"}, {"backbone": "dit"}])
def test_every_denoiser_serves(config, settings) -> None:
    family = Diffusion(replace(config, **settings), load_slices(config.data, "train"))
    batch = draw_batch(family.tensors(family.slices), range(3), seed=0, withholding=Withholding(), shift=0)
    assert family.phases[0].objective(batch).isfinite().all()
    pipe = family.pipeline(family.averaged.eval())
    pipe.set_progress_bar_config(disable=True)
    assert pipe(batch.mask, num_inference_steps=2, mask_guidance_scale=1.5).images.shape == (3, 1, 16, 16)
    assert pipe.predict_noise(batch.noise, torch.tensor([0, 500, 999]), batch.mask).isfinite().all()


@pytest.fixture
def autoencoder(toy_folder: Path, tmp_path: Path) -> str:
    with seeded_weights(0):
        vae = AutoencoderKL(
            in_channels=1, out_channels=1, latent_channels=4, block_out_channels=(8, 8), norm_num_groups=4,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            sample_size=16, scaling_factor=1.5, shift_factor=0.1,
        )  # fmt: skip
    return str(export_pipeline(AutoencoderPipeline(vae, pixel_spacing_mm=2.0), tmp_path / "autoencoder"))


def test_latents_diffuse_as_images_do_and_resume_with_the_same_autoencoder_only(config, autoencoder, tmp_path) -> None:
    config = replace(config, vae=autoencoder)
    straight, first = Run(config, Diffusion), Run(replace(config, output=str(tmp_path / "broken")), Diffusion)
    for run in (straight, first):
        run.train_step()
    first.save()
    second = Run(first.config, Diffusion)
    second.resume()
    for run in (straight, second):
        run.train_step()
    expected, found = straight.family.averaged.state_dict(), second.family.averaged.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    with pytest.raises(InputError, match="another autoencoder"):
        second.family.load_state({"autoencoder": 1.0})
    pipe = load_pipeline(export_pipeline(straight.pipeline(), tmp_path / "pipeline"))
    pipe.set_progress_bar_config(disable=True)
    assert (pipe.sample_size, pipe.unet.config.in_channels, pipe.scheduler.config.clip_sample) == (16, 4, False)
    mask = one_hot(torch.from_numpy(straight.train_slices.masks[:2]))
    for solver in (None, "dpm"):
        assert pipe(mask, solver=solver, num_inference_steps=2).images.shape == (2, 1, 16, 16)
