"""`cmrsynth evaluate`: how faithful, useful and private is a synthetic data set?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cmrsynth.errors import InputError

if TYPE_CHECKING:
    from cmrsynth.data.loading import SliceSet
    from cmrsynth.evaluation.figure import Evaluation
    from cmrsynth.evaluation.target import Discriminator


def evaluate(
    train: Annotated[
        str, typer.Option(help="Real data the generator was trained on: DATA or DATA:split (default split: train).")
    ],
    holdout: Annotated[
        str, typer.Option(help="Real data of other patients: DATA or DATA:split (default split: test).")
    ],
    synthetic: Annotated[str, typer.Option(help="The data to judge: DATA or DATA:split (default split: train).")],
    output: Annotated[Path, typer.Option(help="Folder for evaluation.json, figures/ and models/.")],
    pipeline: Annotated[
        str | None,
        typer.Option(help="The generator, a folder or Hub id; needed for the membership attack (privacy)."),
    ] = None,
    extractor: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=SOURCE, reported beside the cardiac encoder; repeatable. SOURCE is `inception` (FID's own, "
            "downloaded once), a TorchScript file that maps float images (N, 3, H, W) in [0, 1] to (N, d) features, a "
            "folder or Hub id of an image model of transformers (dinov2=facebook/dinov2-base), or "
            "torchhub:OWNER/REPO:MODEL, which runs the code of that repository (RadImageNet: "
            "torchhub:Warvito/radimagenet-models:radimagenet_resnet50)."
        ),
    ] = None,
    segmenter_updates: Annotated[
        int, typer.Option(min=1, help="Optimiser updates of each segmentation network (16 images each).")
    ] = 800,
    seeds: Annotated[
        int, typer.Option(min=1, max=10, help="Networks trained for each of real, synthetic, both; 3 to publish.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Names every random draw.")] = 0,
    membership_draws: Annotated[
        int, typer.Option(min=1, help="Noise draws at each of three times in the membership attack; more find more.")
    ] = 4,
    membership_attacks: Annotated[
        str,
        typer.Option(help="Attacks on flow and diffusion beside `velocity`, comma-separated; `all` costs ten times."),
    ] = "pia,sima",
    membership_samples: Annotated[
        int, typer.Option(min=1, help="Samples a GAN makes of each record's mask in the attacks on it.")
    ] = 4,
    discriminator: Annotated[
        Path | None,
        typer.Option(help="Run folder of a GAN's training, whose discriminator is asked too (never publish it)."),
    ] = None,
    bootstrap: Annotated[int, typer.Option(min=20, help="Bootstrap resamples over patients.")] = 1000,
) -> None:
    """Measure fidelity, utility and privacy of a synthetic data set, each beside its real-versus-real floor.

    Interrupted, run it again: networks that were finished are used again.

    A folder is one that `cmrsynth build` or `cmrsynth generate` made; DATA may also be a Hub id. Example:

    cmrsynth evaluate --train data/acdc --holdout data/acdc --synthetic runs/synthetic --pipeline runs/pipeline
    --output runs/evaluation
    """
    from cmrsynth.data.loading import load_slices
    from cmrsynth.evaluation.evaluate import evaluate as run
    from cmrsynth.evaluation.settings import EvaluationSettings, ExtractorSpec, attack_names
    from cmrsynth.hub.load import load_pipeline

    settings = EvaluationSettings(
        segmenter_updates=segmenter_updates,
        segmenter_seeds=seeds,
        seed=seed,
        resamples=bootstrap,
        membership_draws=membership_draws,
        membership_attacks=attack_names(membership_attacks),
        membership_samples=membership_samples,
        extractors=tuple(ExtractorSpec.parse(text) for text in extractor or ()),
    )
    training = load_slices(train, "train")
    evaluation = run(
        training,
        load_slices(holdout, "test"),
        load_slices(synthetic, "train"),
        output=output,
        pipeline=None if pipeline is None else load_pipeline(pipeline),
        discriminator=None if discriminator is None else asked_discriminator(discriminator, pipeline, training),
        settings=settings,
    )
    _print_summary(evaluation, output)


def asked_discriminator(run: Path, pipeline: str | None, train: SliceSet) -> Discriminator:
    """Return the discriminator of a GAN's run folder.

    Raises:
        InputError: no GAN was given beside it, or it is not of a GAN trained on these slices.
    """
    from cmrsynth.training.gan_audit import load_discriminator

    if pipeline is None:
        raise InputError("--discriminator", "no generator was given", "add --pipeline RUN/pipeline")
    return load_discriminator(run, train)


def _print_summary(evaluation: Evaluation, output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Headline figures (real-versus-real floor beside each)")
    for column in ("figure", "value", "95 % interval", "floor", "verdict"):
        table.add_column(column)
    for figure in evaluation.figures:
        if figure.headline:
            value, floor = ("-" if v is None else f"{v:.3f}" for v in (figure.value, figure.floor))
            interval = "-" if figure.interval is None else "{:.3f} to {:.3f}".format(*figure.interval)
            table.add_row(figure.title, value, interval, floor, figure.verdict)
    console = Console()
    console.print(table)
    console.print("  ".join(f"{axis}: {verdict}" for axis, verdict in evaluation.verdict.items()))
    typer.echo(f"Written to {output / 'evaluation.json'}")
