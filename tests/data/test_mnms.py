from __future__ import annotations

import csv

import numpy as np
import pytest

from cmrsynth.data import mnms
from cmrsynth.errors import InputError


@pytest.fixture
def root(tmp_path, raw):
    return raw.write_mnms(tmp_path / "mnms", 3)


def rewrite(root, raw, change):
    """Apply `change` to the list of rows of the table."""
    table = root / raw.MNMS_TABLE
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    raw.write_csv(table, change(rows))


def test_listing(root):
    entries = mnms.patients(root)
    assert [e.patient_id for e in entries] == ["A0B0C0", "A1B1C1", "A2B2C2"]
    assert [e.vendor for e in entries] == ["Siemens", "Philips", "GE"]
    assert [e.pathology for e in entries] == ["hypertrophic", "normal", "hypertrophic"]
    assert [e.centre for e in entries] == ["mnms-1", "mnms-2", "mnms-3"]


def test_study_holds_what_was_written(root, raw):
    study = mnms.patients(root)[1].load()
    images, masks = raw.cine_stack(seed=2)
    assert [(v.phase, v.frame) for v in study.volumes] == [("ED", 0), ("ES", 2)]
    for volume in study.volumes:
        np.testing.assert_array_equal(volume.image, images[volume.frame])
        np.testing.assert_array_equal(volume.mask, masks[volume.frame])
    np.testing.assert_array_equal(study.cine, images)
    assert (study.vendor, study.centre, study.pixel_spacing) == ("Philips", "mnms-2", (1.25, 1.5))


def test_column_order_and_float_frames_do_not_matter(root, raw):
    names = ["ES", "ED", "Pathology", "Vendor", "External code"]
    rewrite(root, raw, lambda rows: [{n: row[n] + ".0" if n == "ES" else row[n] for n in names} for row in rows])
    study = mnms.patients(root)[1].load()
    assert [(v.phase, v.frame) for v in study.volumes] == [("ED", 0), ("ES", 2)]
    assert (study.vendor, study.centre) == ("Philips", "unknown")


@pytest.mark.parametrize(
    ("value", "match"),
    [("", "ES is missing"), ("nan", "'nan'"), ("inf", "'inf'"), ("-1", "'-1'"), ("0", "both frame 0")],
)
def test_unusable_phase_names_table_and_patient(root, raw, value, match):
    rewrite(root, raw, lambda rows: [{**row, "ES": value} if row["External code"] == "A1B1C1" else row for row in rows])
    entries = mnms.patients(root)
    entries[0].load()
    with pytest.raises(InputError, match=rf"opendataset\.csv: A1B1C1: .*{match}"):
        entries[1].load()


@pytest.mark.parametrize("value", ["1", "9"])
def test_phase_where_nothing_is_drawn(root, raw, value):
    rewrite(root, raw, lambda rows: [{**row, "ES": value} for row in rows])
    with pytest.raises(InputError, match=rf"_sa_gt\.nii\.gz: no label at ES = frame {value} .* but at frames \[0, 2\]"):
        mnms.patients(root)[0].load()


def test_missing_mask_is_named_but_unlabelled_training_is_left_out(root, raw):
    next(root.rglob("A1B1C1_sa_gt.nii.gz")).unlink()
    raw.save_nifti(root / "Training" / "Unlabeled" / "X" / "X_sa.nii.gz", raw.cine_stack()[0])
    entries = mnms.patients(root)
    assert [e.patient_id for e in entries] == ["A0B0C0", "A1B1C1", "A2B2C2"]
    with pytest.raises(InputError, match=r"A1B1C1_sa_gt\.nii\.gz: the mask file is missing"):
        entries[1].load()


def test_truncated_cine_is_named(root, raw):
    raw.cut_in_half(next(root.rglob("A0B0C0_sa.nii.gz")))
    with pytest.raises(InputError, match=r"A0B0C0_sa\.nii\.gz: .*cut short"):
        mnms.patients(root)[0].load()


def test_partial_download_warns(root):
    for path in root.rglob("A2B2C2_sa*"):
        path.unlink()
    with pytest.warns(UserWarning, match="1 patients: A2B2C2"):
        assert len(mnms.patients(root)) == 2


def test_patient_without_row(root, raw):
    rewrite(root, raw, lambda rows: rows[1:])
    with pytest.raises(InputError, match="no row for A0B0C0"):
        mnms.patients(root)[0].load()


def test_duplicate_row_and_missing_table(root, raw):
    rewrite(root, raw, lambda rows: [*rows, rows[0]])
    with pytest.raises(InputError, match="two rows for A0B0C0"):
        mnms.patients(root)
    (root / raw.MNMS_TABLE).unlink()
    with pytest.raises(InputError, match="table is missing"):
        mnms.patients(root)
