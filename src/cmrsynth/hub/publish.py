"""Publishing to the Hub: the only place that uploads, and the last one that can say no."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmrsynth.errors import InputError
from cmrsynth.evaluation.figure import DO_NOT_SHARE
from cmrsynth.hub.cards import VERDICT_KEY
from cmrsynth.schema import OLDEST_AGE

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# Lists of what may travel: a weight file that is a pickle runs code when it is read, and a raw file in a data set
# folder can name patients.
MODEL_FILES = {".json", ".safetensors", ".py", ".md", ".png", ".yaml"}
DATASET_FILES = {".parquet", ".json", ".md", ".png", ".safetensors"}
PICKLED_WEIGHTS = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
PLAIN_NAMES = {"LICENSE", "NOTICE", ".gitattributes"}


def publish_pipeline(
    folder: Path, repo_id: str, *, private: bool = True, acknowledge_privacy_risk: bool = False
) -> str:
    """Upload an exported pipeline with its card and return its address.

    Code that an earlier version left in the repository is removed.

    Args:
        folder: what `export_pipeline` wrote, with `README.md` from `cmrsynth.hub.cards.model_card`.
        repo_id: `owner/name`; created if there is none.
        private: refuses to write into a repository that is public.
        acknowledge_privacy_risk: publish although the card's verdict on privacy is "do not share".

    Raises:
        InputError: it is no pipeline, has no card, holds weights that are not safetensors or files that do not
            belong to a pipeline, its verdict on privacy forbids it, or the repository is public.
    """
    folder = Path(folder)
    if not (folder / "model_index.json").is_file():
        raise InputError(folder, "no pipeline here (no model_index.json)", "give the `pipeline` folder of a run")
    for path in _files(folder):
        if path.suffix.lower() in PICKLED_WEIGHTS:
            raise InputError(
                path, "weights that are not safetensors can run code when read", "export the pipeline again"
            )
    _only(folder, MODEL_FILES, "give the folder that `export_pipeline` wrote, and nothing else in it")
    verdict = _card(folder).get(VERDICT_KEY, {}).get("privacy")
    if verdict == DO_NOT_SHARE and not acknowledge_privacy_risk:
        raise InputError(
            folder,
            f'the evaluation says "{DO_NOT_SHARE}" on privacy: the model may give away its training patients',
            "train on more patients or for fewer steps; whoever answers for the data may pass "
            "acknowledge_privacy_risk=True",
        )
    return _upload(folder, repo_id, repo_type="model", private=private, delete_patterns=["*.py"])


def publish_dataset(folder: Path, repo_id: str, *, private: bool = True) -> str:
    """Upload a data set made by `cmrsynth build` or `cmrsynth generate` and return its address.

    Parquet files that an earlier version left in the repository are removed.

    Args:
        folder: `README.md`, `data/*.parquet` and the records beside them.
        repo_id: `owner/name`; created if there is none.
        private: refuses to write into a repository that is public.

    Raises:
        InputError: the folder holds a linking table or other files that could name patients, states exact ages above
            the limit, was cropped with its own test masks, is no data set, has no card, or the repository is public.
    """
    folder = Path(folder)
    for path in _files(folder):
        if "linking" in path.name.lower():
            raise InputError(path, "a table that links pseudonyms to patients", "move it out of the data set's folder")
    _only(folder, DATASET_FILES, "move everything out that `cmrsynth build` or `cmrsynth generate` did not write")
    if not list(folder.glob("data/*.parquet")):
        raise InputError(folder, "no data set here (no data/*.parquet)", "give a folder made by `cmrsynth build`")
    _check_ages(folder)
    _card(folder)
    warnings = _warnings(folder)
    if warnings:
        raise InputError(folder, "; ".join(warnings), "build it again with a localiser that sees no masks")
    return _upload(folder, repo_id, repo_type="dataset", private=private, delete_patterns=["*.parquet"])


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


def _only(folder: Path, suffixes: set[str], mend: str) -> None:
    strangers = [
        path.relative_to(folder).as_posix()
        for path in _files(folder)
        if path.suffix.lower() not in suffixes and path.name not in PLAIN_NAMES
    ]
    if strangers:
        raise InputError(folder, f"files that do not belong there: {', '.join(strangers[:5])}", mend)


def _check_ages(folder: Path) -> None:
    """Refuse ages that single patients out; `cmrsynth build` writes none, but a table can be changed afterwards."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for path in folder.glob("data/*.parquet"):
        if "age" in pq.read_schema(path).names:
            oldest = pc.max(pq.read_table(path, columns=["age"])["age"]).as_py()
            if oldest is not None and oldest > OLDEST_AGE:
                raise InputError(
                    path,
                    f"an age of {oldest:g} years: exact ages above {OLDEST_AGE - 1} single patients out",
                    f"write {OLDEST_AGE} for {OLDEST_AGE} and more, as `cmrsynth build` does",
                )


def _card(folder: Path) -> dict[str, Any]:
    """The front matter of the folder's card."""
    from huggingface_hub import RepoCard

    path = folder / "README.md"
    if not path.is_file():
        raise InputError(folder, "no card (README.md)", "write one first, with `cmrsynth.hub.cards.model_card`")
    return RepoCard.load(path, ignore_metadata_errors=False).data.to_dict()


def _warnings(folder: Path) -> list[str]:
    """What the build itself says against the data set, such as a crop that used the test masks."""
    record = folder / "build.json"
    return json.loads(record.read_text(encoding="utf-8")).get("warnings", []) if record.is_file() else []


def _upload(folder: Path, repo_id: str, *, repo_type: str, private: bool, delete_patterns: list[str]) -> str:
    from huggingface_hub import HfApi

    api = HfApi()
    address = api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True)
    _check_private(api, repo_id, repo_type, private)
    api.upload_folder(
        repo_id=repo_id,
        repo_type=repo_type,
        folder_path=folder,
        delete_patterns=delete_patterns,
        commit_message="Publish with cmrsynth",
    )
    return str(address)


def _check_private(api: HfApi, repo_id: str, repo_type: str, private: bool) -> None:
    """A repository that existed before keeps its visibility, whatever was asked."""
    if private and not api.repo_info(repo_id, repo_type=repo_type).private:
        raise InputError(repo_id, "this repository is public", "make it private on the Hub, or pass private=False")
