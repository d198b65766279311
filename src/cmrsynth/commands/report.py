"""`cmrsynth report`: an evaluation folder becomes one page to read, print and send."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    evaluation: Annotated[
        Path, typer.Argument(help="Folder written by `cmrsynth evaluate` (holds evaluation.json and its pictures).")
    ],
    output: Annotated[
        Path | None, typer.Option(help="HTML file to write.", show_default="report.html in the evaluation's folder")
    ] = None,
) -> None:
    """Write one self-contained HTML page from an evaluation: verdicts, figures with floors, pictures, provenance.

    Nothing is computed anew. The page works offline and without JavaScript, and prints well.

    Example: cmrsynth report runs/quickstart/evaluation --output report.html
    """
    from cmrsynth.report.html import render_report

    typer.echo(f"Report written to {render_report(evaluation, output)}")
