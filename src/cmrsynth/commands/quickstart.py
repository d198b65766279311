"""`cmrsynth quickstart`: the whole job on the embedded phantom, in minutes on a laptop."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from cmrsynth.errors import InputError
from cmrsynth.provenance import portable_path

CMRSYNTH = [sys.executable, "-m", "cmrsynth.cli"]
TRAIN = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", "--num_machines", "1"]
TRAIN += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "cmrsynth.programs.train_rectified_flow"]


def quickstart(
    output: Annotated[Path, typer.Option(help="Folder for everything it makes.")] = Path("runs/quickstart"),
    train_minutes: Annotated[float, typer.Option(help="Minutes of training.")] = 3.5,
    num_patients: Annotated[int, typer.Option(help="Phantom patients.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
) -> Path:
    """Build the phantom data set, train a small generator, sample it, evaluate it, and write report.html.

    Interrupted, the same command goes on where it stopped. Each step is printed as the command that does it alone.
    """
    _check_same_settings(output, {"train_minutes": train_minutes, "num_patients": num_patients, "seed": seed})
    data, run = output / "data", output / "run"
    synthetic, evaluation, page = output / "synthetic", output / "evaluation", output / "report.html"
    pipeline, masks = run / "pipeline", f"{data}:train+test"
    steps = (
        ("build", data / "build.json", "build", "phantom", "--output", data, "--num-patients", num_patients,
         "--seed", seed),
        ("train", pipeline / "training.json", "--config", _config("quickstart"), "--data", data, "--output", run,
         "--max-train-minutes", train_minutes, "--seed", seed),
        ("generate", synthetic / "generate.json", "generate", "--pipeline", pipeline, "--masks", masks,
         "--output", synthetic, "--steps", 8, "--seed", seed),
        ("evaluate", evaluation / "evaluation.json", "evaluate", "--train", f"{data}:train",
         "--holdout", f"{data}:test", "--synthetic", synthetic, "--pipeline", pipeline, "--output", evaluation,
         "--segmenter-updates", 400, "--seed", seed),
        ("report", None, "report", evaluation, "--output", page, "--pipeline", pipeline),
    )  # fmt: skip
    for name, result, *words in steps:
        command = [*(TRAIN if name == "train" else CMRSYNTH), *map(str, words)]
        if result is not None and result.exists():
            typer.echo(f"[{name}] done before: {result.parent}")
            continue
        typer.secho(f"[{name}] {_shown(command)}", bold=True)
        code = subprocess.run(command, check=False).returncode
        if code:
            typer.secho(f"[{name}] failed (exit code {code}); the same command goes on from here", fg="red", err=True)
            raise typer.Exit(code)
    _show_headline(evaluation, page)
    return page


def _check_same_settings(output: Path, wanted: dict[str, float]) -> None:
    """Refuse to show results of other settings as if they were these."""
    record = output / "quickstart.json"
    if record.is_file() and (found := json.loads(record.read_text(encoding="utf-8"))) != wanted:
        raise InputError(output, f"was made with other settings ({found})", "give another --output")
    output.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(wanted) + "\n", encoding="utf-8")


def _config(name: str) -> Path:
    from importlib.resources import files

    return Path(str(files("cmrsynth.programs") / "configs" / f"{name}.yaml"))


def _shown(command: list[str]) -> str:
    """Return the command as a person would type it."""
    command = [portable_path(word) if word.endswith(".yaml") else word for word in command]
    if command[: len(CMRSYNTH)] == CMRSYNTH:
        return shlex.join(["cmrsynth", *command[len(CMRSYNTH) :]])
    return shlex.join(["accelerate", "launch", "training/train_rectified_flow.py", *command[len(TRAIN) :]])


def _show_headline(evaluation_folder: Path, report: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from cmrsynth.evaluation.figure import Evaluation

    evaluation = Evaluation.load(evaluation_folder)
    table = Table("figure", "value", "95 % interval", "real-data floor", "reads")
    for figure in evaluation.figures:
        if figure.headline and figure.value is not None:
            low, high = figure.interval or (figure.value, figure.value)
            floor = "" if figure.floor is None else f"{figure.floor:.3g}"
            table.add_row(figure.title, f"{figure.value:.3g}", f"{low:.3g} to {high:.3g}", floor, figure.verdict)
    console = Console()
    console.print(table)
    for axis, verdict in evaluation.verdict.items():
        console.print(f"{axis}: {verdict}")
    console.print(f"\nThe report: {report.resolve().as_uri()}")
