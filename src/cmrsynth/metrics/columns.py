"""Columns of a stream of rows, checked in words before `evaluate` stores them.

An `evaluate` module takes one stream whose flags say what a row is, because synthetic and real sets differ in size.
Its class mixes in a `Stream`, which is no `evaluate` class itself: the loader takes the first one that it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    import datasets

PATIENTS = """    is_real (N,) bool: True for rows of real images, False for synthetic ones.
    patient_id (N,) str: the patient; for a synthetic row the patient of the mask (or images) it was made from."""
FEATURE_COLUMNS = f"""    features (N, d) float: one row per image, all from one encoder; numpy array or tensor.
{PATIENTS}
    features_name (str): what made the features, such as name and weight hash of the encoder; kept in the result."""
IMAGE_COLUMNS = f"""    images (N, H, W): float in [0, 1], uint8 or uint16, one size; or N paths of .npy or grey
        image files; or a column of images of a `datasets.Dataset`. No nested lists.
{PATIENTS}"""
NOT_LISTS = "nested lists of pixels take seconds an image; give one numpy array or tensor (N, H, W), images or paths"


class Stream:
    """Mixed into an `evaluate.Metric`: the kinds of its columns, and batches that are checked against them.

    Attributes:
        kinds: each column's kind: "vectors", "images", "label_maps", "flags", "names", "numbers" or "spacings".
    """

    kinds: ClassVar[Mapping[str, str]] = {}

    def add(self, *, prediction: Any = None, reference: Any = None, **row: Any) -> None:
        """Add one row."""
        paired = {"predictions": prediction, "references": reference}
        columns = {**{name: value for name, value in paired.items() if name in self.kinds}, **row}
        self.add_batch(**{name: None if value is None else [value] for name, value in columns.items()})

    def add_batch(self, *, predictions: Any = None, references: Any = None, **columns: Any) -> None:
        """Add rows."""
        paired = {"predictions": predictions, "references": references}
        given = {**{name: value for name, value in paired.items() if value is not None}, **columns}
        batch = checked_batch(given, self.kinds)
        shapes = {name: np.shape(column)[1:] for name, column in batch.items()}
        if len(self) == 0:  # type: ignore[arg-type]
            self._shapes = shapes
            self.info.features = stream_features(self.kinds, shapes)  # type: ignore[attr-defined]
        elif changed := [name for name in shapes if shapes[name] != self._shapes[name]]:
            here, before = (each[changed[0]] for each in (shapes, self._shapes))
            raise ValueError(f"{changed[0]}: rows have shape {here}, those before had {before}; bring all to one size")
        super().add_batch(**batch)  # type: ignore[misc]


class FeatureStream(Stream):
    """Features of images: `features` (N, d), `is_real`, `patient_id`."""

    kinds: ClassVar[Mapping[str, str]] = {"features": "vectors", "is_real": "flags", "patient_id": "names"}


class ImageStream(Stream):
    """Images: `images` (N, H, W) or paths, `is_real`, `patient_id`."""

    kinds: ClassVar[Mapping[str, str]] = {"images": "images", "is_real": "flags", "patient_id": "names"}


def stream_features(kinds: Mapping[str, str], shapes: Mapping[str, Sequence[int]] | None = None) -> datasets.Features:
    """Return how `evaluate` stores the columns.

    Args:
        kinds: each column's kind.
        shapes: each column's shape of one row; an image column without one holds paths. None before the first
            batch, when no size is known.
    """
    import datasets

    plain = {"flags": "bool", "names": "string", "numbers": "float64"}
    pixels = {"images": "float32", "label_maps": "uint8"}
    found = {}
    for name, kind in kinds.items():
        if kind in plain:
            found[name] = datasets.Value(plain[kind])
        elif kind in pixels:
            shape = (1, 1) if shapes is None else tuple(shapes[name])
            found[name] = datasets.Array2D(shape, pixels[kind]) if shape else datasets.Value("string")
        else:
            found[name] = datasets.List(datasets.Value("float32"))
    return datasets.Features(found)


def checked_batch(given: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
    """Return the columns as arrays or lists that `evaluate` can store quickly.

    Raises:
        ValueError: a column is missing, unknown, or not of its kind, or lengths differ.

    >>> checked_batch({"score": [1, 2], "patient_id": [7, 8]}, {"score": "numbers", "patient_id": "names"})
    {'score': array([1., 2.]), 'patient_id': ['7', '8']}
    """
    unknown, missing = sorted(set(given) - set(kinds)), [name for name in kinds if given.get(name) is None]
    if unknown or missing:
        raise ValueError(f"columns: expected {list(kinds)}; missing {missing}, unknown {unknown}")
    batch = {name: CHECKS[kind](name, given[name]) for name, kind in kinds.items()}
    sizes = {name: len(column) for name, column in batch.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"columns: they differ in length, {sizes}; give one entry per row in each")
    return batch


def read_images(images: np.ndarray) -> np.ndarray:
    """Return (N, H, W) float32 images in [0, 1] of a column that was stored as images or as paths.

    Args:
        images: (N, H, W) float32, or (N,) paths of .npy arrays (float in [0, 1] or uint8) or grey image files.

    Raises:
        ValueError: a file is no single grey image, or sizes differ.
    """
    if images.ndim == 3:
        return images
    return _images("images", [_read(Path(path)) for path in images])


def _read(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    from PIL import Image

    with Image.open(path) as image:
        if image.mode not in ("L", "F", "I;16"):
            raise ValueError(
                f"{path}: expected a grey image, got mode {image.mode}; convert it to grey of 8 or 16 bits"
            )
        return np.asarray(image)


def _images(name: str, value: Any) -> np.ndarray | list[str]:
    if len(value) and all(isinstance(each, (str, Path)) for each in value):
        return [str(each) for each in value]
    array = _stacked(name, value)
    if array.ndim != 3:
        raise ValueError(f"{name}: expected (N, H, W), got shape {array.shape}; give single-channel images of one size")
    if array.dtype in (np.uint8, np.uint16):
        return array.astype(np.float32) / np.iinfo(array.dtype).max
    if array.dtype.kind != "f":
        raise ValueError(f"{name}: expected float in [0, 1], uint8 or uint16, got {array.dtype}; convert the images")
    if array.size and not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
        raise ValueError(f"{name}: values outside [0, 1] or NaN; scale the images to [0, 1] with one window for all")
    return array.astype(np.float32)


def _label_maps(name: str, value: Any) -> np.ndarray:
    array = _stacked(name, value)
    if array.ndim != 3 or array.dtype.kind not in "biu" or (array.size and not 0 <= array.min() <= array.max() <= 255):
        raise ValueError(
            f"{name}: expected label maps (N, H, W) of integers from 0, got {array.dtype} of shape {array.shape}"
        )
    return array.astype(np.uint8)


def _stacked(name: str, value: Any) -> np.ndarray:
    if isinstance(value, list) and value and isinstance(value[0], list):
        raise ValueError(f"{name}: {NOT_LISTS}")
    try:
        if hasattr(value, "shape"):
            return np.asarray(value)
        rows = [np.asarray(each) for each in value]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: no array, images or paths ({error}); {NOT_LISTS}") from error
    if len({row.shape for row in rows}) > 1:
        raise ValueError(f"{name}: sizes differ, {sorted({row.shape for row in rows})[:3]}; bring all to one size")
    return np.stack(rows)


def _vectors(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value, dtype=np.float32) if hasattr(value, "shape") else _rows(name, value)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers (N, d), got shape {array.shape}; check images and encoder")
    return array


def _rows(name: str, value: Any) -> np.ndarray:
    rows = [np.asarray(each, dtype=np.float32) for each in value]
    if len({row.shape for row in rows}) > 1:
        raise ValueError(f"{name}: rows differ in length; encode all images with one network")
    return np.stack(rows) if rows else np.empty((0, 0), np.float32)


def _spacings(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value, dtype=np.float32)
    if array.ndim != 2 or array.shape[1] != 2 or not (array > 0).all():
        raise ValueError(f"{name}: expected (N, 2) pixel sizes in mm above 0, got shape {array.shape}")
    return array


def _flags(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.ndim != 1 or array.dtype.kind not in "biu" or not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name}: expected one True or False per row, got {array.dtype} of shape {array.shape}")
    return array.astype(bool)


def _names(name: str, value: Any) -> list[str]:
    found = ["" if each is None else str(each) for each in (value.tolist() if hasattr(value, "tolist") else value)]
    if any(each in ("", "nan") for each in found):
        raise ValueError(f"{name}: some rows have none; without it no interval over patients can be given")
    return found


def _numbers(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected one number per row, got shape {array.shape}")
    return array


CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "vectors": _vectors,
    "images": _images,
    "label_maps": _label_maps,
    "flags": _flags,
    "names": _names,
    "numbers": _numbers,
    "spacings": _spacings,
}
