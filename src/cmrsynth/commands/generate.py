"""`cmrsynth generate`: a labelled synthetic data set from a model and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cmrsynth.errors import InputError


def generate(
    pipeline: Annotated[str, typer.Option(help="Folder of a trained pipeline (<run>/pipeline), or a Hub id.")],
    masks: Annotated[
        str, typer.Option(help="Data set whose masks condition the images, as path:split (default split: test).")
    ],
    output: Annotated[Path, typer.Option(help="Folder to make.")],
    images_per_mask: Annotated[int, typer.Option(min=1, help="Images of each mask, with different noise.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Solver steps from noise to image.")] = 10,
    solver: Annotated[str, typer.Option(help="heun (second order) or euler (first order, half the cost).")] = "heun",
    guidance: Annotated[float, typer.Option(help="Guidance scale; 1 follows the conditions as learned.")] = 1.0,
    set_attribute: Annotated[
        list[str] | None,
        typer.Option("--set", help="Replace an attribute of all masks, as in --set vendor=B; repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all noise.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images made at once.")] = 32,
) -> Path:
    """Sample labelled synthetic slices, one or more per mask, in the same columns as a built data set.

    Interrupted, the same command goes on where it stopped. Under `accelerate launch -m cmrsynth.cli generate ...`
    every process takes its share; the images are the same.

    Example:
      cmrsynth generate --pipeline runs/acdc/pipeline --masks data/acdc:test --output data/acdc-synthetic
    """
    from cmrsynth.generation.generate import GenerationSettings
    from cmrsynth.generation.generate import generate as run

    settings = GenerationSettings(
        images_per_mask=images_per_mask,
        num_inference_steps=steps,
        solver=solver,
        guidance_scale=guidance,
        seed=seed,
        batch_size=batch_size,
        attributes=parse_attributes(set_attribute or []),
    )
    folder = run(pipeline, masks, output, settings)
    typer.echo(f"synthetic data set in {folder}")
    return folder


def parse_attributes(pairs: list[str]) -> dict[str, str]:
    """Return attribute values from texts like "vendor=B".

    >>> parse_attributes(["vendor=B", "phase=ED"])
    {'vendor': 'B', 'phase': 'ED'}
    """
    wrong = [pair for pair in pairs if pair.count("=") != 1]
    if wrong:
        raise InputError("--set", f"{wrong[0]!r} is not name=value", "write it as in --set vendor=B")
    return dict(pair.split("=") for pair in pairs)
