"""Long steps of flows that are known: where they lead, and that two halves make the whole."""

from __future__ import annotations

import math
from itertools import product

import torch

from cmrsynth.flow.flow_map import average_of_halves, shortcut_step, step_along
from cmrsynth.flow.rectified import interpolate


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_straight_path_is_walked_to_any_of_its_points() -> None:
    image, noise, t = normal(3, 1, 4, 4), normal(3, 1, 4, 4, seed=1), torch.tensor([1.0, 0.7, 0.5])
    duration = torch.tensor([1.0, 0.2, 0.25])
    reached = step_along(interpolate(image, noise, t), noise - image, duration)
    torch.testing.assert_close(reached, interpolate(image, noise, t - duration))


def test_two_halves_make_the_whole_of_a_curved_flow() -> None:
    """The flow dx/dt = x is known: x_r = x_t exp(r - t), so u = x_t (1 - exp(r - t)) / (t - r)."""

    def average(point: torch.Tensor, duration: torch.Tensor) -> torch.Tensor:
        d = duration[:, None, None, None]
        return point * (1 - torch.exp(-d)) / d

    point, duration = normal(2, 1, 4, 4), torch.tensor([1.0, 0.25])
    first = average(point, duration / 2)
    second = average(step_along(point, first, duration / 2), duration / 2)
    torch.testing.assert_close(average_of_halves(first, second), average(point, duration))
    instant = average_of_halves(point, step_along(point, point, duration / 2))  # planted: velocities for averages
    assert (instant - average(point, duration)).abs().max() > 0.01


def test_shortcuts_begin_where_sampling_is_and_end_within_the_path() -> None:
    uniform = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0))
    t, duration = shortcut_step(uniform, 4)
    found = {(a, b) for a, b in zip(t.tolist(), duration.tolist(), strict=True)}
    expected = {((i + 1) / n, 1 / n) for n, i in product((1, 2, 4), range(4)) if i < n}
    assert found == expected
    for n in (1, 2, 4):
        share = (duration == 1 / n).float().mean().item()
        assert math.isclose(share, 1 / 3, abs_tol=0.03)
    assert shortcut_step(uniform, 1)[1].unique().tolist() == [1.0]
