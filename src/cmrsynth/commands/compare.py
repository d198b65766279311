"""`cmrsynth compare`: generator families side by side under equal conditions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cmrsynth.errors import InputError

if TYPE_CHECKING:
    from cmrsynth.comparison.tables import Table


def compare(
    config: Annotated[
        Path, typer.Argument(help="YAML file: what is trained, for how long, and how it is sampled and scored.")
    ],
    only: Annotated[
        str | None, typer.Option(help="Train, sample and score only families whose names fit, as in 'flow_*'.")
    ] = None,
    stage: Annotated[
        str | None, typer.Option(help="Only this stage: train, sample, score or report.", show_default="all of them")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes at a time, each of one thread.", show_default="one per core")
    ] = None,
) -> None:
    """Train generator families for equal times, sample them from the same masks and seeds, and score them alike.

    Writes comparison.json, comparison.md and comparison.html into the output folder that the file names. Interrupted,
    the same command goes on where it stopped; trainings that are finished there are used as they are. A family that
    fails is told in the report and stops no other.

    Example: cmrsynth compare training/configs/comparisons/sunnybrook_64.yaml
    """
    from cmrsynth.comparison.compare import STAGES
    from cmrsynth.comparison.compare import compare as run
    from cmrsynth.comparison.plan import read_plan
    from cmrsynth.comparison.tables import tables_of
    from cmrsynth.comparison.workers import default_workers

    if stage is not None and stage not in STAGES:
        raise InputError(f"--stage {stage}", "there is no such stage", f"choose from {', '.join(STAGES)}")
    plan = read_plan(config)
    stages = STAGES if stage is None else (stage,)
    comparison = run(plan, stages=stages, only=only, workers=workers or default_workers())
    if "report" in stages:
        for table in tables_of(comparison)[:2]:
            _print_table(table)
        typer.echo(f"Written to {plan.output / 'comparison.html'}, comparison.md and comparison.json")


def _print_table(table: Table) -> None:
    from rich.console import Console
    from rich.table import Table as Shown

    shown = Shown(*table.columns, title=table.title)
    for row in table.rows:
        shown.add_row(*(f"{cell.text} {table.mark(cell).replace('[', '(').replace(']', ')')}".strip() for cell in row))
    console = Console()
    console.print(shown)
    for place, why in enumerate(table.reasons, 1):
        console.print(f"({place}) {why}", markup=False)
