"""One training run of any family: its data, optimisers and averaged weights, and how far it has come."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from diffusers import DiffusionPipeline
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from cmrsynth.data.loading import load_slices
from cmrsynth.errors import InputError
from cmrsynth.processes import check_processes, leave_processes, use_cores
from cmrsynth.training.batches import Batch, Withholding, draw_batch, positions_of_step
from cmrsynth.training.checkpoint import latest_checkpoint, load_checkpoint, read_state, save_checkpoint
from cmrsynth.training.config import TrainingConfig
from cmrsynth.training.family import FamilyClass, seeded_weights
from cmrsynth.training.precision import resolve_precision
from cmrsynth.training.schedule import Budget, learning_rate_factor


class Run:
    """A family in training.

    Args:
        config: the configuration.
        family_class: what is trained.
    """

    def __init__(self, config: TrainingConfig, family_class: FamilyClass) -> None:
        self.config, self.folder = config, Path(config.output)
        self.accelerator = make_accelerator(config)
        self.train_slices = load_slices(config.data, config.train_split)
        self.validation_slices = load_slices(config.data, config.validation_split) if config.validation_split else None
        with seeded_weights(config.seed):
            self.family = family_class(config, self.train_slices)
        self.train = self.family.tensors(self.train_slices)
        self.validation = self.family.tensors(self.validation_slices) if self.validation_slices else None
        self.family.averaged.to(self.accelerator.device)
        self.ema = EMAModel(self.family.averaged.parameters(), decay=config.ema_decay, use_ema_warmup=True, power=0.75)
        self.objectives: dict[str, nn.Module] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        for phase in self.family.phases:
            parameters = [p for p in phase.objective.parameters() if p.requires_grad]
            optimizer = torch.optim.AdamW(
                parameters, lr=config.learning_rate, weight_decay=config.weight_decay, betas=phase.betas
            )
            prepared = self.accelerator.prepare(phase.objective, optimizer)
            self.objectives[phase.name], self.optimizers[phase.name] = prepared
        self.ema.to(self.accelerator.device)
        self.budget = Budget(config.max_train_steps, config.max_train_minutes)
        self.step, self.seconds = 0, 0.0

    @property
    def progress(self) -> float:
        """The share of the budget that is used up, in [0, 1]."""
        return self.budget.progress(self.step, self.seconds)

    @property
    def text_model_fingerprint(self) -> str | None:
        """Which text model embeds the prompts; None for a model without prompts."""
        return self.family.text_model.fingerprint if self.family.text_model else None

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
        if saved.get("text_model") != self.text_model_fingerprint:
            raise InputError(checkpoint, "the text model has changed since", "start again with another --output")
        if self.config.text_encoder and not saved.get("text_statistics"):
            raise InputError(checkpoint, "began before prompts were standardised", "start again with another --output")
        state = load_checkpoint(
            checkpoint,
            accelerator=self.accelerator,
            networks=self.objectives,
            optimizers=self.optimizers,
            ema=self.ema,
        )
        self.step, self.seconds = state["step"], state["seconds"]
        self.family.load_state(state["family"])
        self.accelerator.print(f"continuing {self.folder} at step {self.step}")

    def save(self) -> None:
        """Write a checkpoint."""
        state = {
            "config": asdict(self.config),
            "seconds": self.seconds,
            "data_fingerprint": self.train_slices.fingerprint,
            "text_model": self.text_model_fingerprint,
            "text_statistics": self.family.encoder.config.text_statistics,
            "precision": self.accelerator.mixed_precision,
            "family": self.family.state(),
        }
        save_checkpoint(
            self.folder,
            self.step,
            accelerator=self.accelerator,
            networks=self.objectives,
            optimizers=self.optimizers,
            ema=self.ema,
            state=state,
            kept=self.config.checkpoints_kept,
        )

    def train_step(self) -> dict[str, Tensor]:
        """Do one step of every phase and return this process's mean loss of each."""
        batches = [self._batch(micro) for micro in range(self.config.gradient_accumulation_steps)]
        losses = {phase.name: self._phase_step(phase.name, batches) for phase in self.family.phases}
        self.ema.step(self.family.averaged.parameters())
        self.family.after_step()
        self.step += 1
        return losses

    def _batch(self, micro: int) -> Batch:
        config, accelerator = self.config, self.accelerator
        positions = positions_of_step(
            self.step * config.gradient_accumulation_steps + micro,
            batch_size=config.batch_size,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
        )
        withheld = Withholding.of(config)
        return draw_batch(self.train, positions, seed=config.seed, withholding=withheld, shift=config.augment_shift).to(
            accelerator.device
        )

    def _phase_step(self, name: str, batches: list[Batch]) -> Tensor:
        accelerator, objective, optimizer = self.accelerator, self.objectives[name], self.optimizers[name]
        phase = next(p for p in self.family.phases if p.name == name)
        factor = learning_rate_factor(
            self.step, self.progress, warmup_steps=self.config.warmup_steps, decay_fraction=self.config.decay_fraction
        )
        for group in optimizer.param_groups:
            group["lr"] = self.config.learning_rate * phase.learning_rate_factor * factor
        losses = []
        for number, batch in enumerate(batches, start=1):
            # only the last micro-batch makes the processes exchange their gradients
            with nullcontext() if number == len(batches) else accelerator.no_sync(objective):
                loss = objective(batch).mean()
                accelerator.backward(loss / len(batches))
            losses.append(loss.detach())
        accelerator.clip_grad_norm_(objective.parameters(), self.config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        return torch.stack(losses).mean()

    def averaged_networks(self) -> nn.Module:
        """Return a copy of the family's exported networks with the averaged weights."""
        networks = copy.deepcopy(self.family.averaged)
        self.ema.copy_to(networks.parameters())
        return networks.eval()

    def pipeline(self) -> DiffusionPipeline:
        """Return the sampling pipeline with the averaged weights."""
        pipeline = self.family.pipeline(self.averaged_networks())
        if "condition_encoder" in pipeline.components:  # all but the autoencoder's
            pipeline.condition_encoder.register_to_config(class_dropout=self.config.class_dropout)
        return pipeline

    def end(self) -> None:
        """Close the logs and leave the other processes; the run cannot go on after this."""
        for tracker in self.accelerator.trackers:
            tracker.finish()
        self.objectives.clear()
        self.optimizers.clear()
        self.accelerator.free_memory()
        leave_processes()


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """Return the accelerator, refusing the launch that silently starts independent jobs in one folder."""
    accelerator = Accelerator(
        mixed_precision=resolve_precision(config.mixed_precision),
        log_with="tensorboard",
        project_config=ProjectConfiguration(project_dir=config.output, logging_dir=config.output),
    )
    check_processes(accelerator.num_processes)
    if accelerator.device.type == "cpu":
        use_cores(accelerator.num_processes, config.cpu_threads)
    return accelerator
