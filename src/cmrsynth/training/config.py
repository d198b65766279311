"""The configuration of the training programs: typed, documented, read from YAML and the command line."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml

from cmrsynth.errors import InputError
from cmrsynth.schema import ATTRIBUTES, CONDITION_COLUMNS, SCALARS

Config = TypeVar("Config")
CONDITIONING = ("concat", "spade", "none")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}  # in seconds
BACKBONES = ("unet", "dit")


def option(default: Any, text: str) -> Any:
    """Return a dataclass field with a help text."""
    metadata = {"help": text}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class TrainingConfig:
    """What every training run has, whatever it trains."""

    data: str = option("", "built data set: a folder of `cmrsynth build`, or a Hub id")
    output: str = option("", "run folder: checkpoints, sample grids, TensorBoard log, and the finished pipeline")
    train_split: str = option("train", "split that is learned from")
    validation_split: str = option("validation", "split whose loss is logged; an empty string for none")

    attributes: list[str] = option(list(ATTRIBUTES), "columns the model is conditioned on beside the mask")
    scalars: list[str] = option([], f"numbers the model is conditioned on, of {', '.join(SCALARS)}")
    text_encoder: str = option(
        "", "folder or Hub id of a CLIP text model, to train with prompts made of attributes and scalars; none if empty"
    )
    condition_dropout: float = option(
        0.1, "share of examples with mask and all conditions withheld (guidance needs it)"
    )
    mask_dropout: float = option(0.05, "share of the other examples whose mask alone is withheld")
    attribute_dropout: float = option(
        0.1, "share of the other examples in which a condition is withheld, each by itself"
    )
    prompt_part_dropout: float = option(0.5, "share of the prompts with random parts left out")
    beside_prompt_dropout: float = option(
        0.3, "share of the examples with a prompt whose other conditions (not the mask) are withheld: it speaks alone"
    )
    class_dropout: float = option(0.0, "share of the masks of which a random half of the classes is withheld")
    augment_shift: int = option(3, "largest random shift of image and mask in pixels (reflected at the border)")

    batch_size: int = option(16, "images per process and micro-batch")
    gradient_accumulation_steps: int = option(1, "micro-batches per optimiser step")
    learning_rate: float = option(6e-4, "peak learning rate of AdamW")
    weight_decay: float = option(0.01, "AdamW weight decay")
    max_grad_norm: float = option(1.0, "gradients are clipped to this norm")
    warmup_steps: int = option(200, "steps over which the learning rate rises linearly")
    decay_fraction: float = option(
        0.4, "last share of the training over which the learning rate falls to zero (cosine)"
    )
    ema_decay: float = option(0.9995, "largest decay of the averaged weights (it warms up)")
    max_train_steps: int = option(0, "stop after this many optimiser steps (0: use --max-train-minutes)")
    max_train_minutes: float = option(0.0, "stop after this many minutes of training, resumed time included")
    clock: str = option(
        "wall", "what counts as a minute: wall, or cpu: processor time of all threads, which other jobs do not shorten"
    )
    mixed_precision: str = option("auto", "no, bf16, fp16, or auto: bf16 where the hardware computes it, else no")
    cpu_threads: int = option(0, "threads of each process on a CPU; 0: the cores, shared by the processes")
    seed: int = option(0, "decides the initial weights, the order of the data and every draw")

    checkpoint_steps: int = option(500, "save a checkpoint every so many steps")
    checkpoints_kept: int = option(2, "older checkpoints are removed")
    log_steps: int = option(25, "log the loss every so many steps")
    validation_steps: int = option(500, "log the validation loss of the averaged weights every so many steps")
    sample_steps: int = option(1000, "write a grid of samples every so many steps (0: never)")

    # what may differ between a run and its continuation
    _free_on_resume = (
        *("output", "max_train_steps", "max_train_minutes", "checkpoint_steps", "checkpoints_kept"),
        *("log_steps", "cpu_threads"),
    )

    def __post_init__(self) -> None:
        where = "training configuration"
        if not self.data or not self.output:
            raise InputError(
                where, "--data and --output are needed", "give both, in the YAML file or on the command line"
            )
        if (self.max_train_steps > 0) == (self.max_train_minutes > 0):
            raise InputError(
                where, "exactly one of --max-train-steps and --max-train-minutes is needed", "give one of them"
            )
        if self.mixed_precision not in ("auto", "no", "bf16", "fp16"):
            raise InputError(where, f"mixed_precision {self.mixed_precision!r}", "use auto, no, bf16 or fp16")
        if self.clock not in CLOCKS:
            raise InputError(where, f"clock {self.clock!r}", f"use one of {tuple(CLOCKS)}")
        shares = [f.name for f in fields(self) if f.name.endswith(("_dropout", "_fraction", "_decay"))]
        for name in set(shares) - {"weight_decay"}:
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(where, f"{name} is {getattr(self, name)}", "give a share between 0 and 1")
        counts = (
            "batch_size",
            "gradient_accumulation_steps",
            "checkpoints_kept",
            "layers_per_block",
            "transformer_layers",
        )
        for name in (*counts, "checkpoint_steps", "log_steps", "validation_steps", "sample_inference_steps"):
            if getattr(self, name, 1) < 1:
                raise InputError(where, f"{name} is {getattr(self, name)}", "give at least 1")
        if ":" in self.data:  # it would name the validation split too
            raise InputError(where, f"--data {self.data} names a split", "use --train-split and --validation-split")
        for name, known in (("attributes", CONDITION_COLUMNS), ("scalars", tuple(SCALARS))):
            if strangers := sorted(set(getattr(self, name)) - set(known)):
                raise InputError(where, f"unknown {name} {strangers}", f"choose from {list(known)}")

    _before: ClassVar[dict[str, Any]] = {}  # what runs did that began before there was such a setting, if no default

    def differences(self, saved: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Return the settings that decide the weights and differ from a saved run's, as (saved, now).

        A setting that the saved run does not know, because it began before there was one, is as `_before` says, else
        at its default.
        """
        defaults = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(self)}
        now, saved = asdict(self), {**defaults, **self._before, **saved}
        return {k: (saved[k], now[k]) for k in now if k not in self._free_on_resume and saved[k] != now[k]}

    def refuse_conditions(self, *names: str, why: str) -> None:
        """Raise InputError where conditions are given to a kind of model that takes none of its own."""
        if given := [name for name in names if getattr(self, name)]:
            raise InputError("training configuration", f"{given}: {why}", "leave them out")


@dataclass(frozen=True)
class DenoiserConfig(TrainingConfig):
    """What runs that train a denoiser (flow or diffusion) have in common."""

    conditioning: str = option(
        "concat", "how the mask enters: concat, spade (modulates the decoder), or none for an unconditional model"
    )
    backbone: str = option("unet", "unet, or dit: transformer blocks on patches, with concat or none")
    block_out_channels: list[int] = option(
        [24, 48, 96, 192],
        "width of each level, from full resolution down; dit: the last is the transformer's, n levels make patches "
        "of 2^(n-1) pixels, and 32 64 192 suits 64x64 images",
    )
    layers_per_block: int = option(1, "unet: residual blocks per level below full resolution")
    attention_levels: list[int] = option([3], "unet: levels with self-attention (0 is full resolution)")
    transformer_layers: int = option(6, "dit: number of transformer blocks")
    sample_inference_steps: int = option(10, "sampling steps of the sample grids")

    def __post_init__(self) -> None:
        super().__post_init__()
        where, widths = "training configuration", self.block_out_channels
        for name, known in (("conditioning", CONDITIONING), ("backbone", BACKBONES)):
            if getattr(self, name) not in known:
                raise InputError(where, f"{name} {getattr(self, name)!r}", f"use one of {known}")
        if self.backbone == "unet" and (absent := sorted(set(self.attention_levels) - set(range(len(widths))))):
            raise InputError(
                where,
                f"attention_levels {absent} of a network with levels 0 to {len(widths) - 1}",
                "name levels that block_out_channels has, or none",
            )
        if self.backbone == "dit":
            if self.conditioning == "spade":
                raise InputError(
                    where,
                    "conditioning 'spade' modulates the decoder of a U-Net, and a transformer has no decoder",
                    "use --backbone unet, or --conditioning concat",
                )
            if len(widths) < 2 or widths[-1] % 4:
                raise InputError(
                    where, f"block_out_channels {widths}", "for dit, give two or more, the last a multiple of 4"
                )


@dataclass(frozen=True)
class RectifiedFlowConfig(DenoiserConfig):
    """Everything that decides a rectified-flow training run."""

    time_mean: float = option(0.0, "mean of the logit of the training time; positive favours noise")
    time_std: float = option(1.0, "standard deviation of the logit of the training time")


def parse_config(config_class: type[Config], arguments: Sequence[str] | None = None, prog: str | None = None) -> Config:
    """Return the configuration from `--config FILE.yaml` overridden by the other arguments.

    Raises:
        InputError: the YAML file is missing, is no mapping, or has a key the program does not know.
    """
    from transformers import HfArgumentParser

    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--config", type=Path)
    chosen, rest = first.parse_known_args(arguments)
    parser = HfArgumentParser(config_class, prog=prog, description=config_class.__doc__)
    parser.add_argument("--config", type=Path, help="YAML file with any of the settings below; the command line wins")
    if chosen.config:
        parser.set_defaults(**_read_yaml(chosen.config, {f.name for f in fields(config_class)}))
    values = vars(parser.parse_args(rest))
    values.pop("config")
    return config_class(**values)


def _read_yaml(path: Path, known: set[str]) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(path, "no such file", "see training/configs for examples")
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise InputError(path, "not a mapping of settings", "write one `name: value` per line")
    if strangers := sorted(set(values) - known):
        raise InputError(path, f"unknown settings {strangers}", f"choose from {sorted(known)}")
    return values
