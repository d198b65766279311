"""What every training program does around its run: progress, logs, sample grids, and the export at the end."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from rich.progress import Progress, TaskID, TextColumn, TimeElapsedColumn
from torch import Tensor

from cmrsynth.data.sources import SOURCES
from cmrsynth.errors import InputError
from cmrsynth.hub.cards import write_model_card
from cmrsynth.hub.export import export_pipeline
from cmrsynth.provenance import portable_path, provenance
from cmrsynth.training.checkpoint import latest_checkpoint
from cmrsynth.training.config import CLOCKS, TrainingConfig, parse_config
from cmrsynth.training.family import FamilyClass, parameter_count
from cmrsynth.training.run import Run
from cmrsynth.training.sample_grid import write_sample_grid


def main(config_class: type[TrainingConfig], family_class: FamilyClass) -> None:
    """Run a training program: options from the command line; a mistake in them is one message, no traceback."""
    try:
        train(parse_config(config_class), family_class)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None


def train(config: TrainingConfig, family_class: FamilyClass) -> None:
    """Train until the budget is used up, then export the pipeline."""
    run = Run(config, family_class)
    run.resume()
    if finished(run):
        run.accelerator.print(f"finished before: {run.folder / 'pipeline'}")
    else:
        train_to_the_end(run)
    run.end()


def train_to_the_end(run: Run) -> None:
    """Do the steps that are left, with progress, logs and checkpoints, and export."""
    config, accelerator, clock = run.config, run.accelerator, CLOCKS[run.config.clock]
    accelerator.init_trackers("tensorboard")
    columns = (*Progress.get_default_columns()[:3], TimeElapsedColumn(), TextColumn("{task.fields[status]}"))
    with Progress(*columns, disable=not accelerator.is_main_process) as progress:
        task = progress.add_task("training", total=1.0, status="")
        while run.progress < 1:
            began = clock()
            losses = run.train_step()
            run.seconds = shared_seconds(accelerator, run.seconds + clock() - began)
            if run.step % config.log_steps == 0:
                show(progress, task, run, losses)
            log(run, losses)
            if run.step % config.checkpoint_steps == 0:
                run.save()
    if latest_checkpoint(run.folder) != run.folder / f"checkpoint-{run.step:08d}":
        run.save()
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        finish(run)


def shared_seconds(accelerator: Accelerator, seconds: float) -> float:
    """Return process 0's clock on every process, so that all stop at the same step."""
    if accelerator.num_processes == 1:
        return seconds
    return broadcast(torch.tensor([seconds], dtype=torch.float64, device=accelerator.device)).item()


def show(progress: Progress, task: TaskID, run: Run, losses: dict[str, Tensor]) -> None:
    """Move the progress bar; where there is no terminal (a log file, a cluster), print a line now and then."""
    words = ", ".join(f"{name} loss {loss.item():.4f}" for name, loss in losses.items())
    progress.update(task, completed=run.progress, status=f"step {run.step}, {words}")
    if not progress.console.is_terminal and run.step % (10 * run.config.log_steps) == 0:
        minutes = run.seconds / 60
        run.accelerator.print(f"step {run.step}, {minutes:.1f} min ({run.progress:.0%}), {words}", flush=True)


def log(run: Run, losses: dict[str, Tensor]) -> None:
    """Log the losses, and every so often the held-out losses and a grid of samples."""
    config, accelerator = run.config, run.accelerator
    if run.step % config.log_steps == 0:
        values = {f"loss/{name}": accelerator.reduce(loss, "mean").item() for name, loss in losses.items()}
        rates = {f"lr/{name}": o.param_groups[0]["lr"] for name, o in run.optimizers.items()}
        accelerator.log({**values, **rates, **run.family.state()}, step=run.step)
    if not accelerator.is_main_process:
        return
    if run.validation is not None and run.step % config.validation_steps == 0:
        held_out = run.family.held_out(run.averaged_networks(), run.validation)
        accelerator.log({f"held_out/{name}": value for name, value in held_out.items()}, step=run.step)
    if config.sample_steps and run.step % config.sample_steps == 0:
        shown = run.validation_slices or run.train_slices
        rows = torch.linspace(0, len(shown) - 1, min(8, len(shown))).long().numpy()
        path = run.folder / "samples" / f"step-{run.step:08d}.png"
        sampling = run.family.sampling()
        picture = write_sample_grid(run.pipeline(), shown.select(rows), path, seed=config.seed, **sampling)
        accelerator.get_tracker("tensorboard").log_images({"samples": picture[None]}, run.step, dataformats="NHWC")


def source_facts(data: str) -> dict[str, str]:
    """Return source and licence of a built data set, where its record is at hand."""
    record = Path(data.partition(":")[0]) / "build.json"
    name = json.loads(record.read_text(encoding="utf-8"))["source"] if record.is_file() else None
    return {"source": name, "licence": SOURCES[name].licence} if name in SOURCES else {}


def finish(run: Run) -> None:
    """Export the pipeline with the averaged weights and the facts its card needs."""
    config, accelerator, slices = run.config, run.accelerator, run.train_slices
    batch = config.batch_size * config.gradient_accumulation_steps * accelerator.num_processes
    facts = {
        "config": {k: portable_path(v) if isinstance(v, str) else v for k, v in asdict(config).items()},
        "data": {
            "location": portable_path(slices.name),
            "fingerprint": slices.fingerprint,
            "patients": len(slices.patients),
            "slices": len(slices),
            **source_facts(config.data),
        },
        "steps": run.step,
        "images_seen": run.step * batch,
        "minutes": run.seconds / 60,
        "parameters": parameter_count(run.family.averaged),
        "precision": accelerator.mixed_precision,
        **run.family.record(run.averaged_networks(), run.validation),
        **provenance(),
    }
    folder = export_pipeline(
        run.pipeline(), run.folder / "pipeline", files={"training.json": json.dumps(facts, indent=2)}
    )
    write_model_card(folder, evaluation=None)  # `cmrsynth report --pipeline` adds the figures
    accelerator.print(
        f"{run.step} steps in {run.seconds / 60:.1f} min, {run.step * batch / max(run.seconds, 1e-9):.1f} images/s; "
        f"pipeline in {folder}"
    )


def finished(run: Run) -> bool:
    """Tell whether this run has its pipeline already, whose card may hold the figures of an evaluation."""
    pipeline = run.folder / "pipeline"
    if run.progress < 1 or not (pipeline / "README.md").is_file():
        return False
    return json.loads((pipeline / "training.json").read_text(encoding="utf-8"))["steps"] == run.step
