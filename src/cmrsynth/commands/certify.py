"""`cmrsynth certify`: does the evaluation find the failures that are planted for it, and only those?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cmrsynth.certification.entries import Entry
    from cmrsynth.certification.ground import Ground
    from cmrsynth.certification.runner import Row
    from cmrsynth.certification.speed import Speed

PHANTOM_PATIENTS = 60


def certify(
    slow: Annotated[
        bool, typer.Option("--slow", help="Also entries that train networks of their own, and all on the phantom.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Only entries whose name holds this text; may be repeated.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Plant failures in this data set (made by `cmrsynth build`) instead of toy hearts."),
    ] = None,
    speed: Annotated[
        bool, typer.Option("--speed", help="Only the table of speed ratios: nearest neighbours, Frechet distance.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder for certification.json and certification.md.")] = Path(
        "runs/certification"
    ),
) -> None:
    """Plant known failures (copies, blur, wrong labels, memorised patients, ...) and see whether they are found.

    Every entry names the figures that must object and those that must not, by the verdicts that `cmrsynth evaluate`
    gives. The exit code is 1 if a failure was missed, or if something harmless was accused.

    Examples:
      cmrsynth certify
      cmrsynth certify --data data/acdc --output runs/certification-acdc
      cmrsynth certify --only blur --only copies
    """
    from cmrsynth.certification.record import write_record
    from cmrsynth.certification.runner import FAULTY

    output.mkdir(parents=True, exist_ok=True)
    if speed:
        table = _speed()
        paths = write_record((), output, [line.as_json() for line in table])
        _print_speed(table)
        typer.echo(f"Written to {paths[0]} and {paths[1]}")
        return
    rows = _rows(tuple(only or ()), _grounds(slow, data, output), output, slow=slow)
    paths = write_record(rows, output)
    _print_rows(rows)
    typer.echo(f"Written to {paths[0]} and {paths[1]}")
    if any(row.outcome in FAULTY for row in rows):
        raise typer.Exit(1)


def _grounds(slow: bool, data: str | None, output: Path) -> list[Ground]:
    from cmrsynth.certification.ground import data_ground, toy_ground

    folder = output / "models"
    if data is not None:
        return [data_ground(data, folder)]
    return [toy_ground(folder), *([data_ground(_phantom(output), folder, "phantom")] if slow else [])]


def _phantom(output: Path) -> str:
    """Return the folder of the phantom data set, built on the first run."""
    from cmrsynth.commands.build import build

    folder = output / "phantom"
    if not folder.exists():
        build("phantom", output=folder, num_patients=PHANTOM_PATIENTS, validation_fraction=0.3, test_fraction=0.3)
    return str(folder)


def _rows(names: tuple[str, ...], grounds: Sequence[Ground], output: Path, *, slow: bool) -> list[Row]:
    """Return all rows, saying each as it comes and keeping what is there in case the run is stopped."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from cmrsynth.certification.catalogue import chosen
    from cmrsynth.certification.record import write_record
    from cmrsynth.certification.runner import jobs, run

    work = jobs(chosen(names, slow=slow), grounds)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, transient=True) as progress:
        bar = progress.add_task("Certifying", total=len(work))

        def tell(entry: Entry, ground: Ground) -> None:
            progress.update(bar, description=f"{entry.name} ({ground.name})")

        rows = []
        for row in run(work, tell):
            rows.append(row)
            write_record(rows, output)
            progress.advance(bar)
            progress.console.print(f"{row.outcome}: {row.name} ({row.ground}, {row.seconds:.0f} s)")
    return rows


def _speed() -> list[Speed]:
    from cmrsynth.certification.speed import speed_table

    return speed_table()


def _print_rows(rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    from cmrsynth.certification.record import told
    from cmrsynth.certification.runner import totals

    colours = {"detected": "green", "passed": "green", "missed": "red", "false alarm": "red", "skipped": "yellow"}
    table = Table(title="Planted failures and controls")
    for column in ("entry", "on", "outcome", "figures"):
        table.add_column(column)
    for row in rows:
        table.add_row(row.name, row.ground, f"[{colours[row.outcome]}]{row.outcome}[/]", told(row))
    console = Console()
    console.print(table)
    console.print("  ".join(f"{outcome}: {count}" for outcome, count in totals(rows).items()))


def _print_speed(table: Sequence[Speed]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(title="Median times, contestants in turns")
    for column in ("what", "seconds", "cmrsynth is so many times faster"):
        shown.add_column(column)
    for line in table:
        shown.add_row(line.what, f"{line.seconds:.3g}", f"{line.ratio:.3g}")
    Console().print(shown)
