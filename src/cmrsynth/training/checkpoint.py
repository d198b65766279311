"""Checkpoints that survive a kill at any moment: written aside, then renamed; safetensors and JSON only.

A run continues from its newest whole checkpoint and repeats the steps after it, bit for bit on a CPU.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from cmrsynth.errors import InputError

PREFIX = "checkpoint-"


def latest_checkpoint(run: Path) -> Path | None:
    """Return the newest checkpoint of a run folder, or None."""
    whole = [p for p in run.glob(f"{PREFIX}*") if p.suffix != ".partial" and (p / "state.json").is_file()]
    return max(whole, key=lambda p: int(p.name.removeprefix(PREFIX)), default=None)


def save_checkpoint(
    run: Path,
    step: int,
    *,
    accelerator: Accelerator,
    networks: Mapping[str, torch.nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    ema: EMAModel,
    state: dict[str, Any],
    kept: int,
) -> None:
    """Save everything the run needs to go on; call it on all processes.

    Args:
        run: the run folder.
        step: optimiser steps done.
        accelerator: knows the process, and holds the gradient scaler under fp16.
        networks: the (prepared) networks by the name of their phase.
        optimizers: their (prepared) optimisers.
        ema: the averaged weights.
        state: JSON-able facts (configuration, training seconds, data fingerprint, ...).
        kept: number of checkpoints to keep.
    """
    final = run / f"{PREFIX}{step:08d}"
    partial = final.with_suffix(".partial")
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    save_file(_random_states(), partial / f"random-{accelerator.process_index}.safetensors")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        for name, network in networks.items():
            weights = _contiguous(accelerator.unwrap_model(network).state_dict())
            save_file(weights, partial / f"{name}.safetensors")
            save_file(_flatten(optimizers[name].state_dict()["state"]), partial / f"{name}-optimizer.safetensors")
        save_file({str(i): p.contiguous() for i, p in enumerate(ema.shadow_params)}, partial / "ema.safetensors")
        scaler = accelerator.scaler.state_dict() if accelerator.scaler is not None else None
        facts = {**state, "step": step, "scaler": scaler, "processes": accelerator.num_processes}
        (partial / "state.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)
        for old in sorted(p for p in run.glob(f"{PREFIX}*") if p.suffix != ".partial")[:-kept]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Return the JSON-able facts of a checkpoint."""
    return json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))


def load_checkpoint(
    checkpoint: Path,
    *,
    accelerator: Accelerator,
    networks: Mapping[str, torch.nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    ema: EMAModel,
) -> dict[str, Any]:
    """Restore a run in place and return the checkpoint's facts.

    Raises:
        InputError: the checkpoint was made by another number of processes.
    """
    state = read_state(checkpoint)
    if state["processes"] != accelerator.num_processes:
        raise InputError(
            checkpoint,
            f"was saved by {state['processes']} processes, this run has {accelerator.num_processes}",
            "continue with the same number, or start a new run folder",
        )
    for name, network in networks.items():
        accelerator.unwrap_model(network).load_state_dict(load_file(checkpoint / f"{name}.safetensors"))
        groups = optimizers[name].state_dict()["param_groups"]
        moments = _nest(load_file(checkpoint / f"{name}-optimizer.safetensors"))
        optimizers[name].load_state_dict({"state": moments, "param_groups": groups})
    shadow = load_file(checkpoint / "ema.safetensors")
    ema.shadow_params = [shadow[str(i)].to(p.device) for i, p in enumerate(ema.shadow_params)]
    ema.optimization_step = state["step"]
    if accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(state["scaler"])
    _restore_random(load_file(checkpoint / f"random-{accelerator.process_index}.safetensors"))
    return state


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _flatten(state: dict[int, dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{i}.{key}": tensor.contiguous() for i, entry in state.items() for key, tensor in entry.items()}


def _nest(flat: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    nested: dict[int, dict[str, Tensor]] = {}
    for name, tensor in flat.items():
        index, key = name.split(".", 1)
        nested.setdefault(int(index), {})[key] = tensor
    return nested


def _random_states() -> dict[str, Tensor]:
    """Return torch's global states. Our own draws need none; a network with dropout layers would."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _restore_random(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
