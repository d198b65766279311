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
    pipeline: Annotated[
        Path | None, typer.Option(help="Folder of the evaluated pipeline: also write its model card with the figures.")
    ] = None,
) -> None:
    """Write one self-contained HTML page from an evaluation: verdicts, figures with floors, pictures, provenance.

    Nothing is computed anew. The page works offline and without JavaScript, and prints well.

    Example: cmrsynth report runs/quickstart/evaluation --output report.html
    """
    from cmrsynth.report.html import render_report

    typer.echo(f"Report written to {render_report(evaluation, output)}")
    if pipeline is not None:
        from cmrsynth.evaluation.figure import Evaluation
        from cmrsynth.hub.cards import write_model_card

        typer.echo(f"Model card written to {write_model_card(pipeline, Evaluation.load(evaluation))}")
