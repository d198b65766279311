"""Refuse the launch that silently starts independent jobs in one folder."""

from __future__ import annotations

import os

from accelerate.state import PartialState
from accelerate.utils import parse_flag_from_env

from cmrsynth.errors import InputError


def process_state() -> PartialState:
    """Return accelerate's state of the processes this program was launched with.

    Raises:
        InputError: several processes were started, but they do not know of each other.
    """
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    check_processes(state.num_processes)
    return state


def check_processes(found: int) -> None:
    """Raise InputError unless `found` processes is what the launcher started."""
    wanted = int(os.environ.get("WORLD_SIZE", 1))
    if found != wanted:
        raise InputError(
            "accelerate launch",
            f"{wanted} processes were started, but they do not know of each other",
            "on a CPU set ACCELERATE_USE_CPU=true and pass --multi_gpu --num_processes N --num_machines 1",
        )
