"""The tables of a comparison: every figure beside its interval, under the floor of real patients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from cmrsynth.comparison.plan import Sweep
from cmrsynth.comparison.result import Comparison, FamilyResult, RowResult
from cmrsynth.comparison.scoring import FAMILY_FIGURES, ROW_FIGURES, SWEPT_FIGURES
from cmrsynth.comparison.statements import AUC_APART, WORSE_BY
from cmrsynth.evaluation.figure import Figure
from cmrsynth.report.numbers import floor_text, interval_text, value_text

HEADINGS = {
    "frechet_distance": "Frechet distance ↓",
    "sliced_wasserstein_finest": "sliced Wasserstein, finest level ↓",
    "two_sample_auc": "two-sample AUC (0.5 best)",
    "adherence_dice": "mask adherence, Dice ↑",
    "dice_synthetic": "Dice, trained on synthetic (TSTR) ↑",
    "utility_gap": "TSTR minus real (TRTR) ↑",
    "membership_auc": "membership AUC (0.5 best)",
    "near_copies": "near copies, share ↓",
}
FLOOR = "real patients (floor)"
MISSING = "–"


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Args:
        text: the number or the word.
        interval: "low to high", or nothing.
        verdict: of the figure, for its colour.
        why: why there is no number.
    """

    text: str
    interval: str = ""
    verdict: str = ""
    why: str = ""


@dataclass(frozen=True)
class Table:
    """A table for Markdown and for the page.

    Args:
        title: its heading.
        columns: headings of the columns.
        rows: one cell per column; rows whose first cell is `FLOOR` hold the floors.
        note: what a reader must know.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    @property
    def reasons(self) -> list[str]:
        """Why cells hold no number, each reason once; a cell refers to it by its place from 1."""
        return list(dict.fromkeys(cell.why for row in self.rows for cell in row if cell.why))

    def mark(self, cell: Cell) -> str:
        """Return the reference of a cell to its reason, such as "[1]"; nothing where it has none."""
        return f"[{self.reasons.index(cell.why) + 1}]" if cell.why else ""

    def as_markdown(self) -> str:
        """Return heading, table, note and reasons."""

        def shown(cell: Cell) -> str:
            interval = f" ({cell.interval})" if cell.interval else ""
            return f"{cell.text}{interval} {self.mark(cell)}".strip().replace("|", "/")

        lines = ["| " + " | ".join(self.columns) + " |", "|" + " --- |" * len(self.columns)]
        lines += ["| " + " | ".join(shown(cell) for cell in row) + " |" for row in self.rows]
        reasons = "\n".join(f"[{place}] {why}" for place, why in enumerate(self.reasons, 1))
        parts = [f"## {self.title}", "\n".join(lines), self.note, reasons.replace("\n", "  \n")]
        return "\n\n".join(part for part in parts if part) + "\n"


def tables_of(comparison: Comparison) -> list[Table]:
    """Return all tables of a comparison."""
    swept = [_sweep_table(comparison, sweep) for sweep in comparison.plan.sweeps]
    return [_by_steps(comparison), _by_family(comparison), *_statements(comparison), *swept]


def _by_steps(comparison: Comparison) -> Table:
    columns = ("family", "steps", "network evaluations", *(HEADINGS[name] for name in ROW_FIGURES), "images/s")
    rows = [(Cell(_called(family)), *_cells_of_row(each)) for family in comparison.families for each in family.by_steps]
    rows += [_absent(family, len(columns)) for family in comparison.families if family.why]
    measured = [each for family in comparison.families for each in family.by_steps]
    floors = _floor_cells(measured, ROW_FIGURES)
    note = (
        "From the masks of patients that no model was trained on. An evaluation is one pass of the denoiser; images/s "
        "are those of one CPU thread per second of processor time."
    )
    return Table("Fidelity and adherence by steps", columns, (_floor_row(floors, 2, 1), *rows), note)


def _cells_of_row(each: RowResult) -> list[Cell]:
    steps = Cell("at once" if each.row.steps is None else str(each.row.steps))
    if each.speed is None:
        return [steps, *[Cell(MISSING, why=each.why or "")] * (2 + len(ROW_FIGURES))]
    speed = Cell(f"{each.speed['images_per_cpu_second']:.3g}")
    return [steps, Cell(str(each.speed["evaluations"])), *_figure_cells(each, ROW_FIGURES), speed]


def _by_family(comparison: Comparison) -> Table:
    columns = (
        *("family", "minutes (all)", "weights trained", "weights in all", "training images/s"),
        *("steps", *(HEADINGS[name] for name in FAMILY_FIGURES)),
    )
    rows = []
    for family in comparison.families:
        taught = family.taught
        if family.why or taught is None:
            rows += [_absent(family, len(columns))] if family.compared else []
            continue
        own, total = family.minutes
        facts = (
            Cell(f"{own:g} ({total:g})"),
            Cell(f"{family.training['trained_parameters'] / 1e6:.2f} M"),
            Cell(MISSING, why=taught.why or "") if taught.speed is None else _millions(taught.speed["parameters"]),
            Cell(f"{family.training['images_per_second']:.3g}"),
            Cell("at once" if taught.row.steps is None else str(taught.row.steps)),
        )
        rows.append((Cell(_called(family)), *facts, *_figure_cells(taught, FAMILY_FIGURES)))
    floors = _floor_cells([f.taught for f in comparison.families if f.taught], FAMILY_FIGURES)
    note = (
        "Minutes of its own training, and in brackets with what it stands on. Utility and copies are those of images "
        "made from the training patients' masks; the floor of TSTR is training on the real images, that of the "
        "membership attack is chance; its range for shuffled patients is each attack's own, in comparison.json."
    )
    return Table("Training, utility and privacy", columns, (_floor_row(floors, 5, 0), *rows), note)


def _statements(comparison: Comparison) -> list[Table]:
    if not comparison.statements:
        return []
    rows = [
        (
            Cell(s.family if s.of == s.family else f"{s.family} beside its teacher {s.of}"),
            *(Cell(str(s.steps)), Cell(str(s.of_steps)), Cell(f"{s.ratio:.2f}"), Cell(f"{s.difference:+.3f}")),
            Cell(s.outcome, verdict="good" if s.holds and s.like_real else "look closer"),
        )
        for s in comparison.statements
    ]
    columns = ("family", "few steps", "many steps", "ratio of distances", "difference of AUCs", "reached")
    note = (
        f"Few steps reach the texture of many where the sliced Wasserstein distance at the finest level is at most "
        f"{WORSE_BY:.0%} larger and the two-sample AUC at most {AUC_APART:g} higher. It is not that of real images "
        "where their own distance lies above the 95 % interval of real patients."
    )
    return [Table("Do few steps reach the texture of many?", columns, tuple(rows), note)]


def _sweep_table(comparison: Comparison, sweep: Sweep) -> Table:
    columns = ("family", sweep.option, "network evaluations", *(HEADINGS[name] for name in SWEPT_FIGURES))
    rows, measured = [], []
    for family in comparison.families:
        if family.name in sweep.families and family.why:
            rows.append(_absent(family, len(columns)))
        for each in family.swept(sweep.name):
            measured.append(each)
            evaluations = Cell(MISSING, why=each.why or "") if not each.speed else Cell(str(each.speed["evaluations"]))
            value = Cell(f"{each.row.sweep[1]:g}")
            rows.append((Cell(_called(family)), value, evaluations, *_figure_cells(each, SWEPT_FIGURES)))
    note = f"Steps, where a family samples in steps: {sweep.steps}; other options as in the tables above."
    floors = _floor_row(_floor_cells(measured, SWEPT_FIGURES), 2, 0)
    return Table(f"Sweep of {sweep.option}", columns, (floors, *rows), note)


def _figure_cells(each: RowResult, names: Sequence[str]) -> list[Cell]:
    return [_figure_cell(each.figures[n]) if n in each.figures else Cell(MISSING, why=each.why or "") for n in names]


def _figure_cell(figure: Figure) -> Cell:
    if figure.value is None:
        applies = not figure.reading.startswith("Not applicable")
        return Cell(figure.verdict if applies else "not applicable", verdict=figure.verdict, why=figure.reading)
    text = value_text(replace(figure, unit=""))
    return Cell(text, interval_text(figure.interval, figure.value), figure.verdict)


def _floor_cells(measured: Iterable[RowResult], names: Sequence[str]) -> list[Cell]:
    """Return the floors, which all rows of one table share; of the first row that has one."""
    cells = []
    for name in names:
        having = (each.figures[name] for each in measured if name in each.figures)
        figure = next((f for f in having if f.floor is not None), None)
        if figure is None:
            cells.append(Cell(MISSING))
            continue
        shared = None if name == "membership_auc" else figure.floor_interval  # its range is each attack's own
        cells.append(Cell(floor_text(replace(figure, unit="")), interval_text(shared, figure.floor)))
    return cells


def _floor_row(floors: Sequence[Cell], before: int, after: int) -> tuple[Cell, ...]:
    return (Cell(FLOOR), *[Cell("")] * before, *floors, *[Cell("")] * after)


def _absent(family: FamilyResult, columns: int) -> tuple[Cell, ...]:
    return (Cell(_called(family)), *[Cell(MISSING, why=family.why or "")] * (columns - 1))


def _called(family: FamilyResult) -> str:
    return family.name if family.compared else f"{family.name} (teacher, {family.minutes[1]:g} minutes)"


def _millions(count: int) -> Cell:
    return Cell(f"{count / 1e6:.2f} M")
