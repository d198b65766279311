"""Patients' identifiers stay outside a data set: inside there are only numbers in an order that says nothing."""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


def pseudonyms(patient_ids: Iterable[str], *, source: str, seed: int) -> dict[str, str]:
    """Return the pseudonym of each patient, `<source>-0001` and so on.

    Numbers follow the SHA-256 of (seed, id): the alphabetical order of the originals, which often is the order
    of admission, does not show.

    >>> sorted(pseudonyms(["anna", "bert"], source="folder", seed=0).values())
    ['folder-0001', 'folder-0002']
    """
    ordered = sorted(set(patient_ids), key=lambda p: hashlib.sha256(repr((seed, p)).encode()).hexdigest())
    digits = max(4, len(str(len(ordered))))
    return {patient: f"{source}-{number:0{digits}d}" for number, patient in enumerate(ordered, start=1)}


def conceal(text: str, names: Mapping[str, str]) -> str:
    """Return `text` with every original identifier replaced by its pseudonym, and without file paths.

    >>> conceal("the same image as anna in /data/2009/scan.nii.", {"anna": "folder-0001"})
    'the same image as folder-0001 in (path).'
    """
    text = re.sub(r"\S*[/\\]\S*?(?=[:;,.)]*(?:\s|$))", "(path)", text)
    for original in sorted(names, key=len, reverse=True):
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(original)}(?![A-Za-z0-9])", names[original], text)
    return text


def linking_table_path(output: Path) -> Path:
    """Return where the linking table of a data set lies: beside its folder, never in it."""
    return output.with_name(f"{output.name}.linking-table.csv")


def write_linking_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write the table that links pseudonyms to originals, readable by its owner only (mode 0600).

    Args:
        path: where; an older table is replaced.
        rows: with the keys pseudonym, patient_id, split and left_out_because.
    """
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["pseudonym", "patient_id", "split", "left_out_because"])
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)
