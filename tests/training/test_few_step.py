"""Flows that learn to need few steps: they begin as their teacher, learn from known answers, and resume exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from cmrsynth.attacks.denoiser import bind
from cmrsynth.data.loading import load_slices
from cmrsynth.errors import InputError
from cmrsynth.hub.export import export_pipeline
from cmrsynth.hub.load import load_pipeline
from cmrsynth.labels import one_hot
from cmrsynth.models import ConditionEncoder, DurationEncoder, MaskControlNet, MaskDiT, MaskUNet, SpadeUNet
from cmrsynth.pipelines import MaskDiffusionPipeline, RectifiedFlowPipeline
from cmrsynth.training.batches import Batch, Withholding, draw_batch
from cmrsynth.training.family import seeded_weights
from cmrsynth.training.few_step import FewStepFlow, build_few_step
from cmrsynth.training.few_step_config import FewStepConfig
from cmrsynth.training.flow_map import FlowMap
from cmrsynth.training.program import train
from cmrsynth.training.prompts import load_text_model
from cmrsynth.training.run import Run
from cmrsynth.training.shortcut import ShortcutObjective

TINY = {"batch_size": 6, "warmup_steps": 2, "log_steps": 1, "mixed_precision": "no", "cpu_threads": 1}
SMALL = {"discriminator_channels": [8, 8], "pairs": 12, "pair_steps": 2, "sample_inference_steps": 2}
METHODS = ("shortcut", "reflow")
TEACHERS = ("concat", "spade", "none", "dit", "controlnet", "latent")
VOCABULARIES = {"vendor": ["A", "B"]}


def teacher(
    kind: str = "spade", *, seed: int = 0, std: float = 0.0, dropout=0.1, spacing=2.0, size=16, text_dim=0, **parts
):
    """A flow that was never trained; `std` makes all its weights random, so that none hide behind zeros."""
    channels = {
        "mask_channels": 0 if kind in ("none", "controlnet") else 4,
        "in_channels": 4 if kind == "latent" else 1,
    }
    shape = {"sample_size": size // 2 if kind == "latent" else size, "block_out_channels": (8, 8, 16), **channels}
    with seeded_weights(seed):
        if kind == "dit":
            unet = MaskDiT(**shape, num_layers=1)
        else:
            unet = (SpadeUNet if kind == "spade" else MaskUNet)(**shape, attention_levels=(2,))
        networks = [unet, ConditionEncoder(unet.embedding_dim, vocabularies=VOCABULARIES, text_dim=text_dim)]
        if kind == "controlnet":
            parts["controlnet"] = MaskControlNet.from_unet(unet)
            networks.append(parts["controlnet"])
        if kind == "latent":
            blocks = {"block_out_channels": (8, 8), "norm_num_groups": 4, "latent_channels": 4}
            kinds = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
            parts["vae"] = AutoencoderKL(1, 1, **kinds, **blocks, shift_factor=0.1)
        for parameter in (p for network in networks if std for p in network.parameters()):
            nn.init.normal_(parameter, std=std)
    settings = {"condition_dropout": dropout, "pixel_spacing_mm": spacing}
    return RectifiedFlowPipeline(unet, networks[1], FlowMatchEulerDiscreteScheduler(), **parts, **settings)


@pytest.fixture
def config(toy_folder: Path, tmp_path: Path) -> FewStepConfig:
    folder = export_pipeline(teacher(std=0.1), tmp_path / "teacher")
    where = {"data": str(toy_folder), "output": str(tmp_path / "run"), "teacher": str(folder)}
    return FewStepConfig(**where, max_train_steps=4, **TINY, **SMALL)


def taught_by(config: FewStepConfig, pipe: RectifiedFlowPipeline, **settings) -> FewStepConfig:
    folder = Path(config.output).parent / "other_teacher"
    return replace(config, teacher=str(export_pipeline(pipe, folder)), **settings)


def family_of(config: FewStepConfig) -> tuple[FewStepFlow, Batch]:
    slices = load_slices(config.data, "train").select(np.arange(8))
    with seeded_weights(0):
        family = build_few_step(config, slices)
    return family, draw_batch(family.tensors(slices), range(8), seed=0, withholding=Withholding(), shift=0)


def seeds(*values: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(value) for value in values]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", TEACHERS)
def test_an_untrained_student_is_its_teacher_however_long_the_steps(config, kind: str, method: str) -> None:
    pipe = teacher(kind, std=0.1)
    family, batch = family_of(taught_by(config, pipe, method=method, discriminator_scales=1))
    student = family.pipeline(family.averaged.eval())
    mask = batch.mask if kind != "none" else None
    count = {} if kind != "none" else {"batch_size": 8}
    for steps in (1, 2, 5):
        options = {"num_inference_steps": steps, "solver": "euler", "vendor": "A", **count}
        ours, theirs = (p(mask, generator=seeds(*range(8)), **options).images for p in (student, pipe))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    for phase in family.phases:
        losses = phase.objective(batch)
        assert losses.shape == (8,)
        assert losses.isfinite().all()


@pytest.mark.parametrize("method", METHODS)
def test_a_student_is_told_the_prompts_its_teacher_was(config, method: str, text_model: Path) -> None:
    text = load_text_model(str(text_model))
    width = text.text_encoder.config.hidden_size
    pipe = teacher(std=0.1, text_encoder=text.text_encoder, tokenizer=text.tokenizer, text_dim=width)
    pipe.condition_encoder.learn_text(torch.randn(4, width))
    family, batch = family_of(taught_by(config, pipe, method=method, discriminator_scales=1))
    assert batch.conditions.shape[1] == 1 + width
    assert batch.conditions.isfinite().all()  # a missing prompt is NaN
    # not learned from the student's data: its weights begin as the teacher's
    assert family.encoder.config.text_statistics == pipe.condition_encoder.config.text_statistics
    assert family.pipeline(family.averaged).text_encoder is not None
    for phase in family.phases:
        assert phase.objective(batch).isfinite().all()


def test_a_discriminator_of_images_without_masks_sees_none(config) -> None:
    family, batch = family_of(taught_by(config, teacher("none", std=0.1), discriminator_scales=1))
    adversary = family.phases[1].objective.adversary
    assert batch.mask.any()
    assert not adversary.shown(batch).mask.any()


def test_only_reflow_minds_the_number_of_pairs(config) -> None:
    assert replace(config, batch_size=5).batch_size == 5
    with pytest.raises(InputError, match="pairs"):
        replace(config, batch_size=5, method="reflow")


@pytest.mark.parametrize("given", [{"scalars": ["age"]}, {"text_encoder": "clip"}])
def test_conditions_of_its_own_are_refused(config, given: dict) -> None:
    with pytest.raises(InputError, match="those of the teacher"):
        replace(config, **given)


class ExponentialFlow(FlowMap):
    """The flow dx/dt = x, known for steps of every length, in the place of a network."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def prepare(self, mask: Tensor) -> None:
        return None

    def forward(self, point, t, duration, prepared, conditions) -> Tensor:
        d = duration[:, None, None, None]
        return point * torch.where(d > 0, (1 - torch.exp(-d)) / d.clamp(min=1e-9), 1.0)


def test_targets_and_own_steps_are_right_where_the_answer_is_known(config) -> None:
    _, batch = family_of(config)
    objective = ShortcutObjective(flow := ExponentialFlow(), steps=(1, 2, 64), share=1.0)
    point, t, duration, target = objective.consistency(batch, None, slice(0, 8))
    assert torch.equal(target[:4], (batch.noise - batch.image)[:4])
    assert torch.equal(duration[:4], torch.zeros(4))
    assert (t >= duration).all()
    assert (duration[4:] >= 1 / 64).all()
    # the shortest steps are made of velocities, and so off by their square; the others are exact
    exact = flow(point[4:], t[4:], duration[4:], None, None)
    torch.testing.assert_close(target[4:], exact, rtol=5e-3, atol=5e-3)
    last, left = objective.own_last_step(batch, None)
    assert left.tolist() == [1.0, 0.5, 1 / 64] * 2 + [1.0, 0.5]
    torch.testing.assert_close(last, batch.noise * torch.exp(left - 1)[:, None, None, None])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["spade", "concat", "controlnet"])
def test_gradients_reach_every_weight_of_each_phase_and_no_other(config, kind, method, precision: str) -> None:
    family, batch = family_of(taught_by(config, teacher(kind, std=0.2), method=method))
    if method == "shortcut":
        family.augmentation.probability = 0.5
        for parameter in family.averaged["duration_encoder"].parameters():
            nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(0))
    networks = [dict(phase.objective.named_parameters()) for phase in family.phases]
    for number, phase in enumerate(family.phases):
        for parameter in (p for network in networks for p in network.values()):
            parameter.grad = None
        for name, parameter in networks[number].items():
            if name.endswith("to_logit.bias"):  # where all scores are within the margin, the hinge cancels it
                nn.init.constant_(parameter, 2.0)
        # within autocast, sampling without gradients must not leave weights behind that have none
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            losses = phase.objective(batch)
        losses.mean().backward()
        assert [n for n, p in networks[number].items() if p.grad is None or not p.grad.abs().sum() > 0] == []
        others = [p for i, network in enumerate(networks) if i != number for p in network.values()]
        assert all(p.grad is None for p in others)
    assert {id(p) for p in family.averaged.parameters()} == {id(p) for p in networks[0].values()}


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_reaches_the_same_weights_and_only_with_its_teacher(config, method: str, tmp_path) -> None:
    config = replace(config, method=method)
    straight, first = (Run(replace(config, output=str(tmp_path / name)), build_few_step) for name in ("a", "b"))
    for run in (straight, first):
        if method == "shortcut":
            run.family.augmentation.probability = 0.9  # so that it acts from the first step
    for _ in range(6):  # reflow has two batches of pairs: it comes back to both
        straight.train_step()
    for _ in range(3):
        first.train_step()
    first.save()
    torch.rand(7)  # nothing may hang on the global random state
    second = Run(first.config, build_few_step)
    second.resume()
    for _ in range(3):
        second.train_step()
    for name, objective in straight.objectives.items():
        assert same(objective.state_dict(), second.objectives[name].state_dict())
    assert same(straight.averaged_networks().state_dict(), second.averaged_networks().state_dict())
    assert straight.family.state() == second.family.state()
    export_pipeline(teacher(seed=1, std=0.1), Path(config.teacher))  # another one in its place
    with pytest.raises(InputError, match="another teacher than this run began with"):
        Run(first.config, build_few_step).resume()


def test_pairs_are_the_teachers_images_made_once_and_kept(config) -> None:
    run = Run(replace(config, method="reflow", condition_dropout=0.0, attribute_dropout=0.0), build_few_step)
    objective, teacher_pipe = run.family.phases[0].objective, run.family.teacher
    batch = run._batch(0)
    pairs = objective.pairs(objective.teacher[0], batch)
    with torch.no_grad():
        point = batch.noise
        for t in (1.0, 0.5):
            condition = teacher_pipe.condition_encoder(batch.conditions)
            time = 1000 * torch.full((6,), t)
            point = point - 0.5 * teacher_pipe.unet(point, time, mask=batch.mask, condition=condition).sample
    torch.testing.assert_close(pairs.image, point, rtol=1e-4, atol=1e-4)
    assert torch.equal(pairs.noise, batch.noise)
    again = run.accelerator.unwrap_model(objective).pairs(None, batch._replace(position=batch.position + 12))
    assert torch.equal(again.image, pairs.image)  # and no teacher was needed
    assert torch.equal(again.time_normal, batch.time_normal)


def test_eight_images_are_learned_for_one_step(config) -> None:
    settings = {"condition_dropout": 0.0, "mask_dropout": 0.0, "attribute_dropout": 0.0, "augment_shift": 0}
    pipe = teacher("spade")
    config = taught_by(config, pipe, batch_size=8, pairs=8, learning_rate=4e-3, steps=[1], ema_decay=0.9, **settings)
    run = Run(replace(config, max_train_steps=120, augment_target=1.0, adversarial_weight=0.02), build_few_step)
    slices = run.train_slices.select(range(8))
    run.train = run.family.tensors(slices)
    real, mask = torch.from_numpy(slices.images)[:, None], one_hot(torch.from_numpy(slices.masks))

    def error() -> float:
        images = run.pipeline()(mask, num_inference_steps=1, generator=seeds(*range(8))).images
        return (images - real).abs().mean().item()

    before = error()
    for _ in range(120):
        run.train_step()
    assert error() < 0.5 * before


@pytest.mark.parametrize("method", METHODS)
def test_the_finished_pipeline_takes_few_steps_and_states_its_teacher(config, method: str) -> None:
    train(replace(config, method=method, sample_steps=4, validation_steps=4), build_few_step)
    folder = Path(config.output) / "pipeline"
    pipe = load_pipeline(folder)
    pipe.set_progress_bar_config(disable=True)
    assert '"teacher": {' in (folder / "training.json").read_text()
    assert list((Path(config.output) / "samples").glob("*.png"))
    assert (pipe.duration_encoder is not None) == (method == "shortcut")
    assert pipe.default_solver == ("euler" if method == "shortcut" else "heun")
    assert pipe.default_steps == (max(config.steps) if method == "shortcut" else 10)
    mask = one_hot(torch.from_numpy(load_slices(config.data, "test").masks[:3]))
    together = pipe(mask, vendor="A", num_inference_steps=4, generator=seeds(1, 2, 3), guidance_scale=1.5).images
    alone = pipe(mask[1:2], vendor="A", num_inference_steps=4, generator=seeds(2), guidance_scale=1.5).images
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)
    # the audits see the velocity, which is no step of any length
    denoiser = bind(pipe, mask, vendor=["A", "B", None])
    point, t = torch.randn(3, 1, 16, 16, generator=seeds(0)[0]), torch.full((3,), 0.5)
    with torch.no_grad():
        assert torch.equal(denoiser.velocity(point, t), pipe.velocity(point, t, mask, vendor=["A", "B", None]))
        assert denoiser.velocity(point, t).shape == point.shape


@pytest.mark.parametrize(
    ("pipe", "message"),
    [
        (lambda: teacher(size=32), "learned 32x32 images"),
        (lambda: teacher(spacing=1.0), r"images of 1\.00 mm, the data have 16x16 of 2\.00 mm"),
        (lambda: teacher(dropout=0.0), "trained without condition dropout"),
        (lambda: teacher(duration_encoder=DurationEncoder(32)), "needs few steps already"),
        (
            lambda: MaskDiffusionPipeline(teacher().unet, teacher().condition_encoder, DDIMScheduler()),
            "a MaskDiffusion",
        ),
    ],
)
def test_a_teacher_that_cannot_work_is_refused_with_the_reason(config, pipe, message: str) -> None:
    with pytest.raises(InputError, match=message):
        family_of(taught_by(config, pipe()))


def test_pairs_of_partial_masks_need_a_teacher_that_saw_some(config) -> None:
    whole, partial = teacher(), teacher()
    for pipe, share in ((whole, 0.0), (partial, 0.2)):
        pipe.condition_encoder.register_to_config(class_dropout=share)
    settings = {"method": "reflow", "class_dropout": 0.5, "pairs": 4, "batch_size": 4}
    with pytest.raises(InputError, match="trained without class dropout"):
        family_of(taught_by(config, whole, **settings))
    family_of(taught_by(config, partial, **settings))


def test_the_grids_of_a_flow_map_take_no_more_steps_than_it_learned(config) -> None:
    for steps, expected in (([1, 2], 2), ([1, 8], 4)):
        asked = {"sample_inference_steps": 4, "steps": steps, "discriminator_scales": 1}
        family, _ = family_of(taught_by(config, teacher(), **asked))
        assert family.sampling()["num_inference_steps"] == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher": ""}, "--teacher is needed"),
        ({"method": "magic"}, "method 'magic'"),
        ({"attributes": ["vendor"]}, "those of the teacher"),
        ({"steps": [1, 3]}, "powers of two"),
        ({"steps": []}, "powers of two"),
        ({"consistency_share": 1.5}, "consistency_share is 1.5"),
        ({"adversarial_weight": -1.0}, "adversarial_weight"),
        ({"texture_weight": -1.0}, "texture_weight"),
        ({"pairs": 13, "method": "reflow"}, "pairs is 13"),
        ({"pair_steps": 0}, "pair_steps is 0"),
        ({"batch_size": 2}, "batch_size is 2"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_reason(config, settings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(config, **settings)
