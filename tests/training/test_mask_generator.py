"""The mask generator in training: what it learns, how it continues, what it leaves behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cmrsynth.data.loading import load_slices
from cmrsynth.errors import InputError
from cmrsynth.hub.load import load_pipeline
from cmrsynth.labels import LV, MYO, RV
from cmrsynth.training.batches import Withholding, draw_batch
from cmrsynth.training.mask_generator import MaskGenerator, real_anatomy, signed_distances
from cmrsynth.training.mask_generator_config import MaskGeneratorConfig
from cmrsynth.training.program import train
from cmrsynth.training.run import Run

TINY = {
    "block_out_channels": [8, 8, 16],
    "latent_dim": 6,
    "kl_warmup_steps": 4,
    "audited_masks": 8,
    "batch_size": 8,
    "max_train_steps": 6,
    "warmup_steps": 1,
    "mixed_precision": "no",
    "cpu_threads": 1,
    "sample_steps": 0,
    "log_steps": 2,
    "checkpoint_steps": 3,
    "validation_steps": 3,
}


def tiny_config(data: Path, output: Path, **settings) -> MaskGeneratorConfig:
    return MaskGeneratorConfig(str(data), str(output), **{**TINY, **settings})


def test_distances_have_the_sign_of_the_label_and_their_argmax_is_the_mask(toy_folder: Path) -> None:
    for mask in load_slices(toy_folder, "test").masks:
        maps = signed_distances(mask, 2.0)
        assert maps.shape == (4, 16, 16)
        assert np.abs(maps).max() <= 1
        np.testing.assert_array_equal(maps.argmax(axis=0), mask)
        np.testing.assert_array_equal(maps[LV] > 0, mask == LV)
    assert (signed_distances(np.zeros((4, 4)), 2.0)[1:] == -1).all()


def test_the_anatomy_of_real_masks_is_learned_per_level(toy_folder: Path) -> None:
    slices = load_slices(toy_folder, "train")
    slices = replace(slices.select(np.tile(np.arange(len(slices)), 3)), masks=np.tile(slices.masks, (3, 1, 1)))
    masks, basal = slices.masks.copy(), slices.slice_level == "basal"
    for row in np.flatnonzero(basal)[::3]:  # a third of the basal masks is open to one side, with a second piece of LV
        column = np.argwhere(masks[row] == LV)[:, 1].min()
        masks[row][:, : column + 1][masks[row][:, : column + 1] == MYO] = 0
        masks[row][0, 0] = LV
    anatomy = real_anatomy(replace(slices, masks=masks))
    assert anatomy["labels"] == [1, 2, 3]
    assert anatomy["levels"]["basal"]["tolerated"] == ["lv_pieces"]
    assert anatomy["levels"]["basal"]["least_enclosed"] < 1.0
    mid = slices.masks[slices.slice_level == "mid"]
    least = {str(label): int((mid == label).sum((1, 2)).min()) for label in (LV, MYO, RV)}
    expected = {"present": ["123"], "tolerated": [], "least_pixels": least, "least_enclosed": 1.0}
    assert anatomy["levels"]["mid"] == expected
    assert set(real_anatomy(slices.select(range(12)))["levels"]) == {"any"}  # too few of each level to tell


def test_where_only_the_cavity_is_annotated_only_the_cavity_is_drawn(toy_folder: Path) -> None:
    slices = load_slices(toy_folder, "train")
    cavity = replace(slices, masks=np.where(slices.masks == LV, slices.masks, 0), annotated_labels=(LV,))
    anatomy = real_anatomy(cavity)
    assert anatomy["labels"] == [LV]
    sizes = [int((mask == LV).sum()) for mask in slices.masks]
    expected = {"present": ["1"], "tolerated": [], "least_pixels": {"1": min(sizes)}, "least_enclosed": 1.0}
    assert anatomy["levels"]["any"] == expected


def state_of(run: Run) -> dict[str, torch.Tensor]:
    weights = {f"{name}.{k}": v for name, net in run.objectives.items() for k, v in net.state_dict().items()}
    return {**weights, **{f"ema.{i}": p for i, p in enumerate(run.ema.shadow_params)}}


def test_an_interrupted_run_reaches_the_same_weights(toy_folder: Path, tmp_path: Path) -> None:
    config = tiny_config(toy_folder, tmp_path / "run")
    straight = Run(replace(config, output=str(tmp_path / "straight")), MaskGenerator)
    for _ in range(6):
        straight.train_step()
    first = Run(config, MaskGenerator)
    for _ in range(3):  # the divergence has not reached its weight
        first.train_step()
    first.save()
    second = Run(config, MaskGenerator)
    second.resume()
    assert second.family.state() == first.family.state() == {"step": 3, "kl_weight": 0.75 * config.kl_weight}
    while second.step < 6:
        second.train_step()
    ours, theirs = state_of(second), state_of(straight)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_it_learns_eight_masks_by_heart(toy_folder: Path, tmp_path: Path) -> None:
    settings = {"block_out_channels": [16, 24, 32], "learning_rate": 3e-3, "kl_weight": 0.01, "augment_shift": 0}
    run = Run(tiny_config(toy_folder, tmp_path / "run", **settings, decay_fraction=0.0, ema_decay=0.9), MaskGenerator)
    images, labels = run.train.images[:8], run.train.labels[:8]
    run.train = replace(run.train, images=images, labels=labels, conditions=run.train.conditions[:8])
    losses = [run.train_step()["vae"].item() for _ in range(150)]
    assert losses[-1] < losses[0] - 3
    networks = run.averaged_networks()
    vae, batch = networks["vae"], draw_batch(run.train, range(8), seed=0, withholding=Withholding(), shift=0)
    with torch.no_grad():
        condition = networks["condition_encoder"](batch.conditions)
        decoded = vae.to_labels(vae.decode(vae.encode(batch.image, condition)[0], condition))
    assert (decoded == batch.image.argmax(1)).float().mean() > 0.97


def test_a_training_leaves_a_pipeline_its_card_and_the_audit(toy_folder: Path, tmp_path: Path) -> None:
    train(tiny_config(toy_folder, tmp_path / "run", sample_steps=3), MaskGenerator)
    folder = tmp_path / "run" / "pipeline"
    pipeline = load_pipeline(folder)
    assert pipeline.condition_encoder.names == ["pathology", "phase", "slice_level"]
    assert pipeline.config.anatomy["levels"]["any"]["present"] == ["123"]
    audit = json.loads((folder / "training.json").read_text())["masks"]
    assert audit["drawn"] == 8
    assert audit["refused"] <= 8
    assert (tmp_path / "run" / "samples" / "step-00000003.png").is_file()
    card = (folder / "README.md").read_text()
    assert "A generator of cardiac label masks" in card
    assert f"Of 8 first draws {audit['refused']} were refused" in card
    assert ("copying" in audit) == ("share nearer to a training mask" in card) != ("was not measured" in card)
    assert "mask-generator" in card


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent_dim": 300}, "latent_dim is 300"),
        ({"kl_weight": -1.0}, "is negative"),
        ({"audited_masks": 0}, "audited_masks is 0"),
        ({"attributes": ["colour"]}, "unknown attributes"),
    ],
)
def test_wrong_settings_are_refused_with_the_reason(toy_folder: Path, tmp_path: Path, settings, message) -> None:
    with pytest.raises(InputError, match=message):
        tiny_config(toy_folder, tmp_path / "run", **settings)


def test_data_without_labels_are_refused(toy_folder: Path, tmp_path: Path) -> None:
    slices = load_slices(toy_folder, "train")
    with pytest.raises(InputError, match="no structure is annotated"):
        MaskGenerator(tiny_config(toy_folder, tmp_path / "run"), replace(slices, annotated_labels=()))
