"""A flow that needs few steps as a family: it begins as its teacher, and learns shortcuts or straighter paths."""

from __future__ import annotations

import copy
from typing import Any

from diffusers import FlowMatchEulerDiscreteScheduler
from torch import nn

from cmrsynth.data.loading import SliceSet
from cmrsynth.errors import InputError
from cmrsynth.hub.load import load_pipeline, pipeline_hash
from cmrsynth.labels import NUM_LABELS
from cmrsynth.models import ConditionEncoder, DurationEncoder
from cmrsynth.models.discriminator_patch import PatchDiscriminator
from cmrsynth.pipelines import RectifiedFlowPipeline
from cmrsynth.provenance import portable_path
from cmrsynth.training.batches import Batch, TrainingSlices, Withholding, draw_batch
from cmrsynth.training.denoiser import check_images, image_size
from cmrsynth.training.family import Family, Phase
from cmrsynth.training.few_step_config import FewStepConfig
from cmrsynth.training.flow_map import FlowMap, VelocityObjective
from cmrsynth.training.gan import Augmentation
from cmrsynth.training.gan_spade import CONDITION_PLANES
from cmrsynth.training.latent import LatentObjective, LatentSpace
from cmrsynth.training.prompts import TextModel
from cmrsynth.training.rectified_flow import held_out_loss
from cmrsynth.training.reflow import Pairs, ReflowObjective
from cmrsynth.training.shortcut import Adversary, AdversaryObjective, ShortcutObjective


class FewStepFlow(Family):
    """A rectified flow that begins with its teacher's weights; subclasses set `phases`."""

    config: FewStepConfig

    def __init__(self, config: FewStepConfig, slices: SliceSet) -> None:
        super().__init__(config, slices)
        self.teacher, self.teacher_hash = load_teacher(config, slices), pipeline_hash(config.teacher)
        self.space = None if self.teacher.vae is None else LatentSpace(self.teacher.vae)
        self.averaged = copy.deepcopy(denoising_networks(self.teacher)).train().requires_grad_(True)
        self.encoder = self.averaged["condition_encoder"]
        if self.teacher.text_encoder is not None:
            self.text_model = TextModel(self.teacher.text_encoder.requires_grad_(False), self.teacher.tokenizer)

    def in_space(self, objective: nn.Module) -> nn.Module:
        """Return an objective of the flow as one of images."""
        return LatentObjective(objective, self.space) if self.space else objective

    def velocity_objective(self, networks: nn.ModuleDict) -> VelocityObjective:
        """Return the losses of the velocities that networks predict."""
        return VelocityObjective(FlowMap(networks), time_mean=self.config.time_mean, time_std=self.config.time_std)

    def pipeline(self, averaged: nn.Module) -> RectifiedFlowPipeline:
        """Return the teacher's pipeline with other networks."""
        return RectifiedFlowPipeline(
            **{**self.teacher.components, **averaged, "scheduler": FlowMatchEulerDiscreteScheduler()},
            condition_dropout=self.config.condition_dropout,
            pixel_spacing_mm=self.spacing,
        )

    def sampling(self) -> dict[str, Any]:
        """Return the options of the sample grids."""
        return {"num_inference_steps": self.config.sample_inference_steps, "solver": "euler"}

    def held_out(self, averaged: nn.Module, data: TrainingSlices) -> dict[str, float]:
        """Return the velocity loss on other patients, as of the teacher's training."""
        return {"velocity": held_out_loss(self.in_space(self.velocity_objective(averaged)), data)}

    def record(self, averaged: nn.Module, data: TrainingSlices | None) -> dict[str, Any]:
        """Return which teacher this is."""
        return {"teacher": {"location": portable_path(self.config.teacher), "hash": self.teacher_hash}}

    def state(self) -> dict[str, float]:
        """Return which teacher this is, as a number: it lies outside the run folder, where it could be exchanged."""
        return {"teacher": int(self.teacher_hash[:12], 16)}  # exact in a double

    def load_state(self, state: dict[str, float]) -> None:
        """Raise InputError unless the teacher is the one the run began with."""
        if state["teacher"] != self.state()["teacher"]:
            raise InputError(
                self.config.teacher, "another teacher than this run began with", "start again with another --output"
            )


class Shortcut(FewStepFlow):
    """A flow map: a step of any length is one call of its network; see `ShortcutObjective`."""

    def __init__(self, config: FewStepConfig, slices: SliceSet) -> None:
        super().__init__(config, slices)
        self.averaged["duration_encoder"] = DurationEncoder(self.averaged["unet"].embedding_dim, tuple(config.steps))
        self.augmentation = Augmentation()
        adversary = self.adversary() if config.adversarial_weight else None
        objective = ShortcutObjective(
            FlowMap(self.averaged),
            steps=config.steps,
            share=config.consistency_share,
            adversary=adversary,
            texture_weight=config.texture_weight,
            time_mean=config.time_mean,
            time_std=config.time_std,
        )
        betas = (0.0 if adversary else 0.9, 0.99)  # no momentum to carry through a game that moves
        self.phases = (Phase("flow", self.in_space(objective), betas),)
        if adversary:
            judged = self.in_space(AdversaryObjective(adversary))
            self.phases += (Phase("discriminator", judged, betas, config.discriminator_rate_factor),)

    def sampling(self) -> dict[str, Any]:
        """Return the options of the sample grids: in more steps than it learned, a flow map is an ordinary flow."""
        steps = min(self.config.sample_inference_steps, max(self.config.steps))
        return {**super().sampling(), "num_inference_steps": steps}

    def adversary(self) -> Adversary:
        """Return an untrained discriminator of images, or latents, with their masks and conditions."""
        config, conditions = self.config, self.encoder.config
        levels = len(config.discriminator_channels) + config.discriminator_scales
        factor = self.teacher.latent_factor
        fewer = "give the discriminator fewer discriminator_channels or discriminator_scales"
        image_size(self.slices, levels=levels + factor.bit_length() - 1, otherwise=fewer)
        patches = PatchDiscriminator(
            image_channels=self.averaged["unet"].config.in_channels,
            mask_channels=NUM_LABELS + CONDITION_PLANES,
            widths=tuple(config.discriminator_channels),
            scales=config.discriminator_scales,
            norm=config.discriminator_norm,
        )
        encoder = ConditionEncoder(
            CONDITION_PLANES,
            vocabularies=conditions.vocabularies,
            scalars=conditions.scalars,
            text_dim=conditions.text_dim,
        )
        judging = nn.ModuleDict({"patches": patches, "condition_encoder": encoder})
        masks = self.teacher.mask_channels > 0
        return Adversary(judging, self.augmentation, config.adversarial_weight, masks=masks)

    def after_step(self) -> None:
        """Adapt the augmentation to how sure the discriminator was of this step's real images."""
        config = self.config
        if config.adversarial_weight:
            images = config.batch_size * config.gradient_accumulation_steps
            self.augmentation.adapt(images, target=config.augment_target, span=config.augment_images)

    def state(self) -> dict[str, float]:
        """Return the teacher and the probability of augmentation."""
        return {**super().state(), "augment_probability": self.augmentation.probability}

    def load_state(self, state: dict[str, float]) -> None:
        """Check the teacher and restore the probability of augmentation."""
        super().load_state(state)
        self.augmentation.probability = state["augment_probability"]


class Reflow(FewStepFlow):
    """A rectified flow of the teacher's pairs, whose straighter paths need fewer steps; see `ReflowObjective`."""

    def __init__(self, config: FewStepConfig, slices: SliceSet) -> None:
        super().__init__(config, slices)
        data = self.tensors(slices)
        withheld = Withholding.of(config)

        def draw(positions: range) -> Batch:
            batch = draw_batch(data, positions, seed=config.seed, withholding=withheld, shift=config.augment_shift)
            return self.space(batch) if self.space else batch

        pairs = Pairs(draw, size=config.pairs, steps=config.pair_steps)
        objective = self.velocity_objective(self.averaged)
        teacher = FlowMap(denoising_networks(self.teacher))
        self.phases = (Phase("flow", ReflowObjective(objective, teacher, pairs)),)


def denoising_networks(pipeline: RectifiedFlowPipeline) -> nn.ModuleDict:
    """Return the networks that a flow is made of, without those around it, such as an autoencoder."""
    names = ("unet", "condition_encoder", "controlnet")
    return nn.ModuleDict({name: part for name in names if (part := getattr(pipeline, name)) is not None})


def load_teacher(config: FewStepConfig, slices: SliceSet) -> RectifiedFlowPipeline:
    """Return the flow that is to be taught to need few steps.

    Args:
        config: names it.
        slices: the training split, which must have the size and spacing the teacher was trained on.

    Raises:
        InputError: it is no rectified flow, needs few steps already, learned other images, or never saw conditions
            or classes withheld where the configuration withholds them.
    """
    location, teacher = config.teacher, load_pipeline(config.teacher)
    if not isinstance(teacher, RectifiedFlowPipeline):
        raise InputError(location, f"a {type(teacher).__name__}", "give the pipeline of a rectified flow's training")
    if teacher.duration_encoder is not None:
        raise InputError(location, "a flow map, which needs few steps already", "give the flow it was made from")
    spacing = teacher.config.pixel_spacing_mm
    check_images(location, teacher.sample_size, spacing, slices, remedy="train a teacher on images like these")
    if config.condition_dropout and not teacher.config.condition_dropout:
        raise InputError(
            location,
            "trained without condition dropout: it cannot teach what to do where all conditions are withheld",
            "use condition_dropout: 0",
        )
    if config.method == "reflow" and config.class_dropout and teacher.condition_encoder.config.class_dropout == 0:
        raise InputError(
            location,
            "trained without class dropout: it cannot make pairs from part of a mask",
            "use class_dropout: 0, or a teacher trained with it",
        )
    return teacher.to("cpu")


def build_few_step(config: FewStepConfig, slices: SliceSet) -> FewStepFlow:
    """Return the family of the configured method."""
    return {"shortcut": Shortcut, "reflow": Reflow}[config.method](config, slices)
