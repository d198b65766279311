"""A metric as a Space of the Hub: the module with the files it imports, a card, and an app to try it."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import sys
from importlib.metadata import requires, version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from cmrsynth.errors import InputError

if TYPE_CHECKING:
    import evaluate

GRADIO = "6.31.0"
PYPI_NAMES = {"sklearn": "scikit-learn", "PIL": "pillow", "skimage": "scikit-image"}
METRICS = Path(str(files("cmrsynth.metrics")))


def metric_names() -> list[str]:
    """Return the names of all metrics, such as "cmr_fid"."""
    return sorted(path.stem for path in METRICS.glob("cmr_*.py"))


def export_metric(name: str, folder: Path, *, repo_id: str | None = None) -> Path:
    """Write the Space of a metric, whole or not at all, and return `folder`.

    `evaluate.load(folder / "<name>.py")` works without cmrsynth, where the packages of `requirements.txt` are.

    Args:
        name: one of `metric_names()`.
        folder: where to; an earlier export of the same metric there is replaced.
        repo_id: where it will be published, for the card's example.

    Raises:
        InputError: there is no such metric, or `folder` holds something else.
        ValueError: the module lacks a file that its siblings import.
    """
    folder = Path(folder)
    if name not in metric_names():
        raise InputError(name, "no such metric", f"give one of {', '.join(metric_names())}")
    if folder.exists() and not (folder / f"{name}.py").is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(folder, f"holds something else than an export of {name}", "give a new folder")
    shipped = [name, *siblings(METRICS / f"{name}.py")]
    check_closure(name)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for stem in shipped:
        shutil.copyfile(METRICS / f"{stem}.py", partial / f"{stem}.py")
    needed = requirements([METRICS / f"{stem}.py" for stem in shipped])
    (partial / "requirements.txt").write_text("\n".join(needed) + "\n", encoding="utf-8")
    (partial / "app.py").write_text(_rendered("app.jinja", name=name), encoding="utf-8")
    (partial / "README.md").write_text(metric_card(name, needed, repo_id or f"OWNER/{name}"), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)
    return folder


def check_repo_id(name: str, repo_id: str) -> None:
    """Raise InputError unless a Space is named like its metric: `evaluate` looks for `<name>.py` in `owner/name`."""
    if not re.fullmatch(rf"[\w.-]+/{name}", repo_id):
        raise InputError(repo_id, f"no place for {name}: `evaluate` would not find it", f"name it OWNER/{name}")


def publish_metric(folder: Path, repo_id: str, *, private: bool = True) -> str:
    """Upload an exported metric as a Space and return its address.

    Code that an earlier version left in the Space is removed.

    Args:
        folder: what `export_metric` wrote.
        repo_id: `owner/name`, with the metric's own name, because `evaluate` looks for `<name>.py` in `owner/name`.
        private: refuses to write into a Space that is public.

    Raises:
        InputError: the folder holds no metric or strange files, the name is another one, or the Space is public.
    """
    from huggingface_hub import HfApi

    folder, name = Path(folder), repo_id.split("/")[-1]
    check_repo_id(name, repo_id)
    if not (folder / f"{name}.py").is_file():
        raise InputError(folder, f"holds no {name}", f"write it first, with `cmrsynth export-metric {name}`")
    shipped = {f"{stem}.py" for stem in (name, "app", *siblings(folder / f"{name}.py"))}
    if strangers := sorted({path.name for path in folder.iterdir()} - shipped - {"README.md", "requirements.txt"}):
        raise InputError(folder, f"files that do not belong there: {', '.join(strangers[:5])}", "export it again")
    api = HfApi()
    address = api.create_repo(repo_id, repo_type="space", space_sdk="gradio", private=private, exist_ok=True)
    if private and not api.repo_info(repo_id, repo_type="space").private:
        raise InputError(repo_id, "this Space is public", "make it private on the Hub, or publish it as public")
    api.upload_folder(
        repo_id=repo_id,
        repo_type="space",
        folder_path=folder,
        delete_patterns=["*.py"],
        commit_message="Publish with cmrsynth",
    )
    return str(address)


def siblings(source: Path) -> list[str]:
    """Return the files beside `source` that it imports itself, sorted, without suffix."""
    nodes = ast.walk(ast.parse(source.read_text(encoding="utf-8")))
    return sorted({node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level and node.module})


def check_closure(name: str) -> None:
    """Raise ValueError unless a metric imports exactly the files that it and its siblings need.

    `evaluate` copies what the module itself imports, and nothing that those files import in turn.
    """
    direct, needed = set(siblings(METRICS / f"{name}.py")), set()
    waiting = list(direct)
    while waiting:
        stem = waiting.pop()
        if stem not in needed:
            needed.add(stem)
            waiting += siblings(METRICS / f"{stem}.py")
    if lacking := sorted(needed - direct):
        raise ValueError(f"{name}.py must import from {lacking} itself, because its siblings do")


def requirements(sources: list[Path]) -> list[str]:
    """Return the packages that files import, as they are named on PyPI, with the versions that cmrsynth asks for.

    Imports in a `try` (optional) and for type checking are left out.
    """
    asked = {re.split(r"[^\w.-]", line)[0].lower(): line for line in requires("cmrsynth") or [] if ";" not in line}
    found = set()
    for source in sources:
        found |= _imported(ast.parse(source.read_text(encoding="utf-8")))
    names = sorted(PYPI_NAMES.get(package, package) for package in found - set(sys.stdlib_module_names))
    return [asked.get(name.lower(), name) for name in names]


def metric_card(name: str, needed: list[str], location: str) -> str:
    """Return the README of a metric's Space; every fact in it is read from the module.

    Args:
        name: one of `metric_names()`.
        needed: the lines of `requirements.txt`.
        location: what `evaluate.load` is to be given, `owner/name`.
    """
    from huggingface_hub import SpaceCardData

    module, metric = _loaded(name)
    title = (module.__doc__ or name).strip().removesuffix(" as an `evaluate` module.")
    description = metric.description.strip()
    data = SpaceCardData(
        title=name,
        sdk="gradio",
        sdk_version=GRADIO,
        app_file="app.py",
        license="apache-2.0",
        tags=["evaluate", "metric", "medical", "cardiac-mri", "synthetic-data"],
        description=" ".join(description.split("\n\n")[0].split()),
    )
    return _rendered(
        "space.md",
        card_data=data.to_yaml().rstrip(),
        name=name,
        title=title,
        description=description,
        requirements=" ".join(re.split(r"[^\w.-]", line)[0] for line in needed),
        location=location,
        columns=", ".join(f"{column}=..." for column in metric.kinds),
        inputs=metric.inputs_description.strip(),
        citation=metric.citation.strip(),
        references=", ".join(f"<{url}>" for url in metric.info.reference_urls),
        version=version("cmrsynth"),
    )


def _loaded(name: str) -> tuple[object, evaluate.Metric]:
    import evaluate

    module = importlib.import_module(f"cmrsynth.metrics.{name}")
    classes = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, evaluate.Metric)]
    return module, classes[0]()


def _rendered(template: str, **facts: str) -> str:
    import jinja2

    text = (files("cmrsynth.model_cards") / "metrics" / template).read_text(encoding="utf-8")
    strict = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return strict.from_string(text).render(**facts)


def _imported(tree: ast.AST) -> set[str]:
    """Top-level names of the packages that a file imports where it must."""
    found = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Try) or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            continue
        else:
            found |= _imported(node)
    return found
