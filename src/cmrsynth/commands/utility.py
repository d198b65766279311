"""`cmrsynth utility`: the full protocol behind "can these images train a network for real patients?"."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cmrsynth.errors import InputError

if TYPE_CHECKING:
    from cmrsynth.evaluation.figure import Evaluation


def utility(
    train: Annotated[
        str, typer.Option(help="Real data the generator was trained on: DATA or DATA:split (default split: train).")
    ],
    holdout: Annotated[
        str, typer.Option(help="Real data of other patients: DATA or DATA:split (default split: test).")
    ],
    synthetic: Annotated[str, typer.Option(help="The data to judge: DATA or DATA:split (default split: train).")],
    output: Annotated[Path, typer.Option(help="Folder for utility.json, tables.md, tables/, figures/ and models/.")],
    external: Annotated[
        list[str] | None,
        typer.Option(
            help="Another real data set to test on: DATA or DATA:split (default split: test). May be repeated."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=10, help="Networks trained for each arm; 3 or more to publish.")] = 3,
    updates: Annotated[int, typer.Option(min=1, help="Optimiser updates of every network, in every arm.")] = 800,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in one update.")] = 16,
    segmenter: Annotated[str, typer.Option(help="unet (small, for a CPU) or dynunet (for a GPU).")] = "unet",
    filters: Annotated[
        str, typer.Option(help="Feature maps of each stage, as in 16,32,64,128.", show_default="the network's own")
    ] = "",
    curve: Annotated[
        bool, typer.Option("--curve", help="Add the augmentation curve: one set of networks per fraction and ratio.")
    ] = False,
    curve_fractions: Annotated[str, typer.Option(help="Shares of the real training patients.")] = "0.25,0.5,1",
    curve_ratios: Annotated[str, typer.Option(help="Synthetic slices per real slice.")] = "0,0.5,1,2",
    curve_own_masks: Annotated[
        bool, typer.Option("--curve-own-masks", help="In the curve, only synthetic slices from the subset's masks.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Names every random draw.")] = 0,
    bootstrap: Annotated[int, typer.Option(min=20, help="Bootstrap resamples over patients and seeds.")] = 2000,
) -> None:
    """Train networks on real, synthetic and both, and test them on patients, vendors and data sets they never saw.

    All networks get the same number of updates. Interrupted, run it again: networks that were finished are used
    again. The curve is honest below all patients only if the generator was trained on the same patients. Example:

    cmrsynth utility --train data/acdc --holdout data/acdc --synthetic runs/synthetic --external data/mnms
    --segmenter dynunet --updates 5000 --output runs/utility
    """
    from cmrsynth.data.loading import load_slices
    from cmrsynth.evaluation.augmentation_curve import CurveSettings
    from cmrsynth.evaluation.protocol import run_protocol
    from cmrsynth.evaluation.settings import EvaluationSettings

    settings = EvaluationSettings(
        segmenter_updates=updates,
        segmenter_batch=batch_size,
        segmenter_seeds=seeds,
        segmenter=segmenter,
        segmenter_filters=tuple(int(f) for f in _numbers("--filters", filters)),
        seed=seed,
        resamples=bootstrap,
    )
    grid = CurveSettings(
        _numbers("--curve-fractions", curve_fractions), _numbers("--curve-ratios", curve_ratios), curve_own_masks
    )
    evaluation = run_protocol(
        load_slices(train, "train"),
        load_slices(holdout, "test"),
        load_slices(synthetic, "train"),
        output=output,
        external=[load_slices(location, "test") for location in external or ()],
        curve=grid if curve else None,
        settings=settings,
    )
    _print_summary(evaluation, output)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(",") if word.strip())
    except ValueError as error:
        raise InputError(option, f"{text!r} is no list of numbers", "write it as in 0.5,1,2") from error


def _print_summary(evaluation: Evaluation, output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Utility (what real images get beside each)")
    for column in ("figure", "value", "95 % interval", "real", "verdict"):
        table.add_column(column)
    for figure in evaluation.figures:
        value, floor = ("-" if v is None else f"{v:.3f}" for v in (figure.value, figure.floor))
        interval = "-" if figure.interval is None else "{:.3f} to {:.3f}".format(*figure.interval)
        table.add_row(figure.title, value, interval, floor, figure.verdict)
    console = Console()
    console.print(table)
    console.print(f"utility: {evaluation.verdict['utility']}")
    typer.echo(f"Written to {output / 'utility.json'} and {output / 'tables.md'}")
