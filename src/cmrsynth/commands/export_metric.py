"""`cmrsynth export-metric`: a metric becomes a folder, or a Space of the Hub, that needs no cmrsynth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export_metric(
    name: Annotated[str, typer.Argument(help="The metric, such as cmr_fid; a wrong name lists them all.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder to write.", show_default="NAME in the current folder")
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Also publish it as a Space of that name, NAME the metric's."),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="With --push: let everyone load it.")] = False,
) -> None:
    """Write a metric's Space: its module with the files it imports, a card, requirements and an app.

    Example: cmrsynth export-metric cmr_fid --output spaces/cmr_fid
    """
    from cmrsynth.errors import InputError
    from cmrsynth.hub import metric_space

    if public and push is None:
        raise InputError("--public", "nothing is published", "give --push OWNER/NAME too, or leave it out")
    if push is not None:
        metric_space.check_repo_id(name, push)
    folder = metric_space.export_metric(name, output or Path(name), repo_id=push)
    typer.echo(f"Metric written to {folder}")
    if push is not None:
        typer.echo(f"Published at {metric_space.publish_metric(folder, push, private=not public)}")
