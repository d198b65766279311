"""`cmrsynth swap`: the anatomy of one vendor in the look of another, with figures and a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cmrsynth.commands.generate import parse_options

if TYPE_CHECKING:
    from cmrsynth.evaluation.swap import Estimate, SwapLine


def swap(
    pipeline: Annotated[str, typer.Option(help="Folder of a trained pipeline (<run>/pipeline), or a Hub id.")],
    train: Annotated[
        str, typer.Option(help="Real data the generator was trained on: DATA or DATA:split (default split: train).")
    ],
    holdout: Annotated[
        str, typer.Option(help="Real data of other patients, whose masks are used: DATA or DATA:split (default: test).")
    ],
    output: Annotated[Path, typer.Option(help="Folder for swap.json, figures/ and models/.")],
    option: Annotated[
        list[str] | None,
        typer.Option(help="An option of the pipeline's call, as in --option num_inference_steps=4; repeatable."),
    ] = None,
    segmenter_updates: Annotated[
        int, typer.Option(min=1, help="Optimiser updates of the segmentation network (16 images each).")
    ] = 800,
    seed: Annotated[int, typer.Option(help="Names every random draw.")] = 0,
    bootstrap: Annotated[int, typer.Option(min=20, help="Bootstrap resamples over patients.")] = 1000,
) -> None:
    """Show masks of held-out patients in the look of every other vendor, and measure whether that worked.

    Two figures for each vendor: the share of images that a classifier of real images takes for that vendor's, beside
    what real images of that vendor get (floor) and what the masks' own images get (control); and the Dice of the
    re-segmented images with their masks. A model that takes reference images is asked in both ways. Example:

    cmrsynth swap --pipeline runs/mnms/pipeline --train data/mnms --holdout data/mnms --output runs/mnms/swap
    """
    from cmrsynth.data.loading import load_slices
    from cmrsynth.evaluation.encoder import cardiac_encoder
    from cmrsynth.evaluation.segmenter import train_segmenter
    from cmrsynth.evaluation.settings import EvaluationSettings
    from cmrsynth.evaluation.swap import SwapJudge, swap_lines
    from cmrsynth.evaluation.swap_picture import draw_swap
    from cmrsynth.generation.swap import swap_styles
    from cmrsynth.hub.load import load_pipeline, pipeline_hash
    from cmrsynth.provenance import provenance

    settings = EvaluationSettings(segmenter_updates=segmenter_updates, seed=seed, resamples=bootstrap)
    real, others, model = load_slices(train, "train"), load_slices(holdout, "test"), load_pipeline(pipeline)
    model.set_progress_bar_config(disable=True)
    styles = swap_styles(model, real, sampling=parse_options(option or []), seed=seed)
    labels = tuple(sorted(set(real.annotated_labels) & set(others.annotated_labels)))
    for folder in ("models", "figures"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    segmenter = train_segmenter(
        real.images, real.masks, labels,
        updates=settings.segmenter_updates, batch_size=settings.segmenter_batch, seed=seed,
        path=output / "models" / "segmenter_real.safetensors",
    )  # fmt: skip
    judge = SwapJudge(real, others, cardiac_encoder(segmenter, real.images), segmenter, settings)
    lines, made = swap_lines(judge, styles)
    for style, looks in made.items():
        for source in judge.values:
            draw_swap(judge, looks, source, output / "figures" / f"{style.replace(' ', '_')}_{source}.png")
    record = {
        "lines": [line.as_json() for line in lines],
        "pipeline_hash": pipeline_hash(pipeline),
        "train": real.fingerprint,
        "holdout": others.fingerprint,
        "provenance": provenance(),
    }
    partial = output / "swap.json.partial"
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(output / "swap.json")
    _print_table(lines, output)


def _print_table(lines: list[SwapLine], output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    def words(estimate: Estimate) -> str:
        value, interval = estimate
        return f"{value:.2f}" if interval is None else f"{value:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"

    table = Table(title="Masks of other vendors in the look of one (mean over patients, 95 % interval)")
    for column in ("look by", "of", "patients", "recognised", "real of it", "real of the masks", "Dice", "real Dice"):
        table.add_column(column)
    for line in lines:
        figures = (line.recognised, line.floor, line.control, line.adherence, line.adherence_floor)
        table.add_row(line.style, line.target, str(line.patients), *map(words, figures))
    console = Console(width=150)
    console.print(table)
    typer.echo(f"Written to {output / 'swap.json'}, pictures in {output / 'figures'}")
