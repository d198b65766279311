"""What is sampled: one row per family and options of its sampling call."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmrsynth import pipelines
from cmrsynth.comparison.plan import Plan, Sweep
from cmrsynth.comparison.programs import pipeline_of

SOLVERS = {"RectifiedFlowPipeline": "euler", "MaskDiffusionPipeline": "ddim"}  # a step is one evaluation
PLAIN = 1  # a guidance scale that follows the conditions as learned
STEPS, ONCE, TRAINING = "steps", "once", "training-masks"


@dataclass(frozen=True)
class Row:
    """One set of images.

    Args:
        family: whose model makes it.
        name: its folder within that of the family.
        options: of the pipeline's call.
        masks: split whose masks condition it.
        sweep: the sweep it belongs to, with the option's value; None for the steps and the set of training masks.
    """

    family: str
    name: str
    options: Mapping[str, Any]
    masks: str
    sweep: tuple[str, float] | None = None

    @property
    def steps(self) -> int | None:
        """The sampling steps; None of a family that makes an image at once."""
        return self.options.get("num_inference_steps")

    @property
    def teaches(self) -> bool:
        """Whether it is the set from training masks, of which utility and copies are measured."""
        return self.name == TRAINING

    def folder(self, plan: Plan) -> Path:
        """Return the folder of its images."""
        return plan.output / "samples" / self.family / self.name


def rows_of(plan: Plan, family: str) -> list[Row]:
    """Return the rows of a family whose pipeline is there: by steps, from training masks, then the sweeps.

    A reference, which is no family itself, has the row with the most steps only.
    """
    solver = stepwise_options(pipeline_of(plan, family))
    masks, training = plan.sampling.masks, plan.sampling.training_masks
    if family not in plan.families:
        return _by_steps(family, (max(plan.sampling.steps),), solver, masks)
    steps = plan.sampling.utility_steps_of.get(family, plan.sampling.utility_steps)
    options = {} if solver is None else {"num_inference_steps": steps, **solver}
    rows = [*_by_steps(family, plan.sampling.steps, solver, masks), Row(family, TRAINING, options, training)]
    for sweep in plan.sweeps:
        rows += _swept(family, sweep, solver, masks) if family in sweep.families else []
    return rows


def shown_row(plan: Plan, rows: Sequence[Row]) -> Row:
    """Return, of the rows of one family, that with the steps its utility is measured at, or the nearest."""
    plain = [row for row in rows if row.sweep is None and not row.teaches]
    wanted = next((row.steps for row in rows if row.teaches), plan.sampling.utility_steps)
    return min(plain, key=lambda row: abs((row.steps or 0) - (wanted or 0)))


def stepwise_options(pipeline: Path) -> dict[str, str] | None:
    """Return the solver of a pipeline that samples in steps, none where it has no choice; None if it does not."""
    name = json.loads((pipeline / "model_index.json").read_text(encoding="utf-8"))["_class_name"]
    name = name[-1] if isinstance(name, list) else name
    parameters = inspect.signature(getattr(pipelines, name).check_inputs).parameters
    if "num_inference_steps" not in parameters:
        return None
    return {"solver": SOLVERS[name]} if name in SOLVERS else {}


def _by_steps(family: str, steps: Sequence[int], solver: Mapping[str, str] | None, masks: str) -> list[Row]:
    if solver is None:
        return [Row(family, ONCE, {}, masks)]
    return [Row(family, f"{STEPS}-{n}", {"num_inference_steps": n, **solver}, masks) for n in steps]


def _swept(family: str, sweep: Sweep, solver: Mapping[str, str] | None, masks: str) -> list[Row]:
    base = {} if solver is None else {"num_inference_steps": sweep.steps, **solver}
    rows = []
    for value in sweep.values:
        plain = value == PLAIN and sweep.option.endswith("guidance_scale")
        options = base if plain else {**base, sweep.option: value}
        rows.append(Row(family, f"{sweep.name}-{value:g}", options, masks, (sweep.name, float(value))))
    return rows
