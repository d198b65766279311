"""What a comparison found, read from what its stages left; whatever is missing says why."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cmrsynth.comparison.plan import Plan
from cmrsynth.comparison.programs import training_record
from cmrsynth.comparison.rows import Row, rows_of
from cmrsynth.comparison.sampling import current_record, slices_of
from cmrsynth.comparison.scoring import ScoreJob, current_scores
from cmrsynth.comparison.statements import Statement, statements_of
from cmrsynth.comparison.trainings import family_error
from cmrsynth.evaluation.figure import Figure
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.provenance import provenance
from cmrsynth.training.few_step_config import FewStepConfig

FILE_NAME = "comparison.json"


@dataclass(frozen=True)
class RowResult:
    """A row and what was measured on it.

    Args:
        row: what was sampled.
        why: why there are no images or scores; None where there are.
        speed: of `measure_speed`; None without images.
        figures: by name.
    """

    row: Row
    why: str | None
    speed: Mapping[str, Any] | None
    figures: Mapping[str, Figure] = field(default_factory=dict)


@dataclass(frozen=True)
class FamilyResult:
    """A family, how it was trained, and its rows.

    Args:
        name: of the training.
        program: that trained it.
        compared: False for a teacher that is shown beside its student only.
        minutes: by the plan, of itself and in total with what it stands on.
        why: why it has no pipeline; None where it has one.
        training: facts of `training.json`: steps, images per second, minutes, trained parameters, clock, threads.
        rows: by steps, from training masks, of sweeps.
    """

    name: str
    program: str
    compared: bool
    minutes: tuple[float, float]
    why: str | None
    training: Mapping[str, Any]
    rows: tuple[RowResult, ...]

    @property
    def by_steps(self) -> list[RowResult]:
        """The rows from held-out masks without an option of a sweep."""
        return [each for each in self.rows if each.row.sweep is None and not each.row.teaches]

    @property
    def taught(self) -> RowResult | None:
        """The row from training masks."""
        return next((each for each in self.rows if each.row.teaches), None)

    def swept(self, name: str) -> list[RowResult]:
        """Return the rows of a sweep."""
        return [each for each in self.rows if each.row.sweep and each.row.sweep[0] == name]


@dataclass(frozen=True)
class Comparison:
    """Everything a comparison found.

    Args:
        plan: the plan.
        families: families, then references, in the order of the plan.
        statements: what follows from the figures.
        notes: what a reader must know of the protocol.
        data: name, fingerprint, slices and patients of both splits.
        provenance: command, seed, versions, hardware.
    """

    plan: Plan
    families: tuple[FamilyResult, ...]
    statements: tuple[Statement, ...]
    notes: tuple[str, ...]
    data: Mapping[str, Mapping[str, Any]]
    provenance: Mapping[str, Any]

    def save(self) -> Path:
        """Write `comparison.json` into the output folder, whole or not at all, and return its path."""
        path = self.plan.output / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".json.partial")
        record = {**asdict(self), "plan": self.plan.as_json()}
        partial.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        partial.replace(path)
        return path


def collect(plan: Plan, failed: Mapping[str, str]) -> Comparison:
    """Return what is there.

    Args:
        plan: the plan.
        failed: why a stage of this run failed: by training for trainings, by the job's name for the others.
    """
    families = tuple(_family(plan, name, failed) for name in (*plan.families, *plan.references))
    figures = {f.name: {r.row.steps: r.figures for r in f.by_steps if r.row.steps and not r.why} for f in families}
    return Comparison(
        plan=plan,
        families=families,
        statements=tuple(statements_of(figures, plan.teachers, _flow_maps(plan))),
        notes=tuple(_notes(plan, families)),
        data={split: _facts(plan, split) for split in (plan.sampling.training_masks, plan.sampling.masks)},
        provenance={**provenance(), "seed": plan.seed},
    )


def _flow_maps(plan: Plan) -> dict[str, list[int]]:
    """Return the students that learned whole steps of a few lengths, and in how many steps those make an image."""
    default = FewStepConfig(plan.data, str(plan.output), teacher="of the plan", max_train_steps=1)
    settings = {name: plan.trainings[name].settings for name in plan.teachers}
    return {
        name: list(given.get("steps", default.steps))
        for name, given in settings.items()
        if given.get("method", default.method) == "shortcut"
    }


def _family(plan: Plan, name: str, failed: Mapping[str, str]) -> FamilyResult:
    why = family_error(plan, name, failed)
    rows = () if why else tuple(_row(plan, row, failed) for row in rows_of(plan, name))
    return FamilyResult(
        name=name,
        program=plan.trainings[name].program,
        compared=name in plan.families,
        minutes=(plan.trainings[name].minutes, plan.total_minutes(name)),
        why=why,
        training={} if why else _training_facts(training_record(plan, name)),
        rows=rows,
    )


def _row(plan: Plan, row: Row, failed: Mapping[str, str]) -> RowResult:
    record = current_record(plan, row)
    if record is None or record["refused"]:
        why = record["refused"] if record else failed.get(f"sample {row.family}, {row.name}", "not sampled yet")
        return RowResult(row, why, None)
    figures = current_scores(ScoreJob(plan, row, len(slices_of(plan, row.masks))))
    why = None if figures else failed.get(f"score {row.family}, {row.name}", "not scored yet")
    return RowResult(row, why, record["speed"], figures or {})


def _training_facts(record: Mapping[str, Any]) -> dict[str, Any]:
    seconds = max(60 * record["minutes"], 1e-9)
    return {
        "steps": record["steps"],
        "minutes": record["minutes"],
        "images_per_second": record["images_seen"] / seconds,
        "trained_parameters": record["parameters"],
        "clock": record["config"].get("clock", "wall"),
        "threads": record["config"].get("cpu_threads", 0),
        "precision": record.get("precision"),
        "hardware": record.get("hardware"),
        "git": record.get("git"),
    }


def _facts(plan: Plan, split: str) -> dict[str, Any]:
    part = slices_of(plan, split)
    return {"fingerprint": part.fingerprint, "slices": len(part), "patients": len(part.patients)}


def _told(amount: int | Sequence[str]) -> str:
    """Return a number, or the names of attacks; the headline figure needs none."""
    return str(amount) if isinstance(amount, int) else ", ".join(amount) or "the first alone"


def _notes(plan: Plan, families: Sequence[FamilyResult]) -> list[str]:
    """Return what is shortened or unequal, in sentences."""
    ours, usual = plan.scoring, EvaluationSettings()
    fewer = [
        f"{name.replace('_', ' ')} {_told(getattr(ours, name))} (`cmrsynth evaluate`: {_told(getattr(usual, name))})"
        for name in ("segmenter_updates", "resamples", "floor_draws", "membership_draws", "membership_attacks")
        if getattr(ours, name) != getattr(usual, name)
    ]
    clocks = {f.training["clock"] for f in families if f.training}
    meant = {"cpu": "of processor time", "wall": "by the clock on the wall"}
    minutes = " and ".join(meant[clock] for clock in sorted(clocks)) or "not run yet"
    totals = sorted({f.minutes[1] for f in families if f.compared})
    equal = f"{totals[0]:g} minutes" if len(totals) == 1 else f"between {totals[0]:g} and {totals[-1]:g} minutes"
    return [
        f"Every family was trained for {equal} {minutes}, what it stands on included; one training each, so that how "
        "much another seed would change is not known.",
        "All families were given the same masks, and each mask the same seed of its noise. Intervals resample "
        "patients; that of a model without masks resamples the groups of images made in the patients' places.",
        f"Shortened: {'; '.join(fewer)}." if fewer else "Figures are made as `cmrsynth evaluate` makes them.",
        "Utility: one network per family, trained on images made from the training patients' masks and tested on "
        "held-out patients, beside one trained on the real images with as many updates. Sampling speed: one thread "
        "on the CPU, per second of processor time.",
    ]
