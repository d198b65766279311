from __future__ import annotations

import shutil

import numpy as np
import pytest

from cmrsynth.data import acdc
from cmrsynth.errors import InputError


@pytest.fixture
def root(tmp_path, raw):
    return raw.write_acdc(tmp_path / "acdc", 3)


def folder_of(root, number):
    return next(root.rglob(f"patient{number:03d}"))


def test_listing_is_sorted_over_training_and_testing(root):
    entries = acdc.patients(root)
    assert [e.patient_id for e in entries] == ["patient001", "patient002", "patient003"]
    assert [e.pathology for e in entries] == ["dilated", "normal", "hypertrophic"]
    assert [e.patient_id for e in acdc.patients(root / "testing")] == ["patient002"]


def test_study_holds_what_was_written(root, raw):
    study = acdc.patients(root)[0].load()
    images, masks = raw.cine_stack(seed=1)
    assert [(v.phase, v.frame) for v in study.volumes] == [("ED", 0), ("ES", 2)]
    for volume in study.volumes:
        np.testing.assert_array_equal(volume.image, images[volume.frame])
        np.testing.assert_array_equal(volume.mask, masks[volume.frame])
        assert volume.labelled.all()
    np.testing.assert_array_equal(study.cine, images)
    assert study.pixel_spacing == (1.25, 1.5)
    assert (study.slice_spacing, study.annotated_labels, study.vendor) == (10.0, (1, 2, 3), "Siemens")


def test_cine_is_optional(tmp_path, raw):
    assert acdc.patients(raw.write_acdc(tmp_path, 1, cine=False))[0].load().cine is None


@pytest.mark.parametrize("phase", ["ED", "ES"])
def test_missing_phase_names_the_file_and_leaves_the_others(root, phase):
    info = folder_of(root, 2) / "Info.cfg"
    info.write_text("\n".join(line for line in info.read_text().splitlines() if not line.startswith(phase)))
    entries = acdc.patients(root)
    assert entries[0].load().patient_id == "patient001"
    with pytest.raises(InputError, match=rf"patient002/Info\.cfg: the entry {phase} is missing"):
        entries[1].load()


@pytest.mark.parametrize(("line", "match"), [("ES: 1", "both frame 1"), ("ES: 0", "'0'"), ("ES: twelve", "twelve")])
def test_unusable_phase(root, line, match):
    info = folder_of(root, 1) / "Info.cfg"
    info.write_text(f"ED: 1\n{line}\nGroup: DCM\n")
    with pytest.raises(InputError, match=match):
        acdc.patients(root)[0].load()


def test_missing_info(root):
    (folder_of(root, 1) / "Info.cfg").unlink()
    entry = acdc.patients(root)[0]
    assert entry.pathology == "unknown"
    with pytest.raises(InputError, match=r"Info\.cfg: the entry ED is missing"):
        entry.load()


def test_missing_and_truncated_files_are_named(root, raw):
    (folder_of(root, 1) / "patient001_frame03_gt.nii.gz").unlink()
    raw.cut_in_half(folder_of(root, 2) / "patient002_frame01.nii.gz")
    first, second, _ = acdc.patients(root)
    with pytest.raises(InputError, match=r"patient001_frame03_gt\.nii\.gz: the mask file is missing"):
        first.load()
    with pytest.raises(InputError, match=r"patient002_frame01\.nii\.gz: .*cut short"):
        second.load()


def test_cine_that_does_not_hold_the_frames(root, raw):
    raw.save_nifti(folder_of(root, 1) / "patient001_4d.nii.gz", raw.cine_stack()[0][:2])
    with pytest.raises(InputError, match="does not hold frame 3"):
        acdc.patients(root)[0].load()


def test_frames_of_different_grids(root, raw):
    folder = folder_of(root, 1)
    for ending in ("", "_gt"):
        raw.save_nifti(folder / f"patient001_frame03{ending}.nii.gz", raw.mask_stack(2))
    with pytest.raises(InputError, match=r"frame03\.nii\.gz: shape"):
        acdc.patients(root)[0].load()


def test_patient_in_two_places(root):
    shutil.copytree(folder_of(root, 1), root / "patient001")
    with pytest.raises(InputError, match="also at"):
        acdc.patients(root)


def test_empty_and_missing_root(tmp_path):
    with pytest.raises(InputError, match="no patientNNN folder"):
        acdc.patients(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        acdc.patients(tmp_path / "nowhere")
