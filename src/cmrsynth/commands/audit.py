"""`cmrsynth audit`: does whoever holds a generator learn who it was trained on?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cmrsynth.evaluation.figure import Evaluation


def audit(
    pipeline: Annotated[str, typer.Option(help="The generator, a folder or Hub id; of images or of masks.")],
    train: Annotated[
        str, typer.Option(help="Real data the generator was trained on: DATA or DATA:split (default split: train).")
    ],
    holdout: Annotated[
        str, typer.Option(help="Real data of other patients: DATA or DATA:split (default split: test).")
    ],
    output: Annotated[Path, typer.Option(help="Folder for audit.json.")],
    membership_draws: Annotated[
        int, typer.Option(min=1, help="Noise or posterior draws in the attacks on flow, diffusion and VAE.")
    ] = 4,
    membership_attacks: Annotated[
        str,
        typer.Option(help="Attacks on flow and diffusion beside `velocity`, comma-separated; `all` costs ten times."),
    ] = "pia,sima",
    membership_samples: Annotated[
        int, typer.Option(min=1, help="Samples a GAN makes of each record's mask in the attacks on it.")
    ] = 4,
    search_steps: Annotated[
        int, typer.Option(min=0, help="Gradient steps of the search of a GAN's latents; 0 leaves it out.")
    ] = 3,
    discriminator: Annotated[
        Path | None,
        typer.Option(help="Run folder of a GAN's training, whose discriminator is asked too (never publish it)."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Names every random draw.")] = 0,
    bootstrap: Annotated[int, typer.Option(min=20, help="Bootstrap resamples over patients.")] = 1000,
) -> None:
    """Attack a generator by itself: membership, overfitting, leakage by condition, and copies of masks.

    No synthetic set and no network is needed, so this takes minutes; `cmrsynth evaluate --pipeline` finds the same
    beside everything else. Example:

    cmrsynth audit --pipeline runs/gan/pipeline --train data/acdc --holdout data/acdc --discriminator runs/gan
    --output runs/audit
    """
    from cmrsynth.commands.evaluate import asked_discriminator
    from cmrsynth.data.loading import load_slices
    from cmrsynth.evaluation.generator_audit import audit_generator
    from cmrsynth.evaluation.settings import EvaluationSettings, attack_names
    from cmrsynth.hub.load import load_pipeline

    settings = EvaluationSettings(
        seed=seed,
        resamples=bootstrap,
        membership_draws=membership_draws,
        membership_attacks=attack_names(membership_attacks),
        membership_samples=membership_samples,
        search_steps=search_steps,
    )
    training = load_slices(train, "train")
    evaluation = audit_generator(
        load_pipeline(pipeline),
        training,
        load_slices(holdout, "test"),
        output=output,
        settings=settings,
        discriminator=None if discriminator is None else asked_discriminator(discriminator, pipeline, training),
    )
    _print_summary(evaluation, output)


def _print_summary(evaluation: Evaluation, output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Attacks on the generator (chance beside each)")
    for column in ("figure", "value", "95 % interval", "chance", "verdict"):
        table.add_column(column)
    for figure in evaluation.figures:
        value = "-" if figure.value is None else f"{figure.value:.3f}"
        interval, chance = (
            "-" if pair is None else "{:.3f} to {:.3f}".format(*pair)
            for pair in (figure.interval, figure.floor_interval)
        )
        table.add_row(figure.title, value, interval, chance, figure.verdict)
    console = Console()
    console.print(table)
    console.print(f"privacy: {evaluation.verdict['privacy']}")
    typer.echo(f"Written to {output / 'audit.json'}")
