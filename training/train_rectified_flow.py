"""Train a mask-conditioned rectified flow on a built data set.

    accelerate launch training/train_rectified_flow.py --config training/configs/sunnybrook_64.yaml
    accelerate launch training/train_rectified_flow.py --data data/acdc --output runs/acdc --max-train-minutes 30

Every setting of the YAML file can be given on the command line, which wins; `--help` lists them. To resume after
an interruption, run the same command again. The finished pipeline is `<output>/pipeline`.

Several GPUs: `accelerate launch --multi_gpu --num_processes 4 ...`. Two processes on a CPU:
`ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 --num_machines 1 ...`.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, broadcast, set_seed
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import EMAModel
from rich.progress import Progress, TaskID, TextColumn, TimeElapsedColumn

from cmrsynth.conditions import vocabularies
from cmrsynth.data.loading import SliceSet, load_slices
from cmrsynth.data.sources import SOURCES
from cmrsynth.errors import InputError
from cmrsynth.hub.cards import write_model_card
from cmrsynth.hub.export import export_pipeline
from cmrsynth.models import MaskUNet
from cmrsynth.pipelines import RectifiedFlowPipeline
from cmrsynth.processes import check_processes, use_cores
from cmrsynth.provenance import portable_path, provenance
from cmrsynth.training.batches import TrainingSlices, Withholding, draw_batch, positions_of_step
from cmrsynth.training.checkpoint import latest_checkpoint, load_checkpoint, read_state, save_checkpoint
from cmrsynth.training.config import RectifiedFlowConfig, parse_config
from cmrsynth.training.precision import resolve_precision
from cmrsynth.training.rectified_flow import flow_loss, held_out_loss
from cmrsynth.training.sample_grid import write_sample_grid
from cmrsynth.training.schedule import Budget, learning_rate_factor


class Run:
    """One training run: its data, network, averaged weights, optimiser, and how far it has come."""

    def __init__(self, config: RectifiedFlowConfig) -> None:
        self.config, self.folder = config, Path(config.output)
        self.accelerator = make_accelerator(config)
        self.train_slices = load_slices(config.data, config.train_split)
        self.validation_slices = load_slices(config.data, config.validation_split) if config.validation_split else None
        self.network = make_network(config, self.train_slices)
        self.train = self._tensors(self.train_slices)
        self.validation = self._tensors(self.validation_slices) if self.validation_slices else None
        self.ema = EMAModel(self.network.parameters(), decay=config.ema_decay, use_ema_warmup=True, power=0.75)
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
        )
        self.network, self.optimizer = self.accelerator.prepare(self.network, optimizer)
        self.ema.to(self.accelerator.device)
        self.budget = Budget(config.max_train_steps, config.max_train_minutes)
        self.step, self.seconds = 0, 0.0

    def _tensors(self, slices: SliceSet) -> TrainingSlices:
        known = self.network.config.vocabularies
        values = {
            name: [value if value in known[name] else None for value in getattr(slices, name).tolist()]
            for name in known
        }
        return TrainingSlices.from_slices(slices, self.network.encode_attributes(len(slices), **values))

    def resume(self) -> None:
        """Continue from the newest checkpoint of the run folder, if there is one."""
        checkpoint = latest_checkpoint(self.folder)
        if checkpoint is None:
            return
        saved = read_state(checkpoint)
        if changed := self.config.differences(saved["config"]):
            raise InputError(
                checkpoint,
                f"this run began with other settings (saved, now): {changed}",
                "give the settings it began with, or another --output",
            )
        if saved["data_fingerprint"] != self.train_slices.fingerprint:
            raise InputError(checkpoint, "the training data have changed since", "start again with another --output")
        parts = {"network": self.network, "optimizer": self.optimizer, "ema": self.ema}
        state = load_checkpoint(checkpoint, accelerator=self.accelerator, **parts)
        self.step, self.seconds = state["step"], state["seconds"]
        self.accelerator.print(f"continuing {self.folder} at step {self.step}")

    def save(self) -> None:
        """Write a checkpoint."""
        state = {
            "config": asdict(self.config),
            "seconds": self.seconds,
            "data_fingerprint": self.train_slices.fingerprint,
            "precision": self.accelerator.mixed_precision,
        }
        parts = {"network": self.network, "optimizer": self.optimizer, "ema": self.ema}
        kept = self.config.checkpoints_kept
        save_checkpoint(self.folder, self.step, accelerator=self.accelerator, state=state, kept=kept, **parts)

    def train_step(self) -> float:
        """Do one optimiser step and return this process's mean loss."""
        config, accelerator, losses = self.config, self.accelerator, []
        factor = learning_rate_factor(
            self.step,
            self.budget.progress(self.step, self.seconds),
            warmup_steps=config.warmup_steps,
            decay_fraction=config.decay_fraction,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * factor
        withholding = Withholding(config.condition_dropout, config.mask_dropout, config.attribute_dropout)
        for micro in range(config.gradient_accumulation_steps):
            positions = positions_of_step(
                self.step * config.gradient_accumulation_steps + micro,
                batch_size=config.batch_size,
                rank=accelerator.process_index,
                world_size=accelerator.num_processes,
            )
            batch = draw_batch(
                self.train, positions, seed=config.seed, withholding=withholding, shift=config.augment_shift
            ).to(accelerator.device)
            with accelerator.accumulate(self.network):
                loss = flow_loss(self.network, batch, time_mean=config.time_mean, time_std=config.time_std).mean()
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(self.network.parameters(), config.max_grad_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
            losses.append(loss.detach())
        self.ema.step(self.network.parameters())
        self.step += 1
        return torch.stack(losses).mean()

    def averaged_network(self) -> MaskUNet:
        """Return a copy of the network with the averaged weights."""
        network = MaskUNet.from_config(self.accelerator.unwrap_model(self.network).config)
        self.ema.copy_to(network.parameters())
        return network.eval().to(self.accelerator.device)

    def pipeline(self) -> RectifiedFlowPipeline:
        """Return the sampling pipeline with the averaged weights."""
        spacing = float(self.train_slices.pixel_spacing.mean())
        return RectifiedFlowPipeline(
            self.averaged_network(), FlowMatchEulerDiscreteScheduler(), self.config.condition_dropout, spacing
        )


def make_accelerator(config: RectifiedFlowConfig) -> Accelerator:
    """Return the accelerator, refusing the launch that silently starts independent jobs in one folder."""
    accelerator = Accelerator(
        mixed_precision=resolve_precision(config.mixed_precision),
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        log_with="tensorboard",
        project_config=ProjectConfiguration(project_dir=config.output, logging_dir=config.output),
    )
    check_processes(accelerator.num_processes)
    if accelerator.device.type == "cpu":
        use_cores(accelerator.num_processes, config.cpu_threads)
    return accelerator


def make_network(config: RectifiedFlowConfig, slices: SliceSet) -> MaskUNet:
    """Return the untrained network for the data's size and vocabularies; equal seeds give equal weights."""
    height, width = slices.images.shape[1:]
    factor = 2 ** (len(config.block_out_channels) - 1)
    if height != width or height % factor:
        raise InputError(
            slices.name, f"images are {height}x{width}", f"build it with a square --size that is a multiple of {factor}"
        )
    set_seed(config.seed)
    return MaskUNet(
        sample_size=height,
        block_out_channels=tuple(config.block_out_channels),
        layers_per_block=config.layers_per_block,
        attention_levels=tuple(config.attention_levels),
        vocabularies=vocabularies(slices, config.attributes),
    )


def shared_seconds(accelerator: Accelerator, seconds: float) -> float:
    """Return process 0's clock on every process, so that all stop at the same step."""
    if accelerator.num_processes == 1:
        return seconds
    return broadcast(torch.tensor([seconds], dtype=torch.float64, device=accelerator.device)).item()


def show(progress: Progress, task: TaskID, run: Run, loss: float) -> None:
    """Move the progress bar; where there is no terminal (a log file, a cluster), print a line now and then."""
    used = run.budget.progress(run.step, run.seconds)
    progress.update(task, completed=used, status=f"step {run.step}, loss {loss:.4f}")
    if not progress.console.is_terminal and run.step % (10 * run.config.log_steps) == 0:
        minutes = run.seconds / 60
        run.accelerator.print(f"step {run.step}, {minutes:.1f} min ({used:.0%}), loss {loss:.4f}", flush=True)


def report_progress(run: Run, loss: torch.Tensor) -> None:
    """Log the loss, and every so often the held-out loss and a grid of samples."""
    config, accelerator = run.config, run.accelerator
    if run.step % config.log_steps == 0:
        values = {"loss/train": accelerator.reduce(loss, "mean").item(), "lr": run.optimizer.param_groups[0]["lr"]}
        accelerator.log(values, step=run.step)
    if not accelerator.is_main_process:
        return
    if run.validation is not None and run.step % config.validation_steps == 0:
        held_out = held_out_loss(run.averaged_network(), run.validation)
        accelerator.log({"loss/held_out": held_out}, step=run.step)
    if config.sample_steps and run.step % config.sample_steps == 0:
        shown = run.validation_slices or run.train_slices
        rows = torch.linspace(0, len(shown) - 1, min(8, len(shown))).long().numpy()
        path = run.folder / "samples" / f"step-{run.step:08d}.png"
        steps = config.sample_inference_steps
        picture = write_sample_grid(run.pipeline(), shown.select(rows), path, steps=steps, seed=config.seed)
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
        "config": {**asdict(config), "data": portable_path(config.data), "output": portable_path(config.output)},
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
        "parameters": sum(p.numel() for p in run.network.parameters()),
        "precision": accelerator.mixed_precision,
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
    if run.budget.progress(run.step, run.seconds) < 1 or not (pipeline / "README.md").is_file():
        return False
    return json.loads((pipeline / "training.json").read_text(encoding="utf-8"))["steps"] == run.step


def main(config: RectifiedFlowConfig) -> None:
    """Train until the budget is used up, then export the pipeline."""
    run = Run(config)
    run.resume()
    accelerator = run.accelerator
    if finished(run):
        accelerator.print(f"finished before: {run.folder / 'pipeline'}")
        return
    accelerator.init_trackers("tensorboard")
    columns = (*Progress.get_default_columns()[:3], TimeElapsedColumn(), TextColumn("{task.fields[status]}"))
    with Progress(*columns, disable=not accelerator.is_main_process) as progress:
        task = progress.add_task("training", total=1.0, status="")
        while run.budget.progress(run.step, run.seconds) < 1:
            began = time.perf_counter()
            loss = run.train_step()
            run.seconds = shared_seconds(accelerator, run.seconds + time.perf_counter() - began)
            if run.step % config.log_steps == 0:
                show(progress, task, run, loss.item())
            report_progress(run, loss)
            if run.step % config.checkpoint_steps == 0:
                run.save()
    if latest_checkpoint(run.folder) != run.folder / f"checkpoint-{run.step:08d}":
        run.save()
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        finish(run)
    accelerator.end_training()


if __name__ == "__main__":
    try:
        main(parse_config(RectifiedFlowConfig))
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
