"""The plan of a comparison: what is trained, for how long, how it is sampled and how it is scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

import yaml

from cmrsynth.errors import InputError

NEEDS = ("vae", "base", "teacher")  # settings that name another training of the plan and mean its pipeline
RESERVED = ("samples", "scores", "models", "logs", "figures")  # folders beside those of the trainings
MINUTES_APART = 1e-6
Section = TypeVar("Section")


@dataclass(frozen=True)
class Training:
    """One run of a training program.

    Args:
        name: its folder in the output.
        program: X of `training/train_X.py`.
        minutes: its budget.
        settings: of the program, beside data, output and budget; those of `NEEDS` are left out.
        needs: setting to the training it names.
    """

    name: str
    program: str
    minutes: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sampling:
    """What is sampled of every family, from the same masks and with the same seed of each image.

    Args:
        masks: split whose masks condition the sets that fidelity and adherence are measured on.
        training_masks: split whose masks condition the set that utility and copies are measured on.
        steps: of families that sample in steps; euler for flows and ddim for diffusion, so that a step is one
            evaluation of the network. Others are sampled once.
        utility_steps: of the set from training masks; for families of which nothing else is said.
        utility_steps_of: the same by family.
        batch_size: images made at once.
        precision: of the networks while they sample: no, bf16, or auto (bf16 where the hardware computes it).
    """

    masks: str = "test"
    training_masks: str = "train"
    steps: Sequence[int] = (1, 2, 4, 10, 50)
    utility_steps: int = 10
    utility_steps_of: Mapping[str, int] = field(default_factory=dict)
    batch_size: int = 32
    precision: str = "auto"


@dataclass(frozen=True)
class Scoring:
    """How much work the scores are; what is less than `cmrsynth evaluate` does is stated in the report.

    Args:
        segmenter_updates: of the network that measures adherence and of those that measure utility.
        resamples: bootstrap resamples over patients.
        floor_draws: real patient draws behind a floor.
        membership_draws: noise draws at each time of the membership attack.
        membership_attacks: further attacks by name; the headline figure needs none.
    """

    segmenter_updates: int = 400
    resamples: int = 1000
    floor_draws: int = 5
    membership_draws: int = 1
    membership_attacks: Sequence[str] = ()


@dataclass(frozen=True)
class Sweep:
    """One option of the sampling call at several values.

    Args:
        name: of the sweep.
        families: whose models are sampled so.
        option: of the pipeline's call, such as "mask_guidance_scale".
        values: it takes.
        steps: of families that sample in steps.
    """

    name: str
    families: Sequence[str]
    option: str
    values: Sequence[float]
    steps: int = 10


@dataclass(frozen=True)
class Plan:
    """A comparison as its YAML file states it.

    Args:
        data: built data set.
        output: folder of everything the comparison makes.
        trainings: by name, in the order of the file.
        families: the trainings that are compared; those that no other training stands on unless the file says.
        seed: of sampling and scoring; a training's own is in its settings.
        equal_minutes: whether the families must have been trained for the same time in total.
        sampling: what is sampled.
        scoring: how it is scored.
        sweeps: further sets.
    """

    data: str
    output: Path
    trainings: Mapping[str, Training]
    families: tuple[str, ...]
    seed: int = 0
    equal_minutes: bool = True
    sampling: Sampling = Sampling()
    scoring: Scoring = Scoring()
    sweeps: tuple[Sweep, ...] = ()

    def standing_on(self, name: str) -> tuple[str, ...]:
        """Return the trainings that must be finished before `name` can begin, farthest first, each once."""
        found: list[str] = []
        for need in self.trainings[name].needs.values():
            found += [other for other in (*self.standing_on(need), need) if other not in found]
        return tuple(found)

    def total_minutes(self, name: str) -> float:
        """Return the budget of a training and of all it stands on."""
        return sum(self.trainings[each].minutes for each in (name, *self.standing_on(name)))

    @property
    def teachers(self) -> dict[str, str]:
        """Students among the families, and the training each of them was distilled from."""
        needs = {name: self.trainings[name].needs for name in self.families}
        return {name: need["teacher"] for name, need in needs.items() if "teacher" in need}

    @property
    def references(self) -> tuple[str, ...]:
        """Teachers that are no family themselves: their students are held against them."""
        return tuple(dict.fromkeys(t for t in self.teachers.values() if t not in self.families))

    def chosen(self, pattern: str | None) -> tuple[str, ...]:
        """Return the families whose names fit a pattern such as "flow_*", and the references of students among them.

        Raises:
            InputError: none fits.
        """
        names = (*self.families, *self.references)
        fitting = [name for name in names if pattern is None or fnmatchcase(name, pattern)]
        if not fitting:
            raise InputError(f"--only {pattern}", "fits no family", f"the families are {', '.join(names)}")
        beside = {self.teachers[name] for name in fitting if name in self.teachers} & set(self.references)
        return tuple(name for name in names if name in fitting or name in beside)

    def as_json(self) -> dict[str, Any]:
        """Return the plan as JSON-able values, without the machine's own paths."""
        from cmrsynth.provenance import portable_path

        return {**asdict(self), "data": portable_path(self.data), "output": portable_path(str(self.output))}


def read_plan(path: Path) -> Plan:
    """Return the plan of a YAML file; `training/configs/comparisons` holds examples.

    Raises:
        InputError: the file is missing or no mapping; a key is unknown or a value of the wrong kind; a training
            names one that does not exist or, by way of others, itself; a family is unknown; or the families' total
            minutes differ although the file does not say `equal_minutes: false`.
    """
    if not path.is_file():
        raise InputError(path, "no such file", "see training/configs/comparisons for an example")
    raw = _mapping(path, "the plan", yaml.safe_load(path.read_text(encoding="utf-8")))
    known = ["data", "output", "shared", "trainings", "families", "seed", "equal_minutes", "sampling", "scoring"]
    _refuse_strangers(path, "settings", raw, [*known, "sweeps"])
    if missing := [key for key in ("data", "output", "trainings") if not raw.get(key)]:
        raise InputError(path, f"{missing} are missing", "say what is trained, on what data, and where it is kept")
    shared = _mapping(path, "shared", raw.get("shared", {}))
    entries = _mapping(path, "trainings", raw["trainings"])
    trainings = {str(name): _training(path, str(name), entry, shared, entries) for name, entry in entries.items()}
    _refuse_circles(path, trainings)
    stood_on = {need for training in trainings.values() for need in training.needs.values()}
    families = tuple(raw.get("families") or [name for name in trainings if name not in stood_on])
    plan = Plan(
        data=str(raw["data"]),
        output=Path(str(raw["output"])),
        trainings=trainings,
        families=families,
        seed=int(raw.get("seed", 0)),
        equal_minutes=bool(raw.get("equal_minutes", True)),
        sampling=_section(path, "sampling", Sampling, raw.get("sampling", {})),
        scoring=_section(path, "scoring", Scoring, raw.get("scoring", {})),
        sweeps=tuple(
            _sweep(path, str(name), entry) for name, entry in _mapping(path, "sweeps", raw.get("sweeps", {})).items()
        ),
    )
    _check(path, plan)
    return plan


def _training(path: Path, name: str, entry: Any, shared: Mapping[str, Any], entries: Mapping[str, Any]) -> Training:
    given = _mapping(path, f"training {name}", entry)
    where = f"{path}, training {name}"
    if name in RESERVED or not name.replace("_", "").replace("-", "").isalnum():
        raise InputError(where, "cannot be the name of its folder", f"use letters, digits, _ and -, not {RESERVED}")
    if missing := [key for key in ("program", "minutes") if key not in given]:
        raise InputError(where, f"{missing} are missing", "give the program, X of training/train_X.py, and minutes")
    if not isinstance(given["minutes"], int | float) or given["minutes"] <= 0:
        raise InputError(where, f"minutes is {given['minutes']!r}", "give a positive number")
    taken = {"data", "output", "max_train_minutes", "max_train_steps"} & {*given, *shared}
    if taken:
        raise InputError(where, f"{sorted(taken)} are set by the plan", "give data and output once, and minutes")
    needs = {key: str(given[key]) for key in NEEDS if key in given}
    if strangers := sorted(set(needs.values()) - set(entries)):
        raise InputError(where, f"stands on {strangers}, which this plan does not train", "add that training")
    settings = {k: v for k, v in {**shared, **given}.items() if k not in ("program", "minutes", *needs)}
    return Training(name, str(given["program"]), float(given["minutes"]), settings, needs)


def _refuse_circles(path: Path, trainings: Mapping[str, Training]) -> None:
    for name in trainings:
        seen, waiting = [name], list(trainings[name].needs.values())
        while waiting:
            need = waiting.pop()
            if need == name:
                raise InputError(path, f"{' and '.join(seen)} stand on each other", "let one of them begin")
            if need not in seen:
                seen.append(need)
                waiting += trainings[need].needs.values()


def _sweep(path: Path, name: str, entry: Any) -> Sweep:
    given = _mapping(path, f"sweep {name}", entry)
    if missing := sorted({"families", "option", "values"} - set(given)):
        raise InputError(f"{path}, sweep {name}", f"{missing} are missing", "give families, option and values")
    return _section(path, f"sweep {name}", Sweep, {"name": name, **given})


def _check(path: Path, plan: Plan) -> None:
    named = {*plan.families, *plan.sampling.utility_steps_of, *(f for sweep in plan.sweeps for f in sweep.families)}
    if strangers := sorted(named - set(plan.trainings)):
        raise InputError(path, f"{strangers} are no trainings of this plan", f"they are {sorted(plan.trainings)}")
    if outside := sorted(named - {*plan.families, *plan.references}):
        raise InputError(path, f"{outside} are sampled but not compared", "add them to `families`")
    if not plan.families or len(set(plan.families)) < len(plan.families):
        raise InputError(path, f"families are {list(plan.families)}", "name at least one, and each once")
    sampling = plan.sampling
    counts = {*sampling.steps, sampling.utility_steps, *sampling.utility_steps_of.values(), sampling.batch_size}
    counts |= {sweep.steps for sweep in plan.sweeps}
    if not sampling.steps or any(not isinstance(count, int) or count < 1 for count in counts):
        raise InputError(path, f"steps and batch size are {sorted(map(str, counts))}", "give whole numbers from 1")
    totals = {name: plan.total_minutes(name) for name in plan.families}
    if plan.equal_minutes and max(totals.values()) - min(totals.values()) > MINUTES_APART:
        listed = ", ".join(f"{name} {minutes:g}" for name, minutes in totals.items())
        raise InputError(
            path,
            f"the families are not trained equally long: with all they stand on, minutes are {listed}",
            "make them equal, or say `equal_minutes: false`, and the report will say so too",
        )


def _section(path: Path, name: str, kind: type[Section], given: Any) -> Section:
    values = _mapping(path, name, given)
    expected = {f.name: str(f.type) for f in fields(kind)}
    _refuse_strangers(path, f"settings of {name}", values, list(expected))
    kinds = {"int": int, "str": str, "Sequence": list, "Mapping": dict}
    for key, value in values.items():
        if not isinstance(value, kinds[expected[key].partition("[")[0]]) or isinstance(value, bool):
            raise InputError(f"{path}, {name}", f"{key} is {value!r}", f"give a {expected[key]}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def _mapping(path: Path, what: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(path, f"{what} is no mapping", "write one `name: value` per line")
    return value


def _refuse_strangers(path: Path, what: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    if strangers := sorted(set(given) - set(known)):
        raise InputError(path, f"unknown {what}: {strangers}", f"choose from {sorted(known)}")
