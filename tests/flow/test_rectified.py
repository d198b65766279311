from __future__ import annotations

import pytest
import torch

from cmrsynth.flow.rectified import interpolate, logit_normal_time, velocity_loss


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(3, 1, 4, 4, generator=generator) * 2 - 1, torch.randn(3, 1, 4, 4, generator=generator)


def test_the_path_runs_from_image_to_noise_at_constant_velocity(pair) -> None:
    image, noise = pair
    assert torch.equal(interpolate(image, noise, torch.zeros(3)), image)
    torch.testing.assert_close(interpolate(image, noise, torch.ones(3)), noise)
    t, h = torch.tensor([0.2, 0.5, 0.8]), 1e-2
    slope = (interpolate(image, noise, t + h) - interpolate(image, noise, t - h)) / (2 * h)
    torch.testing.assert_close(slope, noise - image, rtol=1e-3, atol=1e-4)


def test_one_euler_step_along_the_true_velocity_returns_the_image(pair) -> None:
    image, noise = pair
    t = torch.tensor([0.1, 0.5, 1.0])
    point = interpolate(image, noise, t)
    torch.testing.assert_close(point - t[:, None, None, None] * (noise - image), image, rtol=1e-4, atol=1e-5)


def test_the_loss_is_zero_only_for_the_true_velocity_and_is_per_sample(pair) -> None:
    image, noise = pair
    velocity = noise - image
    assert torch.equal(velocity_loss(velocity, image, noise), torch.zeros(3))
    velocity[1] += 2
    torch.testing.assert_close(velocity_loss(velocity, image, noise), torch.tensor([0.0, 4.0, 0.0]))


def test_logit_normal_times_have_the_right_quantiles() -> None:
    normal = torch.randn(20000, generator=torch.Generator().manual_seed(0))
    t = logit_normal_time(normal, mean=0.5, std=2.0)
    assert t.min() > 0
    assert t.max() < 1
    expected = torch.sigmoid(0.5 + 2.0 * torch.tensor([-1.2816, 0.0, 1.2816]))
    torch.testing.assert_close(t.quantile(torch.tensor([0.1, 0.5, 0.9])), expected, rtol=0.03, atol=0.01)
