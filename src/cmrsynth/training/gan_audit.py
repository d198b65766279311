"""The discriminator of a run, for an audit: it never travels with the pipeline, and the run folder still has it.

A discriminator takes the images it was trained on for more real than others (LOGAN, Hayes et al. 2019,
arXiv:1705.07663), so it is the strongest witness of whoever trained the GAN, and must not be published.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from cmrsynth.conditions import compiled_prompts, encoder_conditions
from cmrsynth.data.loading import SliceSet
from cmrsynth.errors import InputError
from cmrsynth.labels import one_hot
from cmrsynth.training.checkpoint import latest_checkpoint, read_state
from cmrsynth.training.gan import build_gan
from cmrsynth.training.gan_config import GanConfig

BATCH = 64
WEIGHTS = "discriminator.safetensors"


def load_discriminator(run: Path, train: SliceSet) -> Callable[[SliceSet], np.ndarray]:
    """Return what scores the slices of a set, (N,) float64, with the discriminator of a run's newest checkpoint.

    Args:
        run: the folder that the training wrote its checkpoints to.
        train: the slices the GAN was trained on, which decide the size and the vocabularies of its networks.

    Raises:
        InputError: there is no checkpoint, it is of no GAN, or the GAN was trained on other data.
    """
    checkpoint = latest_checkpoint(run)
    if checkpoint is None or not (checkpoint / WEIGHTS).is_file():
        raise InputError(
            run, "no checkpoint with a discriminator", "give the run folder of train_gan.py, not its `pipeline`"
        )
    state = read_state(checkpoint)
    if state["data_fingerprint"] != train.fingerprint:
        raise InputError(run, f"was not trained on {train.name}", "give the data and split it was trained on")
    gan = build_gan(GanConfig(**{**GanConfig._before, **state["config"]}), train)
    phase = next(phase for phase in gan.phases if phase.name == "discriminator")
    phase.objective.load_state_dict(load_file(checkpoint / WEIGHTS))
    judging = phase.objective.judging.eval()
    gan.encoder.register_to_config(text_statistics=state.get("text_statistics"))

    def score(part: SliceSet) -> np.ndarray:
        encoder, found = judging["condition_encoder"], []
        values = encoder_conditions(encoder.config, part)
        # as in training, the generator's encoder embeds the prompts of both
        text = gan.text_model and gan.text_model.embed(compiled_prompts(values, len(part)), gan.encoder)
        conditions = encoder.encode(len(part), text=text, **values)
        images = torch.from_numpy(part.images)[:, None] * 2 - 1
        masks = one_hot(torch.from_numpy(part.masks))
        with torch.inference_mode():
            for rows in torch.arange(len(part)).split(BATCH):
                found.append(_scores(judging, images[rows], masks[rows], encoder(conditions[rows])))
        return torch.cat(found).double().numpy()

    return score


def _scores(
    judging: torch.nn.ModuleDict, image: torch.Tensor, mask: torch.Tensor, embedding: torch.Tensor
) -> torch.Tensor:
    """Return (B,) scores of images under their masks and conditions, without augmentation."""
    if "score" in judging:
        return judging["score"](image, embedding)[:, 0]
    planes = embedding[:, :, None, None].expand(-1, -1, *image.shape[-2:])
    judgements = judging["patches"](image, torch.cat([mask, planes], dim=1))
    return torch.stack([scale.logits.flatten(1).mean(1) for scale in judgements]).mean(0)
