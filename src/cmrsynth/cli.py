"""Commands: `cmrsynth build | generate | evaluate | audit | utility | swap | compare | report | quickstart | ...`."""

from __future__ import annotations

import os
import sys

import typer

from cmrsynth import __version__
from cmrsynth.commands.audit import audit
from cmrsynth.commands.build import build
from cmrsynth.commands.certify import certify
from cmrsynth.commands.compare import compare
from cmrsynth.commands.evaluate import evaluate
from cmrsynth.commands.export_metric import export_metric
from cmrsynth.commands.generate import generate
from cmrsynth.commands.quickstart import quickstart
from cmrsynth.commands.report import report
from cmrsynth.commands.swap import swap
from cmrsynth.commands.utility import utility
from cmrsynth.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = (
    *(build, generate, evaluate, audit, utility, swap, compare),
    *(report, quickstart, export_metric, certify),
)
for command in COMMANDS:
    app.command(command.__name__.replace("_", "-"))(command)


@app.callback(invoke_without_command=True)
def _overview(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    """Synthetic cardiac MRI: build a data set, train a generator, sample it, and judge the result.

    Training is a program of its own: accelerate launch training/train_rectified_flow.py --help
    """
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; a mistake in the input is shown as one message, without a traceback."""
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")  # ours say what they are about
    try:
        app()
    except InputError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
