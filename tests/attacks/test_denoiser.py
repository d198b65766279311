from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cmrsynth.attacks.denoiser import (
    DiffusionDenoiser,
    FlowDenoiser,
    add_noise,
    alpha_bar_at,
    alpha_bar_of_flow_time,
    bind,
    ddim_step,
    encode_latents,
    flow_time_of_alpha_bar,
    linear_schedule,
    predict_image,
)

IMAGE, NOISE = torch.linspace(-1, 1, 16).reshape(1, 1, 4, 4), torch.ones(1, 1, 4, 4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_an_oracle_of_any_parametrisation_gives_the_noise_and_the_image(prediction):
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(prediction_type=prediction)
    target = {
        "epsilon": lambda t: NOISE,
        "v_prediction": lambda t: scheduler.get_velocity(IMAGE, NOISE, t),
        "sample": lambda t: IMAGE,
    }[prediction]
    denoiser = DiffusionDenoiser(lambda point, t: target(t), scheduler.alphas_cumprod.numpy(), prediction)
    for step in (50, 200, 700):
        point = scheduler.add_noise(IMAGE, NOISE, torch.tensor([step]))
        level = alpha_bar_at(denoiser, step)
        torch.testing.assert_close(denoiser.predict_noise(point, level), NOISE, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(predict_image(denoiser, point, level), IMAGE, rtol=1e-3, atol=1e-3)


def test_an_oracle_flow_gives_the_noise_at_the_matching_time():
    seen = []

    def velocity(point, t):
        seen.append((point, float(t[0])))
        return NOISE - IMAGE

    for time in (0.1, 0.5, 0.9):
        level = alpha_bar_of_flow_time(time)
        found = FlowDenoiser(velocity).predict_noise(add_noise(IMAGE, NOISE, level), level)
        torch.testing.assert_close(found, NOISE)
        point, t = seen[-1]
        assert t == pytest.approx(time)
        torch.testing.assert_close(point, (1 - time) * IMAGE + time * NOISE)


def test_time_and_alpha_bar_are_inverse():
    for time in np.linspace(0, 1, 11):
        assert flow_time_of_alpha_bar(alpha_bar_of_flow_time(time)) == pytest.approx(time, abs=1e-7)


def test_a_step_and_its_way_back_cancel_for_an_oracle():
    oracle = SimpleNamespace(predict_noise=lambda point, alpha_bar: NOISE)
    point = add_noise(IMAGE, NOISE, 0.9)
    back = ddim_step(oracle, ddim_step(oracle, point, 0.9, 0.5), 0.5, 0.9)
    torch.testing.assert_close(back, point)


def test_a_model_of_another_length_is_asked_at_the_same_share_of_its_schedule():
    short = DiffusionDenoiser(lambda point, t: point, linear_schedule(100, 1e-3, 0.2))
    assert alpha_bar_at(short, 200) == pytest.approx(linear_schedule(100, 1e-3, 0.2)[20])
    with pytest.raises(ValueError, match="step"):
        alpha_bar_at(short, 1000)


def test_conditions_reach_the_pipeline():
    class Pipeline:
        scheduler = SimpleNamespace(alphas_cumprod=np.array([0.9, 0.5]))

        def predict_noise(self, sample, timestep, mask, **attributes):
            return (mask, attributes, timestep)

    bound = bind(Pipeline(), NOISE, vendor=["A"])
    mask, attributes, step = bound.predict_noise(IMAGE, 0.5)
    assert mask is NOISE
    assert attributes == {"vendor": ["A"]}
    assert step.tolist() == [1]
    assert alpha_bar_at(bound, 999) == 0.5


def test_a_pipeline_that_is_no_denoiser_is_refused():
    with pytest.raises(ValueError, match="neither"):
        bind(object())


def test_an_unknown_parametrisation_is_refused():
    with pytest.raises(ValueError, match="prediction_type"):
        DiffusionDenoiser(lambda point, t: point, linear_schedule(), "noise")


def test_latents_of_a_diffusers_autoencoder_are_shifted_and_scaled():
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(
        in_channels=1, out_channels=1, block_out_channels=(8,), norm_num_groups=4, latent_channels=2, sample_size=8,
        scaling_factor=0.5, shift_factor=0.25,
    ).eval()  # fmt: skip
    images = torch.zeros(2, 1, 8, 8)
    with torch.inference_mode():
        expected = (vae.encode(images).latent_dist.mean - 0.25) * 0.5
        torch.testing.assert_close(encode_latents(vae, images), expected)
