"""Every row's images, from the same masks and the same seeds, and how fast they come."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from cmrsynth.comparison.plan import Plan
from cmrsynth.comparison.programs import pipeline_of
from cmrsynth.comparison.rows import Row
from cmrsynth.comparison.workers import one_thread
from cmrsynth.conditions import known_conditions
from cmrsynth.data.loading import SliceSet, load_slices
from cmrsynth.errors import InputError
from cmrsynth.generation.generate import GenerationSettings, generate
from cmrsynth.hub.load import load_pipeline, pipeline_hash
from cmrsynth.labels import one_hot
from cmrsynth.precision import computing_in, hardware_precision

TIMED_IMAGES, TIMED_SECONDS = 8, 1.0  # images at once, and processor time that a measurement lasts at least


@dataclass(frozen=True)
class SampleJob:
    """A row of a plan to be sampled."""

    plan: Plan
    row: Row

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.row.family}, {self.row.name}"


def sample(job: SampleJob) -> str | None:
    """Sample a row that is not there yet and measure its speed; return why the model cannot, or None.

    The record beside the images says what they were made with; images of another model or of other options, which
    an earlier plan left there, are replaced.
    """
    plan, row = job.plan, job.row
    folder, record = row.folder(plan), record_of(plan, row)
    pipeline = pipeline_of(plan, row.family)
    key = _key(plan, row)
    known = read_record(plan, row)
    if known and known["key"] == key and (known["refused"] or (folder / "generate.json").is_file()):
        return known["refused"]
    begun = record.with_suffix(".begun")  # what unfinished images belong to
    if known or not begun.is_file() or json.loads(begun.read_text(encoding="utf-8")) != key:
        for stale in (folder, folder.with_name(f"{folder.name}.parts")):
            shutil.rmtree(stale, ignore_errors=True)
        record.unlink(missing_ok=True)
        _write(begun, key)
    settings = GenerationSettings(
        sampling=dict(row.options),
        seed=plan.seed,
        batch_size=plan.sampling.batch_size,
        precision=plan.sampling.precision,
    )
    try:
        generate(pipeline, f"{plan.data}:{row.masks}", folder, settings, cpu_threads=1)
    except InputError as error:
        _write(record, {"key": key, "refused": error.what, "speed": None})
        return error.what
    speed = measure_speed(pipeline, slices_of(plan, row.masks), row.options, plan.sampling.precision)
    _write(record, {"key": key, "refused": None, "speed": speed})
    return None


def slices_of(plan: Plan, split: str) -> SliceSet:
    """Return a split of the plan's data, read once by each process."""
    return read_slices(plan.data, split)


@lru_cache(maxsize=4)
def read_slices(data: str, split: str) -> SliceSet:
    """Return a split of a data set, read once by each process."""
    return load_slices(f"{data}:{split}", split)


def _key(plan: Plan, row: Row) -> dict[str, Any]:
    """Return everything that decides the images of a row."""
    return {
        "pipeline_hash": pipeline_hash(pipeline_of(plan, row.family)),
        "masks": slices_of(plan, row.masks).fingerprint,
        "options": dict(row.options),
        "seed": plan.seed,
        "precision": hardware_precision() if plan.sampling.precision == "auto" else plan.sampling.precision,
    }


def record_of(plan: Plan, row: Row) -> Path:
    """Return the file beside a row's images: what they were made with, or why there are none."""
    return row.folder(plan).with_name(f"{row.name}.json")


def read_record(plan: Plan, row: Row) -> dict[str, Any] | None:
    """Return the record of a row; None where it was not sampled yet."""
    path = record_of(plan, row)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def current_record(plan: Plan, row: Row) -> dict[str, Any] | None:
    """Return the record of a row; None where this plan and the model that is there have not sampled it yet."""
    record = read_record(plan, row)
    return record if record is not None and record["key"] == _key(plan, row) else None


def measure_speed(
    pipeline_folder: Path, slices: SliceSet, options: dict[str, Any], precision: str = "no"
) -> dict[str, Any]:
    """Return images per second of one thread and evaluations of the network per image.

    Args:
        pipeline_folder: the model.
        slices: whose masks and attributes condition it.
        options: of the pipeline's call.
        precision: of the networks.

    Returns:
        "images_per_cpu_second", which other jobs on the machine hardly lower, "images_per_second" by the wall clock,
        "evaluations" of the denoiser for each image (1 of a family without), "parameters" of the whole pipeline.
    """
    pipeline = load_pipeline(pipeline_folder)
    pipeline.set_progress_bar_config(disable=True)
    chosen = slices.select(range(min(TIMED_IMAGES, len(slices))))
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    def once() -> None:
        pipeline(
            one_hot(torch.from_numpy(chosen.masks)) if pipeline.mask_channels else None,
            **({} if pipeline.mask_channels else {"batch_size": len(chosen)}),
            **known_conditions(pipeline, chosen),
            **options,
            generator=[torch.Generator().manual_seed(i) for i in range(len(chosen))],
        )

    denoiser = getattr(pipeline, "unet", None)
    with one_thread(), computing_in(precision, "cpu"):
        hook = None if denoiser is None else denoiser.register_forward_hook(count)
        once()  # the first call also warms up
        evaluations = calls if hook else 1
        if hook:
            hook.remove()
        rounds, cpu, wall = 0, time.process_time(), time.perf_counter()
        while time.process_time() - cpu < TIMED_SECONDS:
            once()
            rounds += 1
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    return {
        "images_per_cpu_second": rounds * len(chosen) / cpu,
        "images_per_second": rounds * len(chosen) / wall,
        "evaluations": evaluations,
        "parameters": sum(p.numel() for part in parts for p in part.parameters()),
    }


def _write(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
