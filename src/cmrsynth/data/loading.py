"""Reading a built (or synthetic) data set back, as arrays that fit in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cmrsynth.errors import InputError
from cmrsynth.schema import INTENSITY_MAX, SCALARS, UNKNOWN

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class SliceSet:
    """The slices of one split, one entry per row in every array.

    Args:
        name: where it came from, `path:split`.
        fingerprint: hash of the rows; equal sets have equal fingerprints.
        images: (N, H, W) float32 in [0, 1].
        masks: (N, H, W) uint8 in the label map of `cmrsynth.labels`.
        annotated_labels: the foreground labels that are annotated in every row.
        patient_id, vendor, pathology, phase, slice_level: (N,) str.
        slice_index, frame: (N,) int.
        pixel_spacing: (N, 2) float32, (row, column) in mm.
        slice_spacing: (N,) float32, distance between slice centres in mm; NaN where the source does not say.
        centre: (N,) str.
        ejection_fraction, wall_thickness, age, bmi: (N,) float32 in the units of `cmrsynth.schema.SCALARS`; NaN where
            unknown. These and `centre` are unknown throughout unless given.
    """

    name: str
    fingerprint: str
    images: np.ndarray
    masks: np.ndarray
    annotated_labels: tuple[int, ...]
    patient_id: np.ndarray
    vendor: np.ndarray
    pathology: np.ndarray
    phase: np.ndarray
    slice_level: np.ndarray
    slice_index: np.ndarray
    frame: np.ndarray
    pixel_spacing: np.ndarray
    slice_spacing: np.ndarray
    centre: np.ndarray | None = None
    ejection_fraction: np.ndarray | None = None
    wall_thickness: np.ndarray | None = None
    age: np.ndarray | None = None
    bmi: np.ndarray | None = None

    def __post_init__(self) -> None:
        nothing = {"centre": np.full(len(self.images), UNKNOWN)}
        nothing |= {name: np.full(len(self.images), np.nan, np.float32) for name in SCALARS}
        for name, column in nothing.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def patients(self) -> list[str]:
        """The distinct patients, sorted."""
        return sorted(set(self.patient_id.tolist()))

    def select(self, rows: np.ndarray | Sequence[int]) -> SliceSet:
        """Return the given rows (indices or a boolean mask), in that order."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(int)
        taken = {
            f.name: getattr(self, f.name)[rows] for f in fields(self) if isinstance(getattr(self, f.name), np.ndarray)
        }
        return replace(self, fingerprint=f"{self.fingerprint}[{len(rows)}]", **taken)


def load_split(location: str | Path, split: str) -> datasets.Dataset:
    """Return one split of a data set in a local folder or on the Hub.

    Args:
        location: a folder made by `cmrsynth build` or `cmrsynth generate`, or a Hub id. `location:split` names
            another split than `split`; `location:train+test` reads two, one after the other.
        split: the split to read where `location` names none.

    Raises:
        InputError: there is no such data set or split.
    """
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, _, named = str(location).partition(":")
    split = named or split
    folder = Path(path)
    if folder.exists():
        files = [file for part in split.split("+") for file in _parquet_files(folder, part)]
        # read directly: `from_parquet` would leave a second copy of the images in the cache
        return datasets.Dataset(pa.concat_tables([pq.read_table(file) for file in files]))
    if path.startswith((".", "/", "~")) or path.count("/") != 1:
        raise InputError(path, "no such folder", "give a folder made by `cmrsynth build`, or a Hub id like me/my-cmr")
    return datasets.load_dataset(path, split=split)


def _parquet_files(folder: Path, split: str) -> list[Path]:
    files = sorted(folder.glob(f"data/{split}-*.parquet"))
    if not files:
        found = sorted({p.name.rsplit("-", 3)[0] for p in folder.glob("data/*.parquet")})
        raise InputError(
            folder, f"no split {split!r} (found {found or 'no Parquet files'})", f"name one, as in {folder}:test"
        )
    return files


def load_slices(location: str | Path, split: str) -> SliceSet:
    """Return one split as arrays; see `load_split` for the arguments and errors.

    Raises:
        InputError: images differ in size, or a column is missing.
    """
    return to_slices(load_split(location, split), name=f"{location}" if ":" in str(location) else f"{location}:{split}")


def to_slices(rows: datasets.Dataset, name: str) -> SliceSet:
    """Return the rows of a data set in the schema of `cmrsynth.schema` as arrays."""
    optional = {"centre", *SCALARS}  # data sets built before these columns do without
    needed = {f.name for f in fields(SliceSet)} - {"name", "fingerprint", "images", "masks"} - optional
    needed |= {"image", "mask"}
    missing = needed - set(rows.column_names)
    if missing:
        raise InputError(name, f"columns {sorted(missing)} are missing", "build it with `cmrsynth build`")
    if len(rows) == 0:
        raise InputError(name, "no rows", "build it with at least one patient in this split")
    images = [np.asarray(image) for image in rows["image"]]
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        raise InputError(
            name,
            f"images of different sizes {sorted(sizes)}",
            "build with --size so that all slices share one size",
        )
    labels = [tuple(sorted(row)) for row in rows["annotated_labels"]]
    text = {k: np.array(rows[k], dtype=str) for k in ("patient_id", "vendor", "pathology", "phase", "slice_level")}
    return SliceSet(
        name=name,
        fingerprint=_fingerprint(images, rows),
        images=np.stack(images).astype(np.float32) / INTENSITY_MAX,
        masks=np.stack([np.asarray(mask) for mask in rows["mask"]]).astype(np.uint8),
        annotated_labels=tuple(sorted(set(labels[0]).intersection(*labels))),
        slice_index=np.array(rows["slice_index"], dtype=int),
        frame=np.array(rows["frame"], dtype=int),
        pixel_spacing=np.array(rows["pixel_spacing"], dtype=np.float32),
        slice_spacing=_positive(rows["slice_spacing"]),
        **text,
        **_optional_columns(rows),
    )


def _optional_columns(rows: datasets.Dataset) -> dict[str, np.ndarray]:
    known = set(rows.column_names)
    columns = {name: np.array(rows[name], dtype=np.float32) for name in SCALARS if name in known}
    return columns | ({"centre": np.array(rows["centre"], dtype=str)} if "centre" in known else {})


def _positive(lengths: Sequence[float | None]) -> np.ndarray:
    """Return lengths as (N,) float32; NaN for None and for what no length can be (some headers write 0)."""
    found = np.array(lengths, dtype=np.float32)
    found[~(np.isfinite(found) & (found > 0))] = np.nan
    return found


def _fingerprint(images: list[np.ndarray], rows: datasets.Dataset) -> str:
    from hashlib import sha256

    digest = sha256()
    for image, mask, patient in zip(images, rows["mask"], rows["patient_id"], strict=True):
        digest.update(image.tobytes())
        digest.update(np.asarray(mask).tobytes())
        digest.update(patient.encode())
    # conditions and spacing decide a model and a figure as much as pixels do
    facts = ("vendor", "pathology", "phase", "slice_level", "slice_index", "frame", "pixel_spacing", "annotated_labels")
    digest.update(repr([list(rows[name]) for name in facts]).encode())
    if set(SCALARS) <= set(rows.column_names):  # sets from before these columns keep the fingerprints they had
        digest.update(repr([list(rows[name]) for name in ("centre", *SCALARS)]).encode())
    return digest.hexdigest()[:16]
