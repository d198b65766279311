"""The processes a program was launched with: do they know of each other, and which cores are theirs?"""

from __future__ import annotations

import gc
import os

import torch
from accelerate.state import PartialState
from accelerate.utils import parse_flag_from_env

from cmrsynth.errors import InputError


def process_state(cpu_threads: int = 0) -> PartialState:
    """Return accelerate's state of the processes this program was launched with; on a CPU, see `use_cores`.

    Raises:
        InputError: several processes were started, but they do not know of each other.
    """
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    check_processes(state.num_processes)
    if state.device.type == "cpu":
        use_cores(state.num_processes, cpu_threads)
    return state


def leave_processes() -> None:
    """End the group of processes; call it last, when nothing holds a model in `DistributedDataParallel` any more.

    Such a model holds the group. If it is the last that does, it joins the group's threads while it keeps Python's
    lock, which they need to free their tensors: about one process in a hundred hung in its exit (PyTorch 2.13, Gloo).
    """
    gc.collect()  # these models are in cycles of references
    PartialState().destroy_process_group()


def use_cores(processes: int, threads: int = 0) -> None:
    """Let torch use `threads` threads, or this process's share of the cores if 0.

    `accelerate launch` allows every process one thread unless told otherwise.
    """
    # a cluster may allow a job a few of the machine's cores
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads or max(1, cores // processes))


def check_processes(found: int) -> None:
    """Raise InputError unless `found` processes is what the launcher started."""
    wanted = int(os.environ.get("WORLD_SIZE", 1))
    if found != wanted:
        raise InputError(
            "accelerate launch",
            f"{wanted} processes were started, but they do not know of each other",
            "on a CPU set ACCELERATE_USE_CPU=true and pass --multi_gpu --num_processes N --num_machines 1",
        )
