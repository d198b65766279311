"""The tables of the utility protocol: every score by structure, pathology, vendor, phase and slice level."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.arms import SCORES, Arm, bounds_of, crossed, interval_of, per_patient, score_arm
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.labels import LABEL_NAMES
from cmrsynth.metrics.hierarchical import Crossed
from cmrsynth.metrics.holm import holm

BY_PATIENT, BY_SLICE = ("pathology", "vendor"), ("phase", "slice_level")
Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """A table as it is written to `tables/NAME.csv` and to `tables.md`.

    Args:
        name: file name without suffix.
        title: its heading.
        columns: the column names.
        rows: one cell per column; None where a value is not defined.
        note: what a reader must know.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def as_csv(self) -> str:
        """Return the table as CSV with a header; an undefined value is an empty cell."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([["" if cell is None else cell for cell in row] for row in self.rows])
        return text.getvalue()

    def as_markdown(self) -> str:
        """Return heading, table and note in Markdown."""
        lines = ["| " + " | ".join(self.columns) + " |", "|" + " --- |" * len(self.columns)]
        lines += ["| " + " | ".join(_shown(cell) for cell in row) + " |" for row in self.rows]
        return f"## {self.title}\n\n" + "\n".join(lines) + f"\n\n{self.note}".rstrip() + "\n"


def write_tables(tables: Sequence[Table], folder: Path) -> None:
    """Write every table to `folder/tables/NAME.csv` and all of them to `folder/tables.md`."""
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    for table in tables:
        (folder / "tables" / f"{table.name}.csv").write_text(table.as_csv(), encoding="utf-8")
    text = "# Utility tables\n\n" + "\n".join(table.as_markdown() for table in tables)
    (folder / "tables.md").write_text(text, encoding="utf-8")


def scores_table(name: str, title: str, arms: dict[str, Arm], labels: tuple[int, ...], settings: EvaluationSettings
                 ) -> Table:  # fmt: skip
    """Return every score of every arm by structure, with intervals over patients and seeds."""
    rows = []
    for arm, scored in arms.items():
        for score, (what, unit) in SCORES.items():
            for structure, values in _structures(scored.score(score), labels):
                found = crossed(values, settings, bounds_of(score))
                rows.append((arm, structure, f"{what} ({unit})" if unit else what, *_numbers(found), found.patients))
    columns = ("trained on", "structure", "score", "mean", "low", "high", "patients")
    missed = ", ".join(f"{arm} {scored.missed:.0f}" for arm, scored in arms.items())
    note = (
        "Foreground only, whole images. Dice and IoU are pooled over a patient's stack per phase; surface distances "
        "are means over the slices where prediction and mask both hold the structure; 'with misses' counts a slice "
        f"where only one does as the image diagonal. Such slices, mean over seeds: {missed}."
    )
    return Table(name, title, columns, tuple(rows), note)


def comparison_table(
    name: str, title: str, arms: dict[str, Arm], labels: tuple[int, ...], settings: EvaluationSettings
) -> Table:
    """Return the paired Dice difference of every arm to "real" by structure, p-values corrected by Holm."""
    rows = []
    for arm, scored in arms.items():
        if arm == "real":
            continue
        found = [
            crossed(scored.dice[:, :, column] - arms["real"].dice[:, :, column], settings)
            for column in range(len(labels))
        ]
        adjusted = holm([f.p for f in found])
        for label, one, p in zip(labels, found, adjusted, strict=True):
            rows.append((f"{arm} - real", LABEL_NAMES[label], *_numbers(one), _number(one.p), _number(p), one.patients))
    columns = ("difference", "structure", "mean", "low", "high", "p", "p (Holm)", "patients")
    note = (
        "Paired by patient; intervals and p-values let patients and training seeds vary"
        + (" (one seed: patients only)" if settings.segmenter_seeds == 1 else "")
        + f". Holm's correction is over the {len(labels)} structures of each comparison."
    )
    return Table(name, title, columns, tuple(rows), note)


def subgroup_table(
    name: str,
    title: str,
    arms: dict[str, Arm],
    predictions: dict[str, list[np.ndarray]],
    part: SliceSet,
    labels: tuple[int, ...],
    settings: EvaluationSettings,
) -> Table:
    """Return Dice, HD95 and ASSD of every arm by pathology, vendor, phase and slice level.

    Args:
        name: of the table.
        title: of the table.
        arms: scores on all of `part`.
        predictions: per arm one (N, H, W) label map per seed for `part`.
        part: the test set.
        labels: the foreground labels.
        settings: seeds and resamples.
    """
    rows: list[tuple[Cell, ...]] = []
    for arm, scored in arms.items():
        for attribute, group, own in _groups(scored, predictions[arm], part, labels):
            dice = crossed(per_patient(own.dice), settings, bounds_of("dice"))
            surface = [crossed(per_patient(own.score(s)), settings).value for s in ("hausdorff_95", "assd")]
            rows.append((attribute, group, arm, *_numbers(dice), *map(_number, surface), dice.patients))
    rows.sort(key=lambda row: (str(row[0]), str(row[1])))
    columns = ("attribute", "group", "trained on", "Dice", "low", "high", "HD95 (mm)", "ASSD (mm)", "patients")
    note = "Dice is the mean over structures. A group of one patient has no interval; one of few says little."
    return Table(name, title, columns, tuple(rows), note)


def _groups(
    arm: Arm, predictions: list[np.ndarray], part: SliceSet, labels: tuple[int, ...]
) -> Iterator[tuple[str, str, Arm]]:
    patients = np.array(part.patients)
    for attribute in BY_PATIENT:
        values = getattr(part, attribute)
        for group in np.unique(values):
            own = np.isin(patients, part.patient_id[values == group])
            others = {name: array[:, own] for name, array in arm.others.items()}
            yield attribute, str(group), Arm(arm.dice[:, own], arm.hausdorff_95[:, own], float("nan"), others)
    for attribute in BY_SLICE:
        values = getattr(part, attribute)
        for group in np.unique(values):
            rows = np.flatnonzero(values == group)
            yield attribute, str(group), score_arm([p[rows] for p in predictions], part.select(rows), labels)


def _structures(values: np.ndarray, labels: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (S, P) values of each structure, and of their mean where there are several."""
    for column, label in enumerate(labels):
        yield LABEL_NAMES[label], values[:, :, column]
    if len(labels) > 1:
        yield "mean", per_patient(values)


def _numbers(found: Crossed) -> tuple[Cell, Cell, Cell]:
    return _number(found.value), *(map(_number, interval_of(found) or (np.nan, np.nan)))


def _number(value: float) -> float | None:
    return float(f"{value:.4g}") if np.isfinite(value) else None


def _shown(cell: Cell) -> str:
    return "-" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else str(cell)
