"""The plan of a composed data set: how many masks of which pathology, vendor, phase and slice level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from cmrsynth.data.scalars import checked_scalars
from cmrsynth.errors import InputError
from cmrsynth.schema import CONDITION_COLUMNS, PHASES, SCALARS, SHOWN_BY_MASKS, SLICE_LEVELS, UNKNOWN


@dataclass(frozen=True)
class Cell:
    """Masks that share their conditions.

    Args:
        conditions: attribute or scalar to value; what is not named is left open.
        count: number of masks.
    """

    conditions: Mapping[str, str | float]
    count: int


def read_plan(path: Path) -> tuple[Cell, ...]:
    """Return the cells of a plan.

    A plan is a YAML mapping with `cells`, a list of mappings from attribute or scalar to value or list of values;
    lists make one cell of each combination. Either every entry has a `count`, of each of its cells, or `total` masks
    are shared among the entries by `weight` (1 unless given), and equally among the cells of an entry:

        total: 120
        cells:
          - {pathology: [dilated, hypertrophic], phase: [ED, ES], vendor: B}
          - {pathology: normal, slice_level: mid, ejection_fraction: [55, 65], weight: 2}

    Raises:
        InputError: the file is missing or no such mapping, names an unknown attribute, phase or level, describes a
            cell twice, or makes no mask.
    """
    entries, total = _entries(path)
    cells = [_combinations(path, entry) for entry in entries]
    counted = [entry for entry in entries if "count" in entry]
    if total is None:
        if len(counted) < len(entries):
            raise InputError(path, "a cell without a count", "give each a count, or the plan a total")
        counts = [[_count(path, entry["count"])] * len(made) for entry, made in zip(entries, cells, strict=True)]
    else:
        if counted:
            raise InputError(path, "both a total and counts", "give the cells weights, or leave out the total")
        weights = [[_weight(path, entry) / len(made)] * len(made) for entry, made in zip(entries, cells, strict=True)]
        shares = iter(_shared(_count(path, total), [weight for part in weights for weight in part]))
        counts = [[next(shares) for _ in made] for made in cells]
    plan = [
        Cell(conditions, count)
        for made, numbers in zip(cells, counts, strict=True)
        for conditions, count in zip(made, numbers, strict=True)
    ]
    seen: list[Mapping[str, str | float]] = []
    for cell in plan:
        if cell.conditions in seen:
            raise InputError(path, f"the cell {dict(cell.conditions)} is there twice", "state it once")
        seen.append(cell.conditions)
    if not any(cell.count for cell in plan):
        raise InputError(path, "it makes no mask", "give a larger total or counts")
    return tuple(cell for cell in plan if cell.count)


Known = Mapping[str, Sequence[str] | None]  # attribute to the values a model knows; None for a scalar: any number


def known_values(encoder_config: Any) -> Known:
    """Return what the model with this `ConditionEncoder` configuration is conditioned on."""
    return {**(encoder_config.vocabularies or {}), **dict.fromkeys(encoder_config.scalars or {})}


def check_plan(
    plan: tuple[Cell, ...],
    where: str | Path,
    *,
    mask_vocabularies: Known,
    image_vocabularies: Known,
    allow_unshown: bool = False,
) -> list[str]:
    """Refuse a plan whose labels would be false: a condition is the label of a row only if a model follows it.

    Args:
        plan: of `read_plan`.
        where: the plan's file, for the message.
        mask_vocabularies: what the mask generator is conditioned on, by `known_values`.
        image_vocabularies: the same of the image model.
        allow_unshown: accept labels of anatomy that only the image model follows.

    Returns:
        Those labels: the drawn masks need not show them.

    Raises:
        InputError: neither model is conditioned on a label, one that is does not know a value, or a label says what
            a mask should show and the mask generator does not follow it.
    """
    models = {"mask generator": mask_vocabularies, "image model": image_vocabularies}
    for name, value in sorted({pair for cell in plan for pair in cell.conditions.items()}):
        knowing = {model: words[name] for model, words in models.items() if name in words}
        if not knowing:
            raise InputError(
                where,
                f"neither mask generator nor image model is conditioned on {name}, so it would be a false label",
                f"leave {name} out, or train a model with it",
            )
        for model, words in knowing.items():
            if words is not None and value not in words:
                raise InputError(where, f"the {model} does not know {name} {value!r}", f"use one of {list(words)}")
    planned = {name for cell in plan for name in cell.conditions}
    unshown = [name for name in SHOWN_BY_MASKS if name in planned and name not in mask_vocabularies]
    if unshown and not allow_unshown:
        raise InputError(
            where,
            f"the mask generator is not conditioned on {unshown}, so its masks need not show what their labels say",
            "train it with them, leave them out, or accept it with --allow-unshown: record and card will say so",
        )
    return unshown


def _entries(path: Path) -> tuple[list[dict[str, Any]], Any]:
    if not path.is_file():
        raise InputError(path, "no such file", "write a plan as in `cmrsynth generate --help`")
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(path, f"no YAML: {error}", "mend the file") from error
    entries = read.get("cells") if isinstance(read, dict) else None
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(path, "no list of cells", "write `cells:` and one `- {pathology: ..., count: ...}` per line")
    if strangers := sorted(set(read) - {"cells", "total"}):
        raise InputError(path, f"unknown settings {strangers}", "a plan has cells and perhaps a total")
    return entries, read.get("total")


def _combinations(path: Path, entry: dict[str, Any]) -> list[dict[str, str | float]]:
    given = {name: value for name, value in entry.items() if name not in ("count", "weight")}
    if strangers := sorted(set(map(str, given)) - {*CONDITION_COLUMNS, *SCALARS}):
        known = [*CONDITION_COLUMNS, *SCALARS]
        raise InputError(path, f"unknown attributes {strangers}", f"a cell has {known}, count and weight")
    known = {"phase": PHASES, "slice_level": tuple(level for level in SLICE_LEVELS if level != UNKNOWN)}
    lists = {name: value if isinstance(value, list) else [value] for name, value in given.items()}
    for name, values in lists.items():
        if name in SCALARS:
            lists[name] = [_scalar(path, name, value) for value in values]
            continue
        for value in values:
            if not isinstance(value, str) or value == UNKNOWN:
                raise InputError(
                    path,
                    f"{name} is {value!r}",
                    f"give a text, in quotes if YAML reads it otherwise, or leave {name} out",
                )
            if value not in known.get(name, (value,)):
                raise InputError(path, f"unknown {name} {value!r}", f"use one of {list(known[name])}")
    return [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]


def _scalar(path: Path, name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InputError(path, f"{name} is {value!r}", f"give a number in {SCALARS[name].unit}, or leave {name} out")
    return float(checked_scalars({name: value}, path)[name])


def _count(path: Path, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InputError(path, f"{value!r} is no number of masks", "give an integer of at least 0")
    return value


def _weight(path: Path, entry: dict[str, Any]) -> float:
    weight = entry.get("weight", 1)
    if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 < weight < float("inf"):
        raise InputError(path, f"{weight!r} is no weight", "give a positive number")
    return float(weight)


def _shared(total: int, weights: list[float]) -> list[int]:
    """Share out whole numbers in proportion to weights: the largest remainders get what is left.

    >>> _shared(10, [1.0, 1.0, 1.0])
    [4, 3, 3]
    """
    exact = [total * weight / sum(weights) for weight in weights]
    shares = [int(share) for share in exact]
    order = sorted(range(len(weights)), key=lambda cell: shares[cell] - exact[cell])
    for cell in order[: total - sum(shares)]:
        shares[cell] += 1
    return shares
