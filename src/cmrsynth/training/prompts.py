"""Prompts in training: a frozen text model, and the embedding of everything it will be asked, made once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmrsynth.errors import InputError
from cmrsynth.models import ConditionEncoder
from cmrsynth.prompts import OPENING, prompt_parts
from cmrsynth.seeds import derive_seed

VARIANTS = 8  # of a slice's prompt: the whole, and with random parts left out
WHERE_FROM = "give the folder or Hub id of a CLIP text model of transformers, with tokenizer and safetensors"


@dataclass(frozen=True)
class TextModel:
    """A frozen CLIP-type text model of transformers.

    Args:
        text_encoder: a `CLIPTextModel` or `CLIPTextModelWithProjection`.
        tokenizer: its tokenizer.
    """

    text_encoder: Any
    tokenizer: Any

    @cached_property
    def fingerprint(self) -> str:
        """A hash of weights and vocabulary: the model lies outside the run folder, where it could be exchanged."""
        digest = sha256(repr(sorted(self.tokenizer.get_vocab().items())).encode())
        for name, weight in sorted(self.text_encoder.state_dict().items()):
            digest.update(name.encode() + weight.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def embed(self, prompts: Sequence[str], encoder: ConditionEncoder, batch_size: int = 64) -> Tensor:
        """Return (P, T) embeddings, as a pipeline makes them; raises InputError for prompts that are too long."""
        chunks = [prompts[start : start + batch_size] for start in range(0, len(prompts), batch_size)]
        try:
            made = [encoder.encode_prompt(chunk, self.text_encoder, self.tokenizer) for chunk in chunks]
        except ValueError as error:
            raise InputError("--text-encoder", str(error), "use fewer attributes and scalars") from error
        return torch.cat(made).float().cpu()


def text_width(location: str) -> int:
    """Return the length of a text model's embeddings, from its configuration alone.

    Raises:
        InputError: there is no such model, or it is not CLIP's.
    """
    return _described(location)[1]


def load_text_model(location: str) -> TextModel:
    """Return the text model of a folder or Hub id, in evaluation mode and without gradients.

    Raises:
        InputError: it is no CLIP text model, has no safetensors or tokenizer, or its weights are incomplete.
    """
    import transformers

    name, _ = _described(location)
    try:
        model, info = getattr(transformers, name).from_pretrained(
            location, use_safetensors=True, output_loading_info=True
        )
        tokenizer = transformers.CLIPTokenizer.from_pretrained(location)
    except (OSError, ValueError) as error:
        raise InputError(location, str(error).splitlines()[0], WHERE_FROM) from error
    if missing := sorted(info["missing_keys"]):
        raise InputError(location, f"the text model lacks weights: {missing[:3]}", WHERE_FROM)
    # some tokenizers state no length, and then neither pad nor cut
    tokenizer.model_max_length = min(tokenizer.model_max_length, model.config.max_position_embeddings)
    return TextModel(model.float().requires_grad_(False).eval(), tokenizer)


def _described(location: str) -> tuple[str, int]:
    """Return the class to load a text model with, and the length of its embeddings."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(location)
    except (OSError, ValueError) as error:
        raise InputError(location, str(error).splitlines()[0], WHERE_FROM) from error
    if config.model_type not in ("clip", "clip_text_model"):
        raise InputError(location, f"a model of type {config.model_type!r}", WHERE_FROM)
    text = getattr(config, "text_config", config)
    if config.model_type == "clip" or "CLIPTextModelWithProjection" in (config.architectures or ()):
        return "CLIPTextModelWithProjection", getattr(config, "projection_dim", text.projection_dim)
    return "CLIPTextModel", text.hidden_size


@dataclass(frozen=True)
class PromptTable:
    """Every prompt of a split, embedded once.

    Args:
        embeddings: (P, T), of the distinct prompts.
        of_row: (N, `VARIANTS`) int64, the prompts of each slice: first the whole, then with parts left out.
    """

    embeddings: Tensor
    of_row: Tensor


def prompt_table(
    model: TextModel, encoder: ConditionEncoder, values: Mapping[str, Sequence[Any]], length: int, *, seed: int
) -> PromptTable:
    """Return the prompts of a split's slices.

    Which parts a variant leaves out follows from the seed and the prompt, so that equal slices share their prompts and
    few distinct ones are embedded.

    Args:
        model: embeds them.
        encoder: of the conditions.
        values: column to its N values, as `encoder_conditions` returns them.
        length: N.
        seed: of the run.
    """
    number: dict[str, int] = {}
    variants: dict[tuple[str, ...], list[int]] = {}
    of_row = []
    for row in range(length):
        parts = tuple(prompt_parts({name: column[row] for name, column in values.items()}))
        if parts not in variants:
            variants[parts] = [number.setdefault(text, len(number)) for text in _variants(parts, seed)]
        of_row.append(variants[parts])
    return PromptTable(model.embed(list(number), encoder), torch.tensor(of_row))


def _variants(parts: tuple[str, ...], seed: int) -> list[str]:
    kept = np.random.default_rng(derive_seed(seed, "prompt parts", *parts)).random((VARIANTS, len(parts))) < 0.5
    kept[0] = True
    return [", ".join([OPENING, *(part for part, keep in zip(parts, row, strict=True) if keep)]) for row in kept]
