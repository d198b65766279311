"""Load an exported pipeline with the classes of this package: no code from the folder or the Hub is run."""

from __future__ import annotations

import json
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import diffusers
import torch
from diffusers import DiffusionPipeline

from cmrsynth.errors import InputError
from cmrsynth.models import MODELS

Pipeline = TypeVar("Pipeline", bound=DiffusionPipeline)
STOCK_SCHEDULERS = (  # of diffusers; they hold no weights
    "FlowMatchEulerDiscreteScheduler",
    "DDPMScheduler",
    "DDIMScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
)
STOCK_NETWORKS = {  # of other libraries, by the library named in the index
    "AutoencoderKL": "diffusers",
    "CLIPTextModel": "transformers",
    "CLIPTextModelWithProjection": "transformers",
}
TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt")  # what decides how a prompt is read
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def pipeline_folder(location: str | Path, **hub_options: Any) -> Path:
    """Return the local folder of a pipeline: `location` itself, or the downloaded copy of a Hub id.

    Code and pickles are not downloaded.

    Raises:
        InputError: `location` is neither.
    """
    folder = Path(location)
    if (folder / "model_index.json").is_file():
        return folder
    if folder.exists() or str(location).count("/") != 1 or str(location).startswith((".", "/", "~")):
        raise InputError(location, "no pipeline here (no model_index.json)", "give the `pipeline` folder of a run")
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(str(location), ignore_patterns=["*.py", *PICKLES], **hub_options))


def local_loading(pipeline_class: type[Pipeline]) -> type[Pipeline]:
    """Return `pipeline_class` with a `from_pretrained` that uses this package's classes and needs no remote code.

    diffusers refuses a folder that carries code unless `trust_remote_code=True`, even if the class is installed.
    """

    def from_pretrained(
        cls: type[Pipeline],
        pretrained_model_name_or_path: str | Path,
        *,
        dtype: torch.dtype | None = None,
        torch_dtype: torch.dtype | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        **overrides: Any,
    ) -> Pipeline:
        """Load a pipeline from a folder or a Hub id; components and settings given by name replace the saved ones."""
        folder = pipeline_folder(
            pretrained_model_name_or_path,
            **{"revision": revision, "token": token, "cache_dir": cache_dir, "local_files_only": local_files_only},
        )
        index = _read_index(folder)
        if _class_name(index) != cls.__name__:
            raise InputError(
                folder, f"this is a {_class_name(index)}", f"load it with {_class_name(index)}.from_pretrained"
            )
        parts = {
            name: overrides[name] if name in overrides else _load_part(folder / name, entry[1])
            for name, entry in index.items()
            if isinstance(entry, list) and not name.startswith("_") and entry[1] is not None
        }
        settings = {k: v for k, v in index.items() if not k.startswith("_") and not isinstance(v, list)}
        pipeline = cls(**{**settings, **parts, **overrides})
        dtype = dtype or torch_dtype
        return pipeline if dtype is None else pipeline.to(dtype=dtype)

    pipeline_class.from_pretrained = classmethod(from_pretrained)
    return pipeline_class


def load_pipeline(location: str | Path) -> DiffusionPipeline:
    """Return whichever of this project's pipelines lies in a folder or under a Hub id, ready to sample.

    Raises:
        InputError: it is no pipeline of this project, or its weights are incomplete.
    """
    from cmrsynth import pipelines

    folder = pipeline_folder(location)
    name = _class_name(_read_index(folder))
    if name not in pipelines.__all__:
        raise InputError(location, f"pipeline class {name!r}", f"use one of {sorted(pipelines.__all__)}")
    return getattr(pipelines, name).from_pretrained(folder)


def pipeline_hash(location: str | Path) -> str:
    """Return a hash of everything that decides the samples: the index, the configurations and the weights."""
    folder, digest = pipeline_folder(location), sha256()
    for path in sorted(folder.rglob("*")):
        if path.name in ("model_index.json", "config.json", "scheduler_config.json"):
            settings = json.loads(path.read_text(encoding="utf-8"))  # names with _ say who wrote it, not what it is
            content = json.dumps({k: v for k, v in settings.items() if k[0] != "_"}, sort_keys=True).encode()
        elif path.suffix == ".safetensors" or path.name in TOKENIZER_FILES:
            content = path.read_bytes()
        else:
            continue
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _read_index(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "model_index.json").read_text(encoding="utf-8"))


def _class_name(index: dict[str, Any]) -> str:
    name = index["_class_name"]
    return name[-1] if isinstance(name, list) else name


def _load_part(folder: Path, class_name: str) -> Any:
    if class_name in STOCK_SCHEDULERS:
        return getattr(diffusers, class_name).from_pretrained(folder)
    if class_name in TOKENIZERS:
        return getattr(import_module("transformers"), class_name).from_pretrained(folder)
    if class_name in STOCK_NETWORKS:
        part_class = getattr(import_module(STOCK_NETWORKS[class_name]), class_name)
    elif class_name in MODELS:
        part_class = MODELS[class_name]
    else:
        raise InputError(folder, f"class {class_name!r} is no part of this project's pipelines", "export it again")
    part, info = part_class.from_pretrained(folder, use_safetensors=True, output_loading_info=True)
    if info["missing_keys"] or info["unexpected_keys"]:
        raise InputError(folder, f"the weights do not fit the configuration: {info}", "export the pipeline again")
    return part.eval()
