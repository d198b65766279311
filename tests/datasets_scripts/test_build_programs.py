from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from cmrsynth.data.sources import SOURCES

PROGRAMS = Path(__file__).resolve().parents[2] / "datasets_scripts"


def run(name, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", [f"build_{name}.py", *map(str, words)])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(PROGRAMS / f"build_{name}.py"), run_name="__main__")
    return exit_.value.code or 0


def test_every_source_has_a_thin_program_and_every_program_a_source():
    programs = sorted(PROGRAMS.glob("build_*.py"))
    assert {path.stem for path in programs} == {f"build_{name}" for name in SOURCES}
    assert all(len(path.read_text().splitlines()) <= 40 for path in programs)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_program_states_its_usage_and_takes_help(name, monkeypatch, capsys):
    assert run(name, monkeypatch, "--help") == 0
    assert "--localiser" in capsys.readouterr().out
    assert f"python datasets_scripts/build_{name}.py" in (PROGRAMS / f"build_{name}.py").read_text()


def test_phantom_program_builds(tmp_path, monkeypatch):
    assert run("phantom", monkeypatch, "--output", tmp_path / "phantom", "--num-patients", 3, "--size", 32) == 0
    assert (tmp_path / "phantom" / "README.md").is_file()
