"""Several processes of one thread each, and the bar that shows how far they have come."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from multiprocessing import get_context
from typing import TypeVar

Job = TypeVar("Job")


def default_workers() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(
    work: Callable[[Job], str | None], jobs: Sequence[Job], *, workers: int, title: str, name: Callable[[Job], str]
) -> dict[str, str]:
    """Do every job and return why some failed, by name; a failure stops no other job.

    Args:
        work: does one job; returns None, or why it could not be done. An exception counts as a failure too.
        jobs: what `work` takes; must be picklable, as must `work`, unless one worker does it all.
        workers: processes; 1 works in this process.
        title: of the progress bar.
        name: what a job is called.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    failed: dict[str, str] = {}
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns) as progress:
        bar = progress.add_task(title, total=len(jobs))
        for job, why in (_one_by_one if workers == 1 else _spread)(work, jobs, workers):
            progress.update(bar, advance=1, description=f"{title}: {name(job)}")
            if why is not None:
                failed[name(job)] = why
                progress.console.print(f"{title}, {name(job)}: {why}")
    return failed


def _one_by_one(
    work: Callable[[Job], str | None], jobs: Sequence[Job], workers: int
) -> Iterator[tuple[Job, str | None]]:
    for job in jobs:
        with one_thread():
            why = _guarded(work, job)
        yield job, why


def _spread(work: Callable[[Job], str | None], jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, str | None]]:
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the processes when they load numpy and torch
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            waiting: dict[Future, Job] = {pool.submit(_guarded, work, job): job for job in jobs}
            while waiting:
                for done in wait(waiting, return_when=FIRST_COMPLETED).done:
                    error = done.exception()  # a process that was killed, say
                    yield waiting.pop(done), done.result() if error is None else _told(error)
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _guarded(work: Callable[[Job], str | None], job: Job) -> str | None:
    """Do a job in silence: the bars of what it calls would tear this command's own."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        try:
            return work(job)
        except Exception as error:
            return _told(error)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread, and give it back as many as it had."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
