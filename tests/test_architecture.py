"""Dependencies point one way, what ships stands alone, and importing the command line stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from cmrsynth.hub.export import check_standalone

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "cmrsynth"
# what each folder may import of the project, beside itself and the modules directly under cmrsynth
ALLOWED = {
    "data": {"metrics"},
    "flow": set(),
    "gan": set(),
    "models": set(),
    "metrics": set(),
    "attacks": {"metrics"},
    "hub": {"models", "pipelines", "evaluation", "report", "data", "metrics"},
    "generation": {"data", "hub"},
    "training": {"data", "flow", "gan", "metrics", "models", "pipelines", "hub"},
    "evaluation": {"data", "metrics", "attacks"},
    "certification": {"evaluation", "metrics", "attacks", "data"},
    "report": {"evaluation", "data"},
    "comparison": {"data", "evaluation", "generation", "hub", "pipelines", "report", "training"},
    "commands": {"data", "evaluation", "certification", "comparison", "generation", "hub", "report", "training"},
}


def project_imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cmrsynth"):
            names |= {f"{node.module}.{a.name}" for a in node.names} if node.module == "cmrsynth" else {node.module}
        elif isinstance(node, ast.Import):
            names |= {a.name for a in node.names if a.name.startswith("cmrsynth")}
    return {name.split(".")[1] for name in names if "." in name}


@pytest.mark.parametrize("folder", sorted(ALLOWED))
def test_arrows_never_point_back(folder: str) -> None:
    folders = {p.name for p in SOURCE.iterdir() if p.is_dir()} | {"pipelines", "programs", "model_cards", "cli"}
    for path in (SOURCE / folder).glob("*.py"):
        foreign = (project_imports(path) & folders) - ALLOWED[folder] - {folder}
        assert not foreign, f"{path.relative_to(ROOT)} imports {sorted(foreign)}"


def test_every_folder_has_its_rule() -> None:
    assert {p.name for p in SOURCE.iterdir() if (p / "__init__.py").is_file()} == set(ALLOWED)


@pytest.mark.parametrize(
    "path", [*sorted((ROOT / "pipelines").glob("pipeline_*.py")), *sorted((SOURCE / "models").glob("[!_]*.py"))],
    ids=lambda p: p.name,
)  # fmt: skip
def test_what_ships_stands_alone(path: Path) -> None:
    check_standalone(path)


@pytest.mark.parametrize("path", sorted((SOURCE / "metrics").glob("[!_]*.py")), ids=lambda p: p.name)
def test_metrics_travel_without_the_package(path: Path) -> None:
    """A metric goes to a Space with its siblings alone, and `evaluate` reads its imports line by line."""
    assert not project_imports(path), f"{path.name} imports of cmrsynth; import siblings as `from .name import ...`"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1, f"{path.name}:{node.lineno} imports from above the folder of metrics"
            assert node.module, f"{path.name}:{node.lineno} `from . import x` is not seen by `evaluate`"
            line = path.read_text(encoding="utf-8").splitlines()[node.lineno - 1]
            assert "#" not in line, f"{path.name}:{node.lineno} `evaluate` takes the comment for an address"
        elif isinstance(node, ast.Import):
            assert len(node.names) == 1, f"{path.name}:{node.lineno} `evaluate` reads one import a line"


def test_labels_that_metrics_repeat_are_those_of_the_project() -> None:
    from cmrsynth import labels
    from cmrsynth.metrics import anatomy, overlap

    assert (anatomy.LV, anatomy.MYO, anatomy.RV) == (labels.LV, labels.MYO, labels.RV)
    assert overlap.BACKGROUND == labels.BACKGROUND


def test_the_command_line_loads_nothing_heavy() -> None:
    heavy = ("torch", "monai", "datasets", "sklearn", "evaluate")
    program = f"import sys, cmrsynth.cli; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_no_machine_path_or_private_folder_is_named() -> None:
    for pattern in ("src/**/*.py", "pipelines/*.py", "training/**/*", "datasets_scripts/**/*.py", "*.md", "Makefile"):
        for path in ROOT.glob(pattern):
            if path.is_file() and path.suffix != ".pyc":
                text = path.read_text(encoding="utf-8")
                assert "/work/" not in text, path
                assert "../shared" not in text, path
