from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.data import acdc, mnms
from cmrsynth.data.enclosure import enclosure
from cmrsynth.errors import InputError
from cmrsynth.labels import LV, MYO, RV


def test_enclosure_of_known_shapes():
    mask = np.zeros((1, 5, 6), np.uint8)
    mask[0, 1:4, 0:3] = MYO
    mask[0, 2, 1] = LV  # all 4 edges touch myocardium
    mask[0, 2, 3] = RV  # 1 edge of 4
    assert enclosure(mask, LV) == 1.0
    assert enclosure(mask, RV) == 0.25
    assert enclosure(np.zeros((1, 4, 4)), LV) is None


def test_enclosure_weighs_slices_by_area():
    mask = np.zeros((2, 6, 6), np.uint8)
    mask[0] = MYO
    mask[0, 1:5, 1:5] = LV  # area 16, enclosed
    mask[1, 2:4, 2:4] = LV  # area 4, not
    assert enclosure(mask, LV) == pytest.approx(16 / 20)


def test_cavity_at_the_image_edge_does_not_touch_the_other_side():
    mask = np.zeros((1, 4, 4), np.uint8)
    mask[0, :, 0] = LV
    mask[0, :, 3] = MYO
    assert enclosure(mask, LV) == 0.0


def test_same_anatomy_in_both_conventions_reads_alike(tmp_path, raw):
    first = acdc.patients(raw.write_acdc(tmp_path / "acdc", 1))[0].load()
    second = mnms.patients(raw.write_mnms(tmp_path / "mnms", 1))[0].load()
    for one, other in zip(first.volumes, second.volumes, strict=True):
        assert one.phase == other.phase
        np.testing.assert_array_equal(one.mask, other.mask)
    np.testing.assert_array_equal(first.volumes[0].mask, raw.mask_stack())


def test_mnms_labels_read_as_acdc_are_caught(tmp_path, raw):
    root = raw.write_acdc(tmp_path, 1, values=raw.MNMS_VALUES)
    with pytest.raises(InputError, match=r"patient001.*looks swapped.*ACDC writes 1 = RV"):
        acdc.patients(root)[0].load()


def test_acdc_labels_read_as_mnms_are_caught(tmp_path, raw):
    root = raw.write_mnms(tmp_path, 1, values=raw.ACDC_VALUES)
    with pytest.raises(InputError, match="looks swapped"):
        mnms.patients(root)[0].load()
