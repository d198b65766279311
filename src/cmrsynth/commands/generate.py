"""`cmrsynth generate`: a labelled synthetic data set from a model and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cmrsynth.errors import InputError
from cmrsynth.schema import SCALARS

GENERATED = "generated"  # the word that asks for drawn masks


def generate(
    pipeline: Annotated[str, typer.Option(help="Folder of a trained pipeline (<run>/pipeline), or a Hub id.")],
    masks: Annotated[
        str,
        typer.Option(
            help="Data set whose masks condition the images, as path:split (default split: test); or the word "
            "generated: masks are drawn by --mask-generator as --plan says, and kept in <output>-masks."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder to make.")],
    mask_generator: Annotated[
        str | None, typer.Option(help="With --masks generated: folder of a trained mask generator, or a Hub id.")
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(help="With --masks generated: YAML file of how many masks of which pathology, phase, ..."),
    ] = None,
    images_per_mask: Annotated[int, typer.Option(min=1, help="Images of each mask, with different noise.")] = 1,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="Sampling steps; by default 10 of a flow, those a few-step flow learned, 50 of diffusion."
        ),
    ] = None,
    solver: Annotated[
        str | None,
        typer.Option(
            help="Flow: heun (default) or euler (half the cost, and the only one of a few-step flow). "
            "Diffusion: ddpm, ddim, dpm, unipc."
        ),
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale; 1, the default, follows the conditions as learned.")
    ] = None,
    mask_guidance: Annotated[
        float | None, typer.Option(help="Guidance scale of the mask alone; that of --guidance unless given.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="Another option of the pipeline's call, as in --option temperature=0.8; repeatable."),
    ] = None,
    set_attribute: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Replace an attribute or scalar of all masks, as in --set vendor=B or --set ejection_fraction=35; "
            "repeatable.",
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            help="For a model trained with prompts: a text that describes all images, in place of the masks' own "
            "attributes; or the word attributes: one made of each mask's."
        ),
    ] = None,
    allow_unshown: Annotated[
        bool,
        typer.Option(
            "--allow-unshown",
            help="With --plan: allow labels of anatomy that only the image model follows, though the masks need not "
            "show them; record and card say so.",
        ),
    ] = False,
    precision: Annotated[
        str, typer.Option(help="Of the networks: no (full), bf16, or auto: bf16 where the hardware computes it.")
    ] = "no",
    seed: Annotated[int, typer.Option(help="Seed of all noise.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images made at once.")] = 32,
) -> Path:
    """Sample labelled synthetic slices, one or more per mask, in the same columns as a built data set.

    Interrupted, the same command goes on where it stopped. Under `accelerate launch -m cmrsynth.cli generate ...`
    every process takes its share; the images are the same.

    A plan lists cells with counts; or it has a total, shared by weight; lists make a cell of each combination:

      cells:
        - {pathology: [dilated, hypertrophic], vendor: B, phase: [ED, ES], slice_level: mid, count: 20}

    Example:
      cmrsynth generate --pipeline runs/acdc/pipeline --masks data/acdc:test --output data/acdc-synthetic
      cmrsynth generate --pipeline runs/acdc/pipeline --masks generated --mask-generator runs/masks/pipeline
      --plan plan.yaml --output data/acdc-composed
    """
    from cmrsynth.generation.generate import GenerationSettings
    from cmrsynth.generation.generate import generate as run
    from cmrsynth.processes import leave_processes

    options = {
        "num_inference_steps": steps,
        "solver": solver,
        "guidance_scale": guidance,
        "mask_guidance_scale": mask_guidance,
    }
    settings = GenerationSettings(
        images_per_mask=images_per_mask,
        sampling={**parse_options(option or []), **{k: v for k, v in options.items() if v is not None}},
        seed=seed,
        batch_size=batch_size,
        attributes=parse_attributes(set_attribute or []),
        prompt=prompt,
        precision=precision,
    )
    drawn = resolve_drawing(masks, mask_generator, plan)
    if drawn:
        from cmrsynth.generation.compose import compose_masks

        composed = compose_masks(
            *drawn, pipeline, output.with_name(output.name + "-masks"), seed=seed, allow_unshown=allow_unshown
        )
        masks = f"{composed}:train"
    folder = run(pipeline, masks, output, settings)
    leave_processes()
    typer.echo(f"synthetic data set in {folder}")
    return folder


def resolve_drawing(masks: str, mask_generator: str | None, plan: Path | None) -> tuple[str, Path] | None:
    """Return the mask generator and the plan if masks are to be drawn, else None."""
    if masks == GENERATED:
        if mask_generator is None or plan is None:
            raise InputError("--masks generated", "--mask-generator and --plan are needed", "give both")
        return mask_generator, plan
    if mask_generator is not None or plan is not None:
        raise InputError(
            f"--masks {masks}", "--mask-generator and --plan belong to --masks generated", "leave them out"
        )
    return None


def parse_options(pairs: list[str]) -> dict[str, object]:
    """Return options from texts like "temperature=0.8", values read as YAML.

    >>> parse_options(["temperature=0.8", "control_range=[0, 0.5]"])
    {'temperature': 0.8, 'control_range': [0, 0.5]}
    """
    import yaml

    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise InputError("--option", f"{wrong[0]!r} is not name=value", "write it as in --option temperature=0.8")
    return {name: yaml.safe_load(value) for name, value in (pair.split("=", 1) for pair in pairs)}


def parse_attributes(pairs: list[str]) -> dict[str, str | float]:
    """Return values of attributes and scalars from texts like "vendor=B".

    >>> parse_attributes(["vendor=B", "ejection_fraction=35"])
    {'vendor': 'B', 'ejection_fraction': 35.0}
    """
    wrong = [pair for pair in pairs if pair.count("=") != 1]
    if wrong:
        raise InputError("--set", f"{wrong[0]!r} is not name=value", "write it as in --set vendor=B")
    return {name: _scalar(name, value) if name in SCALARS else value for name, value in (p.split("=") for p in pairs)}


def _scalar(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise InputError("--set", f"{name} is {value!r}", f"give a number in {SCALARS[name].unit}") from None
