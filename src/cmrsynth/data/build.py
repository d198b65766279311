"""Building a data set: patients in, one folder of Parquet files with a card and a record out.

Patients are streamed, one study in memory at a time. Everything is written beside the final place and moved
there at the end: a build that fails or is interrupted leaves nothing under `output`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import cmrsynth
from cmrsynth.data.card import dataset_card
from cmrsynth.data.preprocessing import Step, apply, slice_levels
from cmrsynth.data.pseudonyms import conceal, linking_table_path, pseudonyms, write_linking_table
from cmrsynth.data.scalars import with_measured_scalars
from cmrsynth.data.shards import ShardWriter, study_rows
from cmrsynth.data.splits import SPLITS, check_disjoint, image_digests, split_digest
from cmrsynth.data.study import PatientEntry, Study
from cmrsynth.errors import InputError
from cmrsynth.schema import SCALARS

if TYPE_CHECKING:
    from cmrsynth.data.sources import Source

RECORD = "build.json"
RECORDED_PACKAGES = ("numpy", "scipy", "scikit-image", "datasets", "pyarrow", "pillow")


@dataclass
class _Progress:
    """What has been built so far; becomes build.json."""

    patients: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    slices: Counter = field(default_factory=Counter)  # (split, vendor, pathology, phase) to slices
    at_border: Counter = field(default_factory=Counter)  # split to slices whose labels touch the border
    scalars: Counter = field(default_factory=Counter)  # (name, how it is known) to patients
    labels: set[tuple[int, ...]] = field(default_factory=set)
    left_out: list[dict[str, str]] = field(default_factory=list)
    digests: dict[str, list[bytes]] = field(default_factory=dict)


def build_dataset(
    entries: Sequence[PatientEntry],
    steps: Sequence[Step],
    *,
    splits: Mapping[str, Sequence[str]],
    source: Source,
    output: Path,
    seed: int = 0,
    on_error: str = "raise",
    overwrite: bool = False,
    split_rule: str = "given patient lists",
    attachments: Mapping[str, bytes] | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Build a data set in the schema of `cmrsynth.schema` and return its folder.

    The folder holds `data/<split>-*.parquet`, `README.md` (the card), `build.json` (the record) and
    `attachments`; `datasets.load_dataset(folder)` reads it. Beside it, `<output>.linking-table.csv` links
    pseudonyms to the source's identifiers; keep it apart. The same input and seed give the same bytes.

    Args:
        entries: the patients.
        steps: preprocessing, in order; the last intensity step leaves images in [0, 1].
        splits: split name (train, validation, test) to patient ids of `entries`.
        source: what the card says about the origin.
        output: the folder to make.
        seed: orders the pseudonyms; recorded.
        on_error: "raise" stops at the first bad patient; "skip" builds the rest and lists what was left out.
        overwrite: replace a data set built before at `output`.
        split_rule: one sentence for the card on how `splits` came about.
        attachments: further files of the folder, such as a fitted localiser; their hashes are recorded.
        notes: further warnings for the card, such as an assumed pixel spacing.

    Raises:
        InputError: a patient cannot be read (with on_error="raise"), nothing is left, two splits share a
            patient or an image, or `output` exists.
    """
    if on_error not in ("raise", "skip"):
        raise InputError("on-error", f"unknown way {on_error!r}", "use raise or skip")
    _check_splits(entries, splits)
    names = pseudonyms([entry.patient_id for entry in entries], source=source.name, seed=seed)
    progress = _Progress()
    with _staged(output, overwrite=overwrite) as folder:
        written = _write_splits(entries, steps, splits, names, progress, folder / "data", on_error=on_error)
        record = {
            **_record(progress, written, source, steps),
            "seed": seed,
            "split_rule": split_rule,
            "notes": [conceal(note, names) for note in notes],
            "attachments": {name: hashlib.sha256(data).hexdigest() for name, data in (attachments or {}).items()},
            "left_out": [_public(item, names) for item in progress.left_out],
        }
        for name, data in (attachments or {}).items():
            (folder / name).write_bytes(data)
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(dataset_card(record, source), encoding="utf-8")
        _write_links(output, splits, names, progress.left_out)
    return output


def _check_splits(entries: Sequence[PatientEntry], splits: Mapping[str, Sequence[str]]) -> None:
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown:
        raise InputError("splits", f"unknown splits {unknown}", f"use {', '.join(SPLITS)}")
    missing = {p for patients in splits.values() for p in patients} - {entry.patient_id for entry in entries}
    if missing:
        raise InputError("splits", f"unknown patients {sorted(missing)[:5]}", "write ids as the source does")
    check_disjoint(splits)


def check_output(output: Path, *, overwrite: bool) -> None:
    """Refuse an output folder that exists, or that `overwrite` would destroy though it is no data set of ours.

    Raises:
        InputError: it is refused.
    """
    if output.exists() and not overwrite:
        raise InputError(output, "this folder exists already", "choose another --output, or add --overwrite")
    if output.exists() and not (output / RECORD).is_file() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(
            output, "not a data set built by cmrsynth, so it is not overwritten", "choose another --output"
        )


@contextmanager
def _staged(output: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a folder that becomes `output` if all goes well, and is removed if not."""
    if output.exists() and not overwrite:
        raise InputError(output, "this folder exists already", "choose another --output, or add --overwrite")
    if output.exists() and not (output / RECORD).is_file() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(
            output, "not a data set built by cmrsynth, so it is not overwritten", "choose another --output"
        )
    staged = output.with_name(f"{output.name}.partial-{os.getpid()}")
    retired = output.with_name(f"{output.name}.replaced-{os.getpid()}")
    try:
        (staged / "data").mkdir(parents=True)
        yield staged
        if output.exists():
            output.rename(retired)
        staged.rename(output)
    finally:
        if staged.exists():
            shutil.rmtree(staged)
        if retired.exists():
            shutil.rmtree(retired)


def _write_splits(
    entries: Sequence[PatientEntry],
    steps: Sequence[Step],
    splits: Mapping[str, Sequence[str]],
    names: Mapping[str, str],
    progress: _Progress,
    folder: Path,
    *,
    on_error: str,
) -> dict[str, dict]:
    from rich.progress import track

    by_id = {entry.patient_id: entry for entry in entries}
    written: dict[str, dict] = {}
    for split in [split for split in SPLITS if splits.get(split)]:
        writer = ShardWriter(folder, split)
        try:
            for patient in track(sorted(splits[split], key=names.__getitem__), description=f"building {split}"):
                try:
                    rows = _patient_rows(by_id[patient], steps, split, names, progress)
                except InputError as error:
                    if on_error == "raise":
                        raise
                    progress.left_out.append(
                        {"patient_id": patient, "split": split, "what": error.what, "message": str(error)}
                    )
                    continue
                writer.write(rows)
                progress.patients[split].append(names[patient])
            shards = writer.close()
        finally:
            writer.abandon()
        if writer.num_rows:
            hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in shards}
            written[split] = {"slices": writer.num_rows, "num_bytes": writer.num_bytes, "files": hashes}
    if not written:
        reasons = "; ".join(item["message"] for item in progress.left_out[:3])
        raise InputError("build", f"no patient could be built ({reasons})", "repair the files named here")
    return written


def _patient_rows(
    entry: PatientEntry, steps: Sequence[Step], split: str, names: Mapping[str, str], progress: _Progress
) -> list[dict]:
    """Return the rows of one patient and count them; nothing is counted when the patient is refused."""
    study = with_measured_scalars(entry.load())
    digests = image_digests(study)
    check_disjoint({split: [entry.patient_id]}, {**progress.digests, entry.patient_id: digests})
    levels = slice_levels(study)
    prepared = apply(steps, study)
    rows = list(study_rows(prepared, patient_id=names[entry.patient_id], levels=levels))
    progress.digests[entry.patient_id] = digests
    progress.labels.add(tuple(sorted(study.annotated_labels)))
    progress.scalars.update((name, _how_known(name, study)) for name in SCALARS)
    progress.at_border[split] += _labels_at_border(prepared)
    progress.slices.update((split, row["vendor"], row["pathology"], row["phase"]) for row in rows)
    return rows


def _how_known(name: str, study: Study) -> str:
    if name not in study.scalars:
        return "unknown"
    return "measured" if name in study.measured_scalars else "stated"


def _labels_at_border(study: Study) -> int:
    """Return how many slices have a label on their outermost pixels: the crop probably cut the heart."""
    count = 0
    for volume in study.volumes:
        edge = np.ones(volume.mask.shape[-2:], bool)
        edge[1:-1, 1:-1] = False
        count += int((volume.mask[:, edge] > 0).any(axis=1).sum())
    return count


def _record(progress: _Progress, written: dict[str, dict], source: Source, steps: Sequence[Step]) -> dict:
    described = [step.describe() for step in steps]
    counts = [
        dict(zip(("split", "vendor", "pathology", "phase"), key, strict=True), slices=slices)
        for key, slices in sorted(progress.slices.items())
    ]
    splits = {
        split: {
            "patients": len(progress.patients[split]),
            "patient_ids": progress.patients[split],
            "slices_with_label_at_border": progress.at_border[split],
            **facts,
        }
        for split, facts in written.items()
    }
    return {
        "source": source.name,
        "steps": described,
        "warnings": [step["warning"] for step in described if "warning" in step],
        "splits": splits,
        "split_digest": split_digest(progress.patients),
        "counts": counts,
        "scalars": {
            name: {how: progress.scalars[name, how] for how in ("stated", "measured", "unknown")} for name in SCALARS
        },
        "annotated_labels": sorted(map(list, progress.labels)),
        "versions": {"cmrsynth": cmrsynth.__version__, **{name: version(name) for name in RECORDED_PACKAGES}},
    }


def _public(left_out: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """Return a left-out patient as the data set may name it: by pseudonym, without paths."""
    return {
        "patient_id": names[left_out["patient_id"]],
        "split": left_out["split"],
        "reason": conceal(left_out["what"], names),
    }


def _write_links(
    output: Path, splits: Mapping[str, Sequence[str]], names: Mapping[str, str], left_out: Sequence[Mapping[str, str]]
) -> None:
    reasons = {item["patient_id"]: item["message"] for item in left_out}
    rows = [
        {
            "pseudonym": names[patient],
            "patient_id": patient,
            "split": split,
            "left_out_because": reasons.get(patient, ""),
        }
        for split, patients in splits.items()
        for patient in patients
    ]
    write_linking_table(linking_table_path(output), sorted(rows, key=lambda row: row["pseudonym"]))
