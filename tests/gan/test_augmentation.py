"""The augmentation: identity at probability 0, mask and image move together, each example by itself, differentiable."""

from __future__ import annotations

import pytest
import torch

from cmrsynth.gan.augmentation import adapted_probability, augment
from cmrsynth.labels import one_hot

KEPT, ALWAYS = 0.99, 0.0  # uniform numbers that leave an augmentation out below certainty, and that always apply it


def uniform(*, colour=KEPT, shift=KEPT, cut=KEPT, values=(0.5,) * 6, batch: int = 1) -> torch.Tensor:
    return torch.tensor([[colour, shift, cut, *values]]).repeat(batch, 1)


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(5, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def mask() -> torch.Tensor:
    return one_hot(torch.randint(0, 4, (5, 16, 16), generator=torch.Generator().manual_seed(1)))


def test_probability_zero_changes_nothing(image, mask) -> None:
    same, same_mask = augment(image, mask, torch.zeros(5, 9), 0.0)
    assert torch.equal(same, image)
    assert torch.equal(same_mask, mask)


def test_what_is_not_chosen_is_left_alone(image, mask) -> None:
    same, same_mask = augment(image, mask, uniform(batch=5, values=(0.9,) * 6), 0.5)
    torch.testing.assert_close(same, image)
    assert torch.equal(same_mask, mask)


def test_brightness_and_contrast(image) -> None:
    bright, _ = augment(image, None, uniform(colour=ALWAYS, values=(0.9, 0.5, 0.5, 0.5, 0.5, 0.5), batch=5), 0.5)
    torch.testing.assert_close(bright, image + 0.4)
    flat, _ = augment(image, None, uniform(colour=ALWAYS, values=(0.5, 0.1, 0.5, 0.5, 0.5, 0.5), batch=5), 0.5)
    torch.testing.assert_close(flat.mean((1, 2, 3)), image.mean((1, 2, 3)))
    torch.testing.assert_close(flat.std((1, 2, 3)), 0.6 * image.std((1, 2, 3)))


def test_image_and_mask_move_together_by_whole_pixels(image, mask) -> None:
    draws = uniform(shift=ALWAYS, values=(0.5, 0.5, 0.999, 0.0, 0.5, 0.5), batch=5)
    moved, moved_mask = augment(image, mask, draws, 0.5)  # an eighth of 16: 2 rows on, 2 columns back
    torch.testing.assert_close(moved[:, :, :-2, 2:], image[:, :, 2:, :-2])
    assert torch.equal(moved_mask[:, :, :-2, 2:], mask[:, :, 2:, :-2])
    assert moved[:, :, -2:].abs().sum() == moved_mask[:, :, :, :2].abs().sum() == 0


def test_a_square_of_half_the_side_is_cut_from_the_image_alone(image, mask) -> None:
    cut, kept = augment(image, mask, uniform(cut=ALWAYS, batch=5), 0.5)
    assert (cut == 0).sum((1, 2, 3)).tolist() == [64] * 5
    assert cut[:, :, 4:12, 4:12].abs().sum() == 0
    assert torch.equal(kept, mask)


def test_each_example_has_its_own_draws_and_gradients_pass(image, mask) -> None:
    draws = torch.rand(5, 9, generator=torch.Generator().manual_seed(2))
    image.requires_grad_()
    together, _ = augment(image, mask, draws, 0.7)
    alone, _ = augment(image[3:4], mask[3:4], draws[3:4], 0.7)
    torch.testing.assert_close(together[3:4], alone)
    together.square().sum().backward()
    assert (image.grad.abs().sum((1, 2, 3)) > 0).all()


def test_the_probability_follows_the_sign_within_bounds() -> None:
    rise = [0.0]
    for _ in range(12):
        rise.append(adapted_probability(rise[-1], 1.0, target=0.6, images=10, span=100))
    assert rise[10] == pytest.approx(1.0)
    assert rise[-1] == 1.0
    assert adapted_probability(1.0, 0.1, target=0.6, images=10, span=100) == 0.9
