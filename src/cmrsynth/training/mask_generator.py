"""A mask generator as a family: masks as signed distances, the evidence bound, and the anatomy it must show."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cmrsynth.conditions import encoder_conditions
from cmrsynth.data.loading import SliceSet
from cmrsynth.errors import InputError
from cmrsynth.labels import NUM_LABELS, signed_distances
from cmrsynth.metrics.mask_neighbours import copying
from cmrsynth.models import MaskVAE
from cmrsynth.pipelines import MaskGeneratorPipeline
from cmrsynth.pipelines.pipeline_mask_generator import ANY_LEVEL, topology
from cmrsynth.schema import UNKNOWN
from cmrsynth.seeds import torch_generator
from cmrsynth.training.batches import Batch, TrainingSlices
from cmrsynth.training.denoiser import build_condition_encoder, image_size
from cmrsynth.training.family import Phase
from cmrsynth.training.mask_generator_config import MaskGeneratorConfig
from cmrsynth.training.rectified_flow import held_out_loss
from cmrsynth.training.variational import VariationalFamily

SLIVER_BELOW = 0.01  # quantile of a structure's sizes in real masks
TOLERATED_FROM = 0.05  # share of real masks with a fault from which generated ones may have it
PRESENT_FROM = 0.01  # share of real masks with a set of structures from which generated ones may have it
FEWEST = 20  # real masks of a slice level; with fewer, those of all levels decide


class MaskObjective(nn.Module):
    """The negative evidence bound of a batch, in nats per distance.

    Args:
        networks: {"vae", "condition_encoder"}.
        kl_weight: of the divergence, now.
    """

    def __init__(self, networks: nn.ModuleDict, *, kl_weight: float = 1.0) -> None:
        super().__init__()
        self.networks, self.kl_weight = networks, kl_weight

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) losses; the batch's images are signed distances, see `MaskGenerator.tensors`."""
        vae = self.networks["vae"]
        condition = self.networks["condition_encoder"](batch.conditions)
        likelihood, divergence = vae(batch.image, batch.latent[:, : vae.config.latent_dim], condition)
        return likelihood + self.kl_weight * divergence


class MaskGenerator(VariationalFamily):
    """An autoencoder of masks whose vector follows a standard normal, so that a random vector decodes to a new mask."""

    config: MaskGeneratorConfig

    def __init__(self, config: MaskGeneratorConfig, slices: SliceSet) -> None:
        super().__init__(config, slices)
        if not slices.annotated_labels or not slices.masks.any():
            raise InputError(slices.name, "no structure is annotated in all masks", "build it from labelled data")
        vae = MaskVAE(
            sample_size=image_size(slices, levels=len(config.block_out_channels)),
            label_channels=NUM_LABELS,
            latent_dim=config.latent_dim,
            block_out_channels=tuple(config.block_out_channels),
        )
        self.encoder = build_condition_encoder(config, slices, vae.embedding_dim)
        self.averaged = nn.ModuleDict({"vae": vae, "condition_encoder": self.encoder})
        self.objective = MaskObjective(self.averaged)
        self.phases = (Phase("vae", self.objective),)
        self.anatomy = real_anatomy(slices)
        self.load_state({"step": 0})

    def tensors(self, slices: SliceSet) -> TrainingSlices:
        """Return a split whose images are the signed distances of its masks."""
        reach = self.averaged["vae"].reach
        distances = np.stack([signed_distances(mask, reach) for mask in slices.masks])
        return replace(super().tensors(slices), images=torch.from_numpy(distances))

    def pipeline(self, averaged: nn.Module) -> MaskGeneratorPipeline:
        """Return the sampling pipeline."""
        settings = {"condition_dropout": self.config.condition_dropout, "pixel_spacing_mm": self.spacing}
        return MaskGeneratorPipeline(**averaged, **settings, anatomy=self.anatomy)

    def sampling(self) -> dict[str, Any]:
        """Return the options of the sample grids, which show what an unfinished model draws."""
        return {"reject": False}

    def held_out(self, averaged: nn.Module, data: TrainingSlices) -> dict[str, float]:
        """Return the negative evidence bound (at weight 1) on other patients."""
        return {"negative_evidence_bound": held_out_loss(MaskObjective(averaged), data)}

    @torch.no_grad()
    def record(self, averaged: nn.Module, data: TrainingSlices | None) -> dict[str, Any]:
        """Return how many first draws are refused and why, and whether the others are copies of training masks."""
        pipeline = self.pipeline(averaged)
        rows = np.arange(self.config.audited_masks) % len(self.slices)
        levels = self.slices.slice_level[rows]
        conditions = encoder_conditions(self.encoder.config, self.slices.select(rows))
        made = pipeline(
            batch_size=len(rows),
            **conditions,
            reject=False,
            generator=[torch_generator(self.config.seed, "audited mask", number) for number in range(len(rows))],
            output_type="np",
        ).masks
        faults = [pipeline.faults(mask, level) for mask, level in zip(made, levels, strict=True)]
        kept = np.array([not wrong for wrong in faults])
        audit = {
            "drawn": len(made),
            "refused": int((~kept).sum()),
            "faults": dict(Counter(name for wrong in faults for name in wrong)),
        }
        if data is None or not kept.any():
            return {"masks": audit}
        return {"masks": {**audit, "copying": copying(made[kept], self.slices.masks, data.labels.numpy())}}


def real_anatomy(slices: SliceSet) -> dict[str, Any]:
    """Return what real masks show, overall and at each slice level, as `MaskGeneratorPipeline` needs it.

    A fault that 5 % of the real masks have is tolerated; the cavity may be as open as the most open 5 % of them
    (at the base the myocardium is often not a closed ring), and a structure as small as the smallest 1 %; masks
    without any structure are left out.
    """
    found = [topology(mask) for mask in slices.masks]
    filled = np.array([bool(x["present"]) for x in found])
    levels = {ANY_LEVEL: filled}
    for level in sorted(set(slices.slice_level.tolist()) - {UNKNOWN}):
        rows = filled & (slices.slice_level == level)
        if rows.sum() >= FEWEST:
            levels[level] = rows
    return {
        "labels": list(slices.annotated_labels),
        "levels": {level: _real_level([found[row] for row in np.flatnonzero(rows)]) for level, rows in levels.items()},
    }


def _real_level(found: list[dict[str, Any]]) -> dict[str, Any]:
    faults = Counter(name for x in found for name in x["faults"])
    present = Counter(x["present"] for x in found)
    sizes: defaultdict[str, list[int]] = defaultdict(list)
    for x in found:
        for label, pixels in x["pixels"].items():
            sizes[label].append(pixels)
    return {
        "present": sorted(name for name, count in present.items() if count >= PRESENT_FROM * len(found)),
        "tolerated": sorted(name for name, count in faults.items() if count >= TOLERATED_FROM * len(found)),
        "least_pixels": {label: int(np.quantile(of_label, SLIVER_BELOW)) for label, of_label in sorted(sizes.items())},
        "least_enclosed": float(np.quantile([x["lv_enclosed"] for x in found], 0.05)),
    }
