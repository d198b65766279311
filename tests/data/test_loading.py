from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.data.loading import to_slices
from cmrsynth.errors import InputError


def rows_with(spacings: list[float | None]):
    import datasets

    from cmrsynth.schema import SCALARS, features

    row = {
        "image": np.zeros((4, 4), np.uint16),
        "mask": np.zeros((4, 4), np.uint8),
        "annotated_labels": [1],
        **dict.fromkeys(("patient_id", "vendor", "centre", "pathology", "phase", "slice_level", "source"), "a"),
        "slice_index": 0,
        "frame": 0,
        "pixel_spacing": [1.0, 1.0],
        "field_strength": None,
        **dict.fromkeys(SCALARS),
    }
    return datasets.Dataset.from_list([{**row, "slice_spacing": s} for s in spacings], features=features())


def test_the_distance_of_slices_is_read_in_mm_and_unknown_where_it_is_not_stated_or_impossible():
    slices = to_slices(rows_with([8.0, None, 0.0, -1.0]), "toy")
    assert slices.slice_spacing.dtype == np.float32
    np.testing.assert_array_equal(slices.slice_spacing, np.array([8, np.nan, np.nan, np.nan], np.float32))
    assert slices.select([0]).slice_spacing.tolist() == [8.0]


def test_a_data_set_without_the_column_is_refused_by_its_name():
    with pytest.raises(InputError, match="slice_spacing"):
        to_slices(rows_with([8.0]).remove_columns("slice_spacing"), "toy")
