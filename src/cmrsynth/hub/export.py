"""Turn a pipeline in memory into a folder that loads with torch and diffusers alone.

The one source of a shipped class is its module in this project; a copy travels with the weights.
"""

from __future__ import annotations

import ast
import inspect
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from diffusers import DiffusionPipeline

Pipeline = TypeVar("Pipeline", bound=DiffusionPipeline)
SHIPPABLE = {"torch", "numpy", "PIL", "diffusers"}
HUB_OPTIONS = {"commit_message", "private", "create_pr", "token"}  # of `save_pretrained(..., push_to_hub=True)`


def check_standalone(source: Path) -> None:
    """Raise ValueError if a file that travels to the Hub imports anything its reader may not have."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = ["." * node.level + (node.module or "")]
        for name in names:
            if name.split(".")[0] not in SHIPPABLE | sys.stdlib_module_names:
                raise ValueError(
                    f"{source.name}:{node.lineno} imports {name!r}; a shipped file may import only the standard "
                    f"library and {sorted(SHIPPABLE)}"
                )


def ship_code(pipeline: DiffusionPipeline, folder: Path) -> None:
    """Put the code of a saved pipeline's custom classes beside their weights, and name it in `model_index.json`.

    Raises:
        ValueError: a custom class is in a file that imports what its reader may not have.
    """
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    index.pop("_name_or_path", None)
    for name, part in {"": pipeline, **pipeline.components}.items():
        part = getattr(part, "_orig_mod", part)  # what torch.compile wraps is saved as itself
        if part is None or type(part).__module__.split(".")[0] in {"diffusers", "transformers"}:
            continue
        source = Path(inspect.getfile(type(part)))
        check_standalone(source)
        shutil.copyfile(source, folder / name / source.name)
        index[name or "_class_name"] = [source.stem, type(part).__name__]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for path in folder.glob("*/config.json"):  # diffusers notes where a part was loaded from on this machine
        settings = json.loads(path.read_text(encoding="utf-8"))
        if settings.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def export_pipeline(pipeline: DiffusionPipeline, folder: Path, files: Mapping[str, str] | None = None) -> Path:
    """Save `pipeline` with the code of its custom classes, whole or not at all, and return `folder`.

    The folder loads with `DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)` where only torch and
    diffusers are installed. `files` are further text files to put beside it, by name.

    Raises:
        ValueError: a custom class is in a file that imports what its reader may not have.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    DiffusionPipeline.save_pretrained(pipeline, partial, safe_serialization=True)
    ship_code(pipeline, partial)
    for name, text in (files or {}).items():
        (partial / name).write_text(text + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)
    return folder


def portable_saving(pipeline_class: type[Pipeline]) -> type[Pipeline]:
    """Return `pipeline_class` with a `save_pretrained`, and so a `push_to_hub`, that ships its code.

    That of diffusers writes class names which only this package can find.
    """

    def save_pretrained(
        self: Pipeline,
        save_directory: str | Path,
        safe_serialization: bool = True,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        **options: Any,
    ) -> None:
        """Save the pipeline as diffusers does, with the code of its classes; see `DiffusionPipeline.save_pretrained`.

        Raises:
            ValueError: weights are asked for as a pickle.
        """
        if not safe_serialization:
            raise ValueError("a pickle can run code when it is read; leave safe_serialization=True")
        hub = {name: options.pop(name) for name in HUB_OPTIONS & set(options)}
        DiffusionPipeline.save_pretrained(self, save_directory, **options)
        ship_code(self, Path(save_directory))
        if push_to_hub:
            self.push_to_hub(repo_id or Path(save_directory).name, **hub)

    pipeline_class.save_pretrained = save_pretrained
    return pipeline_class
