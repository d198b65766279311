"""The trainings of a plan, several at a time, each a process of its own that goes on where it stopped."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import yaml

from cmrsynth.comparison.plan import Plan
from cmrsynth.comparison.programs import check_finished, check_settings, module_of, settings_of, training_record
from cmrsynth.data.loading import load_slices

POLL_SECONDS = 0.5
_PERCENT = re.compile(r"\((\d+)%\)")  # of the lines that a training prints where there is no terminal


class Started(Protocol):
    """A training under way, as `subprocess.Popen` offers it."""

    def poll(self) -> int | None:
        """Return the exit status, None while it runs."""

    def terminate(self) -> None:
        """Ask it to end."""


Start = Callable[[Plan, str], Started]


@dataclass
class _State:
    """Where the trainings stand, by name."""

    waiting: list[str]
    running: dict[str, Started]
    failed: dict[str, str]


def run_trainings(plan: Plan, names: Sequence[str], workers: int, start: Start | None = None) -> dict[str, str]:
    """Train what is not finished yet, and return why the others failed, by name.

    A failure stops only what stands on it. Run again, finished trainings are left alone and the others go on from
    their newest checkpoint.

    Args:
        plan: the plan.
        names: trainings that are wanted; what they stand on is trained as well.
        workers: trainings at a time.
        start: starts one; a process of its program unless given.

    Raises:
        InputError: a program would refuse its settings, or a folder holds a finished run of other settings.
    """
    waiting = unfinished(plan, names)
    state = _State(waiting, {}, {})
    start = start or TrainingProcess
    with _display(plan, waiting) as show:
        try:
            while state.waiting or state.running:
                _begin(plan, state, workers, start)
                _collect(plan, state)
                show(state)
        finally:
            for process in state.running.values():
                process.terminate()
    return state.failed


def unfinished(plan: Plan, names: Sequence[str]) -> list[str]:
    """Return the trainings that are to be done still, in the order of the plan.

    Args:
        plan: the plan.
        names: trainings that are wanted, beside what they stand on.

    Raises:
        InputError: a program would refuse its settings, or a folder holds a finished run of other settings.
    """
    configs = check_settings(plan)
    needed = {each for name in names for each in (name, *plan.standing_on(name))}
    prints = {c.train_split: load_slices(plan.data, c.train_split).fingerprint for c in configs.values()}
    return [
        name
        for name in plan.trainings
        if name in needed and not check_finished(plan, name, configs[name], prints[configs[name].train_split])
    ]


def _begin(plan: Plan, state: _State, workers: int, start: Start) -> None:
    for name in list(state.waiting):
        needs = plan.standing_on(name)
        if broken := [need for need in needs if need in state.failed]:
            state.waiting.remove(name)
            state.failed[name] = f"it stands on {broken[0]}, which failed"
        elif len(state.running) < workers and not {*state.waiting, *state.running} & set(needs):
            state.waiting.remove(name)
            state.running[name] = start(plan, name)


def _collect(plan: Plan, state: _State) -> None:
    for name, process in list(state.running.items()):
        code = process.poll()
        if code is None:
            continue
        del state.running[name]
        if code != 0 or training_record(plan, name) is None:
            state.failed[name] = f"exit code {code}: {_last_line(log_of(plan, name))}"
    if state.running:
        time.sleep(POLL_SECONDS)


def log_of(plan: Plan, name: str) -> Path:
    """Return the file that holds what a training printed."""
    return plan.output / "logs" / f"{name}.log"


class TrainingProcess:
    """The program of a training as a process.

    It holds a lock on its log. A comparison that was killed leaves its trainings running, and a second process in
    their folder would spoil it; so this one begins when the lock is free.
    """

    def __init__(self, plan: Plan, name: str) -> None:
        self._plan, self._name = plan, name
        self._process: subprocess.Popen | None = None
        log = log_of(plan, name)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log.open("ab")
        self.poll()

    def poll(self) -> int | None:
        """Return the exit status; None while it, or the one it waits for, runs."""
        if self._process is not None:
            return self._process.poll()
        if not _locked(self._log):
            return None
        with self._log:  # the process inherits the lock
            if training_record(self._plan, self._name) is not None:
                return 0  # the one that was running has finished it
            self._process = self._begin()
        return None

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process is not None:
            self._process.terminate()

    def _begin(self) -> subprocess.Popen:
        training = self._plan.trainings[self._name]
        settings = settings_of(self._plan, training)
        config = log_of(self._plan, self._name).with_suffix(".yaml")
        config.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        threads = {"OMP_NUM_THREADS": str(settings["cpu_threads"])} if settings.get("cpu_threads") else {}
        return subprocess.Popen(
            [sys.executable, "-m", module_of(training.program), "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **threads},
        )


def _locked(file: IO[bytes]) -> bool:
    """Lock an open file for this process and those that inherit it; False where another process holds it."""
    try:
        import fcntl
    except ImportError:  # Windows, where processes of a killed comparison end with it
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1].strip() if lines else "it said nothing"


@contextmanager
def _display(plan: Plan, names: Sequence[str]) -> Iterator[Callable[[_State], None]]:
    """Yield a function that shows where the trainings stand: one bar each."""
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[status]}"), TimeElapsedColumn()
    with Progress(*columns) as progress:
        bars: Mapping[str, TaskID] = {
            name: progress.add_task(f"training {name}", total=100, start=False, status="waiting") for name in names
        }
        told: set[str] = set()

        def show(state: _State) -> None:
            for name, bar in bars.items():
                if name in state.waiting or name in told:
                    continue
                progress.start_task(bar)
                if name in state.running:
                    found = _PERCENT.findall(_last_line(log_of(plan, name)))
                    progress.update(bar, completed=float(found[-1]) if found else 0, status="running")
                    continue
                told.add(name)
                why = state.failed.get(name)
                progress.update(bar, completed=0 if why else 100, status="failed" if why else "finished")
                progress.stop_task(bar)
                progress.console.print(f"training {name}: {why or 'finished'}")

        yield show


def family_error(plan: Plan, name: str, failed: Mapping[str, str]) -> str | None:
    """Return why a family has no pipeline, or None where it has one."""
    if training_record(plan, name) is not None:
        return None
    return f"not trained: {failed[name]}" if name in failed else "not trained yet"
