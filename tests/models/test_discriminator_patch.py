"""The discriminator: every scale judges, gradients reach every weight and the image, and its state is all it has."""

from __future__ import annotations

import pytest
import torch

from cmrsynth.models.discriminator_patch import PatchDiscriminator
from cmrsynth.training.family import seeded_weights


@pytest.fixture
def discriminator() -> PatchDiscriminator:
    with seeded_weights(0):  # some weights need many power iterations
        return PatchDiscriminator(widths=(4, 8), scales=2)


@pytest.fixture
def plain() -> PatchDiscriminator:
    with seeded_weights(0):
        return PatchDiscriminator(widths=(4, 8), scales=2, norm=0.0)


def shown(count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (count, 16, 16), generator=generator)
    mask = torch.nn.functional.one_hot(labels, 4).movedim(-1, 1).float()
    return torch.randn(count, 1, 16, 16, generator=generator), mask


def test_every_scale_returns_a_map_of_logits_and_its_features(discriminator) -> None:
    judgements = discriminator(*shown())
    assert [tuple(j.logits.shape) for j in judgements] == [(3, 1, 4, 4), (3, 1, 2, 2)]
    assert [[tuple(f.shape[1:]) for f in j.features] for j in judgements] == [
        [(4, 8, 8), (8, 4, 4), (8, 4, 4)],
        [(4, 4, 4), (8, 2, 2), (8, 2, 2)],
    ]


def test_gradients_reach_every_weight_and_the_image_twice(discriminator) -> None:
    image, mask = shown()
    image.requires_grad_()
    logits = sum(j.logits.sum() for j in discriminator(image, mask))
    (slope,) = torch.autograd.grad(logits, image, create_graph=True)
    (logits + slope.square().sum()).backward()  # as a gradient penalty asks for
    assert slope.abs().sum() > 0
    assert [n for n, p in discriminator.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_the_mask_counts_and_an_image_is_judged_by_itself(discriminator) -> None:
    discriminator.eval()
    image, mask = shown()
    together, alone, other = (discriminator(*x)[0].logits for x in ((image, mask), (image[:1], mask[:1]), (image,)))
    torch.testing.assert_close(together[:1], alone)
    assert not torch.allclose(together, other)


def test_weights_have_spectral_norm_one_and_the_state_continues_the_estimate(discriminator) -> None:
    image, mask = shown()
    for _ in range(100):
        discriminator(image, mask)
    weight = discriminator.judges[0].layers[1].weight.detach().flatten(1)
    assert torch.linalg.matrix_norm(weight, 2) == pytest.approx(1, abs=1e-3)
    other = PatchDiscriminator(widths=(4, 8), scales=2)
    other.load_state_dict(discriminator.state_dict())
    for _ in range(2):
        assert torch.equal(discriminator(image, mask)[0].logits, other(image, mask)[0].logits)


def test_bf16_autocast_keeps_the_norm_in_float32(discriminator) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        logits = discriminator(*shown())[0].logits
    assert logits.dtype == torch.bfloat16
    assert discriminator.judges[0].layers[0].parametrizations.weight[0]._u.dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({"mask_channels": 0}, shown(), "sees no mask"),
        ({"widths": (4, 4, 4, 4)}, shown(), "multiples of 32"),
    ],
)
def test_wrong_use_is_refused_with_the_reason(options, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        PatchDiscriminator(**options)(*arguments)


@torch.no_grad()
def test_without_spectral_norm_differences_are_passed_on_from_the_start(discriminator, plain) -> None:
    image, mask = shown()
    assert not any("original" in name for name in plain.state_dict())

    def passed_on(network: PatchDiscriminator) -> float:
        """How much of a change of the image is left in the deepest features."""
        before, after = (network(x, mask)[0].features[-1] for x in (image, 1.1 * image))
        return ((after - before).norm() / before.norm()).item() * before.std().item()

    assert passed_on(plain) > 2 * passed_on(discriminator)  # 4 to 8 times with seeds from 0 to 7


def test_without_spectral_norm_gradients_reach_every_weight_too(plain) -> None:
    sum(judgement.logits.sum() for judgement in plain(*shown())).backward()
    assert [n for n, p in plain.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize(("norm", "least", "most"), [(1.0, 0.0, 0.1), (2.0, 0.3, 1.5)])
def test_at_a_norm_of_two_signals_keep_their_size(norm: float, least: float, most: float) -> None:
    torch.random.default_generator.manual_seed(0)
    discriminator = PatchDiscriminator(mask_channels=0, widths=(16, 32, 64), scales=1, norm=norm)
    image = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    for _ in range(10):  # the power iteration settles
        judgement = discriminator(image)[0]
    assert least < judgement.features[-1].square().mean().sqrt() < most
