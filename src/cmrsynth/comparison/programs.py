"""The training programs that a plan names: their configurations, and the runs that were finished with them."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from cmrsynth.comparison.plan import Plan, Training
from cmrsynth.errors import InputError
from cmrsynth.provenance import portable_path
from cmrsynth.training.config import TrainingConfig

PACKAGE, PREFIX = "cmrsynth.programs", "train_"
WATCHING = ("validation_split", "validation_steps", "sample_steps", "sample_inference_steps")  # decide no weight


def program_names() -> list[str]:
    """Return X of every installed program `train_X`."""
    found = iter_modules(import_module(PACKAGE).__path__)
    return sorted(module.name.removeprefix(PREFIX) for module in found if module.name.startswith(PREFIX))


def module_of(program: str) -> str:
    """Return the module that `python -m` runs.

    >>> module_of("gan")
    'cmrsynth.programs.train_gan'
    """
    return f"{PACKAGE}.{PREFIX}{program}"


def config_class_of(program: str) -> type[TrainingConfig]:
    """Return the configuration of a program: the one it imports.

    Raises:
        InputError: there is no such program.
    """
    if program not in (known := program_names()):
        raise InputError(f"program {program}", "is not there", f"choose from {known}")
    names = vars(import_module(module_of(program))).values()
    (found,) = [x for x in names if isinstance(x, type) and issubclass(x, TrainingConfig)]
    return found


def pipeline_of(plan: Plan, name: str) -> Path:
    """Return the folder of a training's finished pipeline."""
    return plan.output / name / "pipeline"


def settings_of(plan: Plan, training: Training) -> dict[str, Any]:
    """Return everything the program is told, as its configuration file holds it."""
    return {
        "data": plan.data,
        "output": str(plan.output / training.name),
        "max_train_minutes": training.minutes,
        **training.settings,
        **{key: str(pipeline_of(plan, need)) for key, need in training.needs.items()},
    }


def check_settings(plan: Plan) -> dict[str, TrainingConfig]:
    """Return the configuration of every training; a setting that its program would refuse is refused here.

    Raises:
        InputError: a program is not there, has no such setting, or refuses a value.
    """
    configs = {}
    for name, training in plan.trainings.items():
        config_class = config_class_of(training.program)
        settings = settings_of(plan, training)
        known = {f.name for f in fields(config_class)}
        if strangers := sorted(set(settings) - known):
            raise InputError(
                f"training {name}",
                f"train_{training.program} has no settings {strangers}",
                f"choose from {sorted(known)}",
            )
        try:
            configs[name] = config_class(**settings)
        except InputError as error:
            raise InputError(f"training {name}", error.what, error.mend) from None
    return configs


def training_record(plan: Plan, name: str) -> dict[str, Any] | None:
    """Return `training.json` of a finished training, or None where it is not finished.

    The pipeline's card is written last; without it the export may be half of one.
    """
    folder = pipeline_of(plan, name)
    if not (folder / "README.md").is_file() or not (folder / "training.json").is_file():
        return None
    return json.loads((folder / "training.json").read_text(encoding="utf-8"))


def check_finished(plan: Plan, name: str, config: TrainingConfig, fingerprint: str) -> bool:
    """Return whether a training is finished; what it was trained with must be what the plan says.

    Settings that the run did not know, because it was made by code without them, are compared only where the plan
    gives them.

    Args:
        plan: the plan.
        name: of the training.
        config: its configuration by the plan.
        fingerprint: of the training split.

    Raises:
        InputError: the folder holds a finished run of other settings or of other data.
    """
    record = training_record(plan, name)
    if record is None:
        return False
    saved, given = record["config"], {*plan.trainings[name].settings, *plan.trainings[name].needs}
    now = {key: value for key, value in asdict(config).items() if key not in WATCHING}
    alike = {
        key: value
        for key, value in now.items()
        if (key not in saved and key not in given)
        or (isinstance(value, str) and saved.get(key) == portable_path(value))  # the record names no foreign folder
    }
    changed = {key: pair for key, pair in config.differences({**saved, **alike}).items() if key in now}
    if saved["max_train_minutes"] != now["max_train_minutes"]:  # free to a run that goes on, not to one that is done
        changed["max_train_minutes"] = saved["max_train_minutes"], now["max_train_minutes"]
    where, mend = plan.output / name, "remove that folder, or give the plan another output"
    if changed:
        raise InputError(where, f"holds a run of other settings (saved, now): {changed}", mend)
    if record["data"]["fingerprint"] != fingerprint:
        raise InputError(where, "was trained on other data", mend)
    return True
