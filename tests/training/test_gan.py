"""GANs in training: every weight learns, eight slices are learned, and an interrupted run ends at the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from cmrsynth.data.loading import load_slices
from cmrsynth.errors import InputError
from cmrsynth.hub.export import export_pipeline
from cmrsynth.hub.load import load_pipeline
from cmrsynth.labels import one_hot
from cmrsynth.training.batches import Batch, Withholding, draw_batch
from cmrsynth.training.family import seeded_weights
from cmrsynth.training.gan import Gan, build_gan
from cmrsynth.training.gan_config import ARCHITECTURES, GanConfig
from cmrsynth.training.run import Run
from cmrsynth.training.sample_grid import write_sample_grid

TINY = Path(__file__).resolve().parents[2] / "training" / "configs" / "tiny_gan.yaml"


def tiny_config(data: Path, output: Path, **changes) -> GanConfig:
    return GanConfig(**{**yaml.safe_load(TINY.read_text()), "data": str(data), "output": str(output), **changes})


def randomised(config: GanConfig) -> tuple[Gan, Batch]:
    """A family whose weights are all random, since layers that start at zero hide others, and a batch for it."""
    slices = load_slices(config.data, "train")
    with seeded_weights(0):
        family = build_gan(config, slices)
        for phase in family.phases:
            for parameter in phase.objective.parameters():
                torch.nn.init.normal_(parameter, std=0.2)
        for name, parameter in family.phases[0].objective.named_parameters():
            if name.endswith("to_logit.bias"):  # where all scores are within the margin, the hinge cancels it
                torch.nn.init.constant_(parameter, 2.0)
    return family, draw_batch(family.tensors(slices), range(8), seed=0, withholding=Withholding(), shift=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_phase_reaches_all_its_weights_and_no_others(architecture: str, toy_folder: Path, tmp_path: Path) -> None:
    family, batch = randomised(tiny_config(toy_folder, tmp_path, architecture=architecture))
    family.augmentation.probability = 0.5
    networks = [dict(phase.objective.named_parameters()) for phase in family.phases]
    for number, phase in enumerate(family.phases):
        for parameter in (p for network in networks for p in network.values()):
            parameter.grad = None
        losses = phase.objective(batch)
        assert losses.shape == (8,)
        losses.mean().backward()
        unreached = [n for n, p in networks[number].items() if p.grad is None or not p.grad.abs().sum() > 0]
        assert unreached == []
        assert all(p.grad is None for p in networks[1 - number].values())
    assert {id(p) for p in family.averaged.parameters()} == {id(p) for p in networks[1].values()}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_losses_are_finite_under_bf16_autocast(architecture: str, toy_folder: Path, tmp_path: Path) -> None:
    family, batch = randomised(tiny_config(toy_folder, tmp_path, architecture=architecture))
    for phase in family.phases:
        with torch.autocast("cpu", torch.bfloat16):
            losses = phase.objective(batch)
        losses.mean().backward()
        assert losses.dtype == torch.float32
        assert all(p.grad.isfinite().all() for p in phase.objective.parameters())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_interrupted_run_ends_at_the_same_weights(architecture: str, toy_folder: Path, tmp_path: Path) -> None:
    whole = Run(tiny_config(toy_folder, tmp_path / "whole", architecture=architecture), build_gan)
    config = tiny_config(toy_folder, tmp_path / "broken", architecture=architecture)
    first, broken = Run(config, build_gan), Run(config, build_gan)
    for run in (whole, first):
        run.family.augmentation.probability = 0.9  # so that it acts from the first step
    for _ in range(6):
        whole.train_step()
    for _ in range(3):
        first.train_step()
    first.save()
    torch.rand(7)  # the global random state plays no part
    broken.resume()
    assert broken.family.state() == first.family.state()
    assert 0 < broken.family.augmentation.probability < 1
    for _ in range(3):
        broken.train_step()
    assert broken.family.state() == whole.family.state()
    for name in ("discriminator", "generator"):
        ours, theirs = (run.objectives[name].state_dict() for run in (broken, whole))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
        moments = [run.optimizers[name].state_dict()["state"] for run in (broken, whole)]
        assert all(torch.equal(moments[0][i][k], moments[1][i][k]) for i in moments[1] for k in moments[1][i])
    averaged = [run.averaged_networks().state_dict() for run in (broken, whole)]
    assert all(torch.equal(averaged[0][key], averaged[1][key]) for key in averaged[1])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_exported_pipeline_holds_the_averaged_generator_and_no_discriminator(
    architecture: str, toy_folder: Path, tmp_path: Path
) -> None:
    run = Run(tiny_config(toy_folder, tmp_path / "run", architecture=architecture), build_gan)
    run.train_step()
    folder = export_pipeline(run.pipeline(), tmp_path / "pipeline")
    assert not list(folder.rglob("*discriminator*"))
    pipeline = load_pipeline(folder)
    slices = run.train_slices.select(range(2))
    mask = one_hot(torch.from_numpy(slices.masks)) if pipeline.mask_channels else None
    given = {} if pipeline.mask_channels else {"batch_size": 2}
    images = [
        p(mask, **given, vendor="A", generator=torch.Generator().manual_seed(0)).images
        for p in (pipeline, run.pipeline())
    ]
    assert torch.equal(*images)
    assert pipeline.config.condition_dropout == 0.1
    picture = write_sample_grid(pipeline, slices, tmp_path / "grid.png", seed=0, **run.family.sampling())
    assert picture.shape == (48, 32, 3)


def test_eight_slices_are_learned_with_their_masks(toy_folder: Path, tmp_path: Path) -> None:
    config = tiny_config(
        toy_folder, tmp_path, batch_size=8, max_train_steps=100, learning_rate=4e-3, condition_dropout=0.0,
        mask_dropout=0.0, attribute_dropout=0.0, augment_shift=0, ema_decay=0.9, prior_share=0.25, augment_target=1.0,
    )  # fmt: skip
    run = Run(config, build_gan)
    run.train = run.family.tensors(run.train_slices.select(range(8)))
    slices = run.train_slices.select(range(8))
    real, mask = torch.from_numpy(slices.images)[:, None], one_hot(torch.from_numpy(slices.masks))

    def error() -> float:
        pipeline = run.pipeline()
        return (pipeline(mask, style_image=real, temperature=0.0).images - real).abs().mean().item()

    before = error()
    for _ in range(100):
        run.train_step()
    assert error() < 0.4 * before


def test_the_augmentation_rises_where_the_discriminator_is_sure(toy_folder: Path, tmp_path: Path) -> None:
    family, _ = randomised(tiny_config(toy_folder, tmp_path))
    for score, expected in ((2.0, 4 / 64), (3.0, 8 / 64), (-1.0, 4 / 64)):
        family.augmentation.note(torch.full((4, 1), score))
        family.after_step()
        assert family.state() == {"augment_probability": pytest.approx(expected)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "stylegan"}, "architecture 'stylegan'"),
        ({"latent_dim": 257}, "latent_dim is 257"),
        ({"prior_share": 1.5}, "prior_share is 1.5"),
        ({"augment_images": 0}, "augment_images is 0"),
        ({"gradient_penalty": -1.0}, "gradient_penalty is -1.0"),
        ({"discriminator_rate_factor": 0.0}, "must be positive"),
        ({"architecture": "dcgan", "block_out_channels": [8] * 5}, "images are 16x16"),
        ({"discriminator_channels": [8] * 5}, "images are 16x16"),
    ],
)
def test_wrong_settings_are_refused_with_the_reason(changes, message: str, toy_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        build_gan(tiny_config(toy_folder, tmp_path, **changes), load_slices(toy_folder, "train"))
