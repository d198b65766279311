"""The audit of a generator by itself: masks that are copies and masks that are new, discriminators, the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cmrsynth.cli import app
from cmrsynth.data.loading import load_slices
from cmrsynth.errors import InputError
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, NOT_COMPUTED, Evaluation
from cmrsynth.evaluation.generator_audit import drawn_masks
from cmrsynth.evaluation.mask_neighbours import mask_neighbour_figure
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.hub.export import export_pipeline
from cmrsynth.labels import LV, MYO
from cmrsynth.models import ConditionEncoder, MaskVAE
from cmrsynth.pipelines import MaskGeneratorPipeline
from cmrsynth.training.family import seeded_weights

SETTINGS = EvaluationSettings(resamples=60)


@pytest.fixture(scope="module")
def sets(toy_set):
    return [toy_set(name, 16, seed=seed, slices=3) for seed, name in enumerate(("train", "holdout", "others"))]


def generated(part, name: str = "generated"):
    names = np.array([f"{name}-{number}" for number in range(len(part))])
    return replace(part, patient_id=names)


def test_masks_that_are_those_of_training_patients_are_found(sets):
    train, holdout, _ = sets
    moved = replace(train, masks=np.roll(train.masks, 2, axis=(1, 2)))  # a copy that was moved is a copy
    figure = mask_neighbour_figure(train, holdout, generated(moved), (LV, MYO), SETTINGS)
    assert figure.verdict == DO_NOT_SHARE
    assert figure.value > 0.9
    assert figure.planted > 0.9
    assert "synthetic masks" in figure.reading


def test_masks_of_other_patients_are_no_copies(sets):
    train, holdout, others = sets
    figure = mask_neighbour_figure(train, holdout, generated(others), (LV, MYO), SETTINGS)
    assert figure.verdict == GOOD
    assert 0.3 < figure.value < 0.7


def test_real_masks_are_not_asked_whether_they_are_copies(sets):
    train, holdout, _ = sets
    figure = mask_neighbour_figure(train, holdout, train, (LV, MYO), SETTINGS)
    assert (figure.value, figure.verdict) == (None, NOT_COMPUTED)
    assert "train patients" in figure.reading


def test_masks_whose_anatomy_is_refused_are_not_judged(sets):
    def draw(**asked):
        return SimpleNamespace(masks=np.stack([sets[0].masks[0], np.zeros_like(sets[0].masks[0])] * 4))

    class Drawing:
        condition_encoder = SimpleNamespace(config=SimpleNamespace(vocabularies={}, scalars=None))
        faults = staticmethod(lambda mask, level: [] if mask.any() else ["absent"])
        __call__ = staticmethod(draw)

    drawn = drawn_masks(Drawing(), sets[0], seed=0, count=8)
    assert len(drawn) == len(drawn.patients) == 4
    assert (drawn.masks == sets[0].masks[0]).all()


@pytest.fixture(scope="module")
def wide_folder(toy_data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten patients a side."""
    splits = {"train": range(10), "test": range(10, 20)}
    return toy_data.write_toy_data(tmp_path_factory.mktemp("wide") / "data", patients=splits, slices=2)


@pytest.fixture(scope="module")
def mask_generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with seeded_weights(0):
        vae = MaskVAE(16, latent_dim=4, block_out_channels=(8, 8)).eval()
        encoder = ConditionEncoder(vae.embedding_dim, vocabularies={"phase": ["ED", "ES"]}).eval()
    anatomy = {"levels": {"any": {"tolerated": ["lv_pieces", "myo_pieces", "rv_pieces", "hole"], "least_enclosed": 0}}}
    return export_pipeline(MaskGeneratorPipeline(vae, encoder, anatomy=anatomy), tmp_path_factory.mktemp("m") / "p")


def run(*arguments: object):
    return CliRunner().invoke(app, ["audit", *map(str, arguments)])


def test_the_command_audits_a_mask_generator_without_a_synthetic_set(wide_folder, mask_generator, tmp_path):
    data = ("--train", wide_folder, "--holdout", wide_folder)
    result = run("--pipeline", mask_generator, *data, "--output", tmp_path, "--bootstrap", 20)
    assert result.exit_code == 0, result.output
    assert "audit.json" in result.output
    evaluation = Evaluation.load(tmp_path)
    assert evaluation.figure("closer_to_train_masks").value is not None
    assert evaluation.figure("membership_auc").value is not None
    assert evaluation.verdict["fidelity"] == NOT_COMPUTED
    assert "/" not in json.loads((tmp_path / "audit.json").read_text())["inputs"]["train"]["name"].lstrip("./")[:3]


def test_a_discriminator_is_refused_without_its_gan(wide_folder, mask_generator, tmp_path):
    data = ("--train", wide_folder, "--holdout", wide_folder, "--output", tmp_path)
    refused = run("--pipeline", mask_generator, *data, "--discriminator", tmp_path)
    assert isinstance(refused.exception, InputError)
    assert "no checkpoint with a discriminator" in str(refused.exception)


def test_sets_that_share_patients_are_refused(wide_folder, mask_generator, tmp_path):
    refused = run("--pipeline", mask_generator, "--train", wide_folder, "--holdout", f"{wide_folder}:train",
                  "--output", tmp_path)  # fmt: skip
    assert isinstance(refused.exception, InputError)
    assert "split by patient" in str(refused.exception)


@pytest.mark.parametrize("architecture", ["spade", "dcgan", "r3gan"])
def test_a_run_folder_gives_its_discriminator_back_for_the_data_it_was_trained_on(architecture, wide_folder, tmp_path):
    from safetensors.torch import save_file

    from cmrsynth.training.gan import build_gan
    from cmrsynth.training.gan_audit import load_discriminator
    from cmrsynth.training.gan_config import GanConfig

    train = load_slices(wide_folder, "train")
    settings = {"data": "d", "output": "o", "max_train_steps": 1, "block_out_channels": [8, 8], "latent_dim": 4}
    settings |= {"architecture": architecture, "discriminator_channels": [8, 8], "discriminator_scales": 1}
    with seeded_weights(3):
        gan = build_gan(GanConfig(**settings), train)
    checkpoint = tmp_path / "checkpoint-00000001"
    checkpoint.mkdir()
    state = {"config": settings, "data_fingerprint": train.fingerprint}
    (checkpoint / "state.json").write_text(json.dumps(state))
    save_file(gan.phases[0].objective.state_dict(), checkpoint / "discriminator.safetensors")
    score = load_discriminator(tmp_path, train)
    whole = score(train)
    assert whole.shape == (len(train),)
    assert whole.std() > 0
    np.testing.assert_allclose(score(train.select([3])), whole[[3]], rtol=1e-4)
    with pytest.raises(InputError, match="was not trained on"):
        load_discriminator(tmp_path, load_slices(wide_folder, "test"))


def test_a_discriminator_is_told_the_prompts_it_was_trained_with(wide_folder, text_model, tmp_path, monkeypatch):
    from cmrsynth.models import ConditionEncoder
    from cmrsynth.training.gan import build_gan
    from cmrsynth.training.gan_audit import load_discriminator
    from cmrsynth.training.gan_config import GanConfig
    from cmrsynth.training.run import Run

    settings = {"data": str(wide_folder), "output": str(tmp_path), "max_train_steps": 1, "sample_steps": 0}
    settings |= {"block_out_channels": [8, 8], "latent_dim": 4, "discriminator_channels": [8, 8], "batch_size": 4}
    settings |= {"discriminator_scales": 1, "text_encoder": str(text_model), "mixed_precision": "no"}
    run = Run(GanConfig(**settings, validation_split=""), build_gan)
    run.train_step()
    run.save()
    told = []
    forward = ConditionEncoder.forward
    monkeypatch.setattr(ConditionEncoder, "forward", lambda self, rows: told.append(rows) or forward(self, rows))
    train = load_slices(wide_folder, "train")
    load_discriminator(tmp_path, train)(train.select([0, 5]))
    whole = run.train.prompts[run.train.prompt_of_row[[0, 5], 0]]
    torch.testing.assert_close(told[0][:, -whole.shape[1] :], whole)
