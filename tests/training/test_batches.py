from __future__ import annotations

from collections import Counter

import pytest
import torch

from cmrsynth.labels import one_hot
from cmrsynth.training.batches import Batch, TrainingSlices, Withholding, draw_batch, positions_of_step, row_at

KEEP = Withholding(0.0, 0.0, 0.0)


@pytest.fixture
def data() -> TrainingSlices:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (5, 8, 8), generator=generator).to(torch.uint8)
    images = labels[:, None].float() / 3 * 2 - 1  # image and mask tell the same, so a wrong pairing shows
    return TrainingSlices(images, labels, torch.arange(1.0, 11).reshape(5, 2), torch.zeros(2), torch.arange(2))


def test_each_epoch_is_a_permutation_and_epochs_differ() -> None:
    epochs = [[row_at(p, 7, seed=0) for p in range(7 * e, 7 * e + 7)] for e in range(3)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_processes_together_see_what_one_sees(data: TrainingSlices) -> None:
    together = [positions_of_step(3, batch_size=2, rank=r, world_size=2) for r in (0, 1)]
    alone = positions_of_step(3, batch_size=4, rank=0, world_size=1)
    halves = [draw_batch(data, p, seed=1, withholding=KEEP, shift=2) for p in together]
    whole = draw_batch(data, alone, seed=1, withholding=KEEP, shift=2)
    for name in Batch._fields:
        assert torch.equal(torch.cat([getattr(h, name) for h in halves]), getattr(whole, name))


def test_image_and_mask_are_shifted_together_and_not_interpolated(data: TrainingSlices) -> None:
    batch = draw_batch(data, range(20), seed=0, withholding=KEEP, shift=3)
    labels = ((batch.image[:, 0] + 1) / 2 * 3).round().long()
    assert torch.equal(batch.mask.argmax(1), labels)
    assert set(batch.image.unique().tolist()) <= set(data.images.unique().tolist())
    unshifted = draw_batch(data, range(5), seed=0, withholding=KEEP, shift=0)
    assert torch.equal(unshifted.image, data.images[[row_at(p, 5, 0) for p in range(5)]])


def test_shares_of_withheld_conditions(data: TrainingSlices) -> None:
    n = 4000
    batch = draw_batch(data, range(n), seed=0, withholding=Withholding(0.2, 0.25, 0.5), shift=0)
    no_mask = batch.mask.sum((1, 2, 3)) == 0
    attribute_gone = batch.conditions == 0
    assert abs(no_mask.float().mean() - (0.2 + 0.8 * 0.25)) < 0.03
    assert abs(attribute_gone.float().mean() - (0.2 + 0.8 * 0.5)) < 0.03
    # "everything" goes together: both attributes and the mask
    everything = no_mask & attribute_gone.all(1)
    assert abs(everything.float().mean() - (0.2 + 0.8 * 0.25 * 0.25)) < 0.03
    assert torch.equal(batch.mask[~no_mask].sum(1), torch.ones_like(batch.mask[~no_mask][:, 0]))


def test_draws_are_normal_and_differ(data: TrainingSlices) -> None:
    batch = draw_batch(data, range(500), seed=0, withholding=KEEP, shift=0)
    assert abs(batch.noise.mean()) < 0.02
    assert abs(batch.noise.std() - 1) < 0.02
    assert abs(batch.time_normal.std() - 1) < 0.1
    assert max(Counter(batch.time_normal.tolist()).values()) == 1


def test_where_classes_are_withheld_background_is_too(data: TrainingSlices) -> None:
    n = 2000
    batch = draw_batch(data, range(n), seed=0, withholding=Withholding(classes=0.5), shift=0)
    whole = draw_batch(data, range(n), seed=0, withholding=KEEP, shift=0)
    changed = (batch.mask != whole.mask).flatten(1).any(1)
    assert 0.35 < changed.float().mean() < 0.5  # one subset in eight is all classes
    assert (batch.mask[changed][:, 0] == 0).all()
    given = batch.mask[changed].flatten(2).any(2)[:, 1:]
    assert torch.equal(batch.mask[changed][:, 1:], whole.mask[changed][:, 1:] * given[:, :, None, None])
    assert 0.3 < given.float().mean() < 0.6


def test_a_subset_of_classes_is_given_at_sampling_as_it_was_in_training(data: TrainingSlices) -> None:
    batch = draw_batch(data, range(64), seed=0, withholding=Withholding(classes=1.0), shift=0)
    whole = draw_batch(data, range(64), seed=0, withholding=KEEP, shift=0).mask
    met = set()
    for mask, complete in zip(batch.mask, whole, strict=True):
        given = tuple(label for label in (1, 2, 3) if mask[label].any())
        if complete[1:].flatten(1).any(1).all():  # a class that the slice lacks cannot be told from one withheld
            assert torch.equal(one_hot(complete.argmax(0)[None], given)[0], mask)
            met.add(given)
    assert len(met) == 8


def test_a_condition_of_many_columns_goes_as_one(data: TrainingSlices) -> None:
    rows, missing = torch.randn(5, 4), torch.tensor([0.0, torch.nan, torch.nan, torch.nan])
    wide = TrainingSlices(data.images, data.labels, rows, missing, torch.tensor([0, 1, 1, 1]))
    batch = draw_batch(wide, range(400), seed=0, withholding=Withholding(condition=0.4), shift=0)
    gone = batch.conditions[:, 1:].isnan()
    assert torch.equal(gone.any(1), gone.all(1))
    assert abs(gone.any(1).float().mean() - 0.4) < 0.08
