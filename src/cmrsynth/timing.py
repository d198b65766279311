"""Timing of contestants in turns, so that a busy machine slows all of them alike and their ratios hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping


def in_turns(
    contestants: Mapping[str, Callable[[], object]],
    rounds: Iterable,
    *,
    warm_up: int = 0,
    finish: Callable[[], object] | None = None,
) -> dict[str, list[float]]:
    """Return the seconds of each contestant in each round, run in turns.

    Args:
        contestants: what is timed, by name.
        rounds: one item per round, such as `range(3)` or a progress bar over it.
        warm_up: first rounds that are not counted.
        finish: waits until the work is done, where a call only orders it: `torch.cuda.synchronize` on a GPU.

    >>> {name: len(seconds) for name, seconds in in_turns({"a": dict, "b": list}, range(3), warm_up=1).items()}
    {'a': 2, 'b': 2}
    """
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for number, _ in enumerate(rounds):
        for name, contestant in contestants.items():
            began = time.perf_counter()
            contestant()
            if finish is not None:
                finish()
            if number >= warm_up:
                taken[name].append(time.perf_counter() - began)
    return taken
