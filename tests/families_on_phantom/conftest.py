"""One phantom, one judge and one training of each family for all tests of this folder."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


families = _module("families")


def _phantom(folder: Path, patients: int) -> Path:
    """Patients of four vendors at 32x32; the seed of the build is the program's default."""
    command = [sys.executable, "-m", "cmrsynth.cli", "build", "phantom", "--size", "32", "--spacing", "4.0"]
    subprocess.run([*command, "--num-patients", str(patients), "--output", str(folder)], check=True)
    return folder


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 patients."""
    return _phantom(tmp_path_factory.mktemp("phantom") / "data", 40)


@pytest.fixture(scope="session")
def large_phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 patients: what it takes for real images of a vendor to be recognised."""
    return _phantom(tmp_path_factory.mktemp("large_phantom") / "data", 120)


@pytest.fixture(scope="session")
def judge(phantom: Path, tmp_path_factory: pytest.TempPathFactory):
    """Dice and Frechet distance: `judge.Judge`."""
    return _module("judge").make_judge(phantom, tmp_path_factory.mktemp("judge"))


@pytest.fixture(scope="session")
def untrained(phantom: Path, tmp_path_factory: pytest.TempPathFactory, trained_folder: Path) -> Callable:
    """A function from the name of a family to its run, of which no step is done."""
    return lambda name: families.untrained(name, phantom, trained_folder)


@pytest.fixture
def trained_on_large(large_phantom: Path, tmp_path: Path) -> Callable[[str, int], Path]:
    """A function from the name of a family and a number of steps to the folder of a pipeline of the large phantom."""

    def pipeline(name: str, steps: int) -> Path:
        run = families.untrained(name, large_phantom, tmp_path, steps)
        return families.finished(run, tmp_path / name / "pipeline")

    return pipeline


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run folders of all families lie."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="session")
def trained(untrained, trained_folder: Path) -> Callable[[str], Path]:
    """A function from the name of a family to the folder of its pipeline, trained when it is first asked for."""

    def pipeline(name: str) -> Path:
        folder = trained_folder / name / "pipeline"
        if folder.exists():
            return folder
        needs = families.FAMILIES[name].needs
        if needs:
            pipeline(needs[1])
        return families.finished(untrained(name), folder)

    return pipeline


@pytest.fixture(params=[name for name, family in families.FAMILIES.items() if family.distance is not None])
def family(request: pytest.FixtureRequest):
    """Name and training of each family that makes new images."""
    return request.param, families.FAMILIES[request.param]
