"""Finding folders and reading the small tables beside the images."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from cmrsynth.errors import InputError


def require_folder(root: str | Path, what: str) -> Path:
    """Return `root` as a `Path` if it is a folder.

    Raises:
        InputError: there is no such folder; `what` says what it should hold.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(root, f"no such folder, expected {what}", "check the path given for the raw data")
    return root


def read_csv(path: Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV file with a header line, values stripped, empty cells as "".

    Columns may come in any order and there may be more of them. Commas, semicolons and tabs are understood.

    Raises:
        InputError: the file is missing, is not text, lacks a required column, or has a row of another length.
    """
    if not path.is_file():
        raise InputError(path, "this table is missing", f"put a CSV file with columns {list(required)} there")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(path, f"not UTF-8 text ({error.reason})", "save the table as CSV in UTF-8") from error
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    lines = list(csv.reader(text.splitlines(), delimiter=delimiter))
    if not lines:
        raise InputError(path, "the table is empty", f"give it columns {list(required)}")
    names = [name.strip() for name in lines[0]]
    missing = [name for name in required if name not in names]
    if missing:
        raise InputError(path, f"columns {missing} are missing (found {names})", "name the columns in the first line")
    rows = []
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(names):
            raise InputError(
                path, f"line {number} has {len(cells)} cells, expected {len(names)}", "give each row every column"
            )
        rows.append({name: cell.strip() for name, cell in zip(names, cells, strict=True)})
    return rows


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts `s2` before `s10`.

    >>> sorted(["s10", "s2"], key=natural_key)
    ['s2', 's10']
    """
    parts = re.findall(r"\d+|\D+", text)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def shortlist(names: Sequence[str], limit: int = 5) -> str:
    """Return the first few names and how many more there are.

    >>> shortlist(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def reason(error: Exception, path: Path) -> str:
    """Return the first line of a library's error, with the file's folder left out.

    >>> reason(ValueError("bad file /data/p1/a.nii"), Path("/data/p1/a.nii"))
    'bad file a.nii'
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].replace(str(path), path.name)
