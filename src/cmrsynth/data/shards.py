"""Writing the rows of one split to Parquet files, a few at a time, so that no split has to fit in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from cmrsynth.data.scalars import publishable
from cmrsynth.data.study import Study
from cmrsynth.errors import InputError
from cmrsynth.schema import INTENSITY_MAX, features

ROWS_PER_GROUP = 256  # rows read at once by a reader; small, because a row holds an image
SHARD_BYTES = 400 * 2**20


def study_rows(study: Study, *, patient_id: str, levels: dict[int, str]) -> Iterator[dict]:
    """Yield one row of `cmrsynth.schema.features()` per slice.

    Args:
        study: after preprocessing, images in [0, 1].
        patient_id: the pseudonym.
        levels: slice index to slice level.

    Raises:
        InputError: an image leaves [0, 1], because no intensity step ran.
    """
    for volume in study.volumes:
        low, high = float(volume.image.min()), float(volume.image.max())
        if low < 0 or high > 1:
            raise InputError(
                study.origin, f"intensities from {low:.3g} to {high:.3g} after all steps", "end with an intensity step"
            )
        stored = np.round(volume.image.astype(np.float64) * INTENSITY_MAX).astype(np.uint16)
        for position, index in enumerate(np.asarray(volume.slice_indices).tolist()):
            yield {
                "image": stored[position],
                "mask": volume.mask[position].astype(np.uint8),
                "annotated_labels": sorted(int(label) for label in study.annotated_labels),
                "patient_id": patient_id,
                "vendor": study.vendor,
                "centre": study.centre,
                "pathology": study.pathology,
                "phase": volume.phase,
                "slice_index": int(index),
                "slice_level": levels.get(int(index), "unknown"),
                "frame": int(volume.frame),
                "pixel_spacing": [float(side) for side in study.pixel_spacing],
                "slice_spacing": None if study.slice_spacing is None else float(study.slice_spacing),
                "field_strength": None if study.field_strength is None else float(study.field_strength),
                "source": study.source,
                **publishable(study.scalars),
            }


class ShardWriter:
    """Writes `<folder>/<split>-00000-of-0000N.parquet`; the number of files is known at `close`.

    Args:
        folder: the `data` folder.
        split: name of the split.
        shard_bytes: a new file is begun when the current one holds this much.
    """

    def __init__(self, folder: Path, split: str, *, shard_bytes: int = SHARD_BYTES) -> None:
        self.folder, self.split, self.shard_bytes = folder, split, shard_bytes
        self.num_rows, self.num_bytes = 0, 0
        self._features = features()
        self._pending: list[dict] = []
        self._shards: list[Path] = []
        self._writer = None
        self._bytes_in_shard = 0

    def write(self, rows: Iterable[dict]) -> None:
        """Add rows."""
        for row in rows:
            # Images become PNG or TIFF bytes here: the file never refers to another one.
            self._pending.append(self._features.encode_example(row))
            if len(self._pending) == ROWS_PER_GROUP:
                self._flush()

    def close(self) -> list[Path]:
        """Finish the last file and return all of them, under their final names."""
        self._flush()
        self._end_shard()
        final = []
        for number, path in enumerate(self._shards):
            name = f"{self.split}-{number:05d}-of-{len(self._shards):05d}.parquet"
            final.append(path.rename(self.folder / name))
        return final

    def abandon(self) -> None:
        """Let go of the open file after a failure."""
        self._pending.clear()
        self._end_shard()

    def _flush(self) -> None:
        if not self._pending:
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pylist(self._pending, schema=self._features.arrow_schema)
        if self._writer is None:
            self._shards.append(self.folder / f"{self.split}-{len(self._shards):05d}.unfinished")
            self._writer = pq.ParquetWriter(self._shards[-1], table.schema, compression="zstd")
        self._writer.write_table(table)
        self.num_rows += table.num_rows
        self.num_bytes += table.nbytes
        self._bytes_in_shard += table.nbytes
        self._pending.clear()
        if self._bytes_in_shard >= self.shard_bytes:
            self._end_shard()

    def _end_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._bytes_in_shard = None, 0
