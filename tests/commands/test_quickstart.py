"""The whole job, shortened; and the command line as a person meets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cmrsynth.commands.quickstart import CMRSYNTH, TRAIN, _check_same_settings, _shown
from cmrsynth.errors import InputError
from cmrsynth.evaluation.figure import AXES, NOT_COMPUTED, Evaluation


def test_each_step_is_shown_as_the_command_that_does_it_alone() -> None:
    assert _shown([*CMRSYNTH, "report", "a folder"]) == "cmrsynth report 'a folder'"
    assert _shown([*TRAIN, "--seed", "0"]) == "accelerate launch training/train_rectified_flow.py --seed 0"


def test_a_mistake_is_one_message_and_exit_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cmrsynth.cli", "report", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr


def test_results_of_other_settings_are_not_shown_as_these(tmp_path: Path) -> None:
    _check_same_settings(tmp_path / "q", {"seed": 0})
    _check_same_settings(tmp_path / "q", {"seed": 0})
    with pytest.raises(InputError, match="made with other settings"):
        _check_same_settings(tmp_path / "q", {"seed": 1})


@pytest.mark.parametrize("command", ["build", "generate", "evaluate", "report", "quickstart"])
def test_help_names_every_option_with_a_text(command: str) -> None:
    from typer.main import get_command

    from cmrsynth.cli import app

    found = get_command(app).commands[command]
    assert found.help
    for parameter in found.params:
        assert getattr(parameter, "help", None), f"{command} {parameter.name} has no help text"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_quickstart_ends_in_a_report_and_is_not_done_twice(tmp_path: Path) -> None:
    command = [*CMRSYNTH, "quickstart", "--output", str(tmp_path), "--train-minutes", "0.3", "--num-patients", "20"]
    assert subprocess.run(command, check=False).returncode == 0
    assert "<html" in (tmp_path / "report.html").read_text()
    assert "model-index" in (tmp_path / "run" / "pipeline" / "README.md").read_text()
    evaluation = Evaluation.load(tmp_path / "evaluation")
    assert {f.axis for f in evaluation.figures if f.verdict != NOT_COMPUTED} == set(AXES)
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert again.stdout.count("done before") == 4
