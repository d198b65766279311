"""The transformer sees every pixel of the mask, joins its patches, and says what it cannot do."""

from __future__ import annotations

import pytest
import torch

from cmrsynth.labels import one_hot
from cmrsynth.models import MaskDiT


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def network() -> MaskDiT:
    made = MaskDiT(sample_size=16, block_out_channels=(8, 8, 16), num_layers=2)
    generator = torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return made.eval()


@torch.no_grad()
def test_blocks_start_closed() -> None:
    fresh = MaskDiT(sample_size=16, block_out_channels=(8, 8, 16), num_layers=2)
    shallow = MaskDiT(sample_size=16, block_out_channels=(8, 8, 16), num_layers=0)
    shallow.load_state_dict({k: v for k, v in fresh.state_dict().items() if not k.startswith("blocks.")})
    torch.testing.assert_close(fresh(normal(1, 1, 16, 16), 5.0).sample, shallow(normal(1, 1, 16, 16), 5.0).sample)


@torch.no_grad()
def test_each_pixel_of_the_mask_is_seen(network) -> None:
    """Not only the share of each class in a patch: a class moved within its patch changes the embedding."""
    labels = torch.zeros(1, 16, 16, dtype=torch.long)
    labels[0, 4, 4], moved = 2, labels.clone()
    moved[0, 4, 4], moved[0, 4, 5] = 0, 2
    here, there = (network.prepare_mask(one_hot(x))[0] for x in (labels, moved))
    assert (here - there)[0, 5].abs().max() > 0.05  # patch 5 of 4 x 4 holds rows and columns 4 to 7
    assert (here - there)[0, [p for p in range(16) if p != 5]].abs().max() == 0


@torch.no_grad()
def test_a_patch_comes_out_where_it_went_in() -> None:
    network = MaskDiT(sample_size=16, block_out_channels=(8, 16), num_layers=0)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    labels = torch.zeros(1, 16, 32, dtype=torch.long)  # not square: rows and columns cannot be mistaken
    labels[0, 6:8, 20:22] = 3  # one patch of 2x2 pixels
    sample = normal(1, 1, 16, 32)
    before, after = (network(sample, 5.0, mask=one_hot(x)).sample[0, 0] for x in (0 * labels, labels))
    row, column = divmod((before - after).abs().argmax().item(), 32)
    assert 5 <= row <= 8  # the last convolution reaches one pixel further
    assert 19 <= column <= 22


@torch.no_grad()
def test_tokens_look_at_each_other(network) -> None:
    sample = normal(1, 1, 16, 16)
    far = sample.clone()
    far[..., 15, 15] += 3
    near = (network(sample, 5.0).sample - network(far, 5.0).sample).abs()[0, 0, :4, :4]
    assert near.max() > 1e-4


def test_a_branch_for_skips_is_refused(network) -> None:
    with pytest.raises(ValueError, match="use MaskUNet"):
        network(normal(1, 1, 16, 16), 5.0, residuals=[normal(1, 8, 16, 16)])


@pytest.mark.parametrize("widths", [(16,), (8, 18)])
def test_widths_that_cannot_be_patches_are_refused(widths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two levels or more"):
        MaskDiT(block_out_channels=widths)
