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
    steps: Annotated[
        int | None, typer.Option(min=1, help="Sampling steps; the pipeline's default (10 for a flow) unless given.")
    ] = None,
    solver: Annotated[
        str | None, typer.Option(help="Of a flow: heun (second order, default) or euler (first order, half the cost).")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale; 1, the default, follows the conditions as learned.")
    ] = None,
    mask_guidance: Annotated[
        float | None, typer.Option(help="Guidance scale of the mask alone; that of --guidance unless given.")
    ] = None,
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

    options = {
        "num_inference_steps": steps,
        "solver": solver,
        "guidance_scale": guidance,
        "mask_guidance_scale": mask_guidance,
    }
    settings = GenerationSettings(
        images_per_mask=images_per_mask,
        sampling={name: value for name, value in options.items() if value is not None},
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
