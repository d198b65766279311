from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmrsynth.data import sunnybrook, sunnybrook_png
from cmrsynth.errors import InputError
from cmrsynth.labels import LV

REAL = Path(__file__).resolve().parents[2] / "../shared/data/sunnybrook"


@pytest.fixture
def root(tmp_path, raw):
    """One patient: end-diastole (frame 19) in slices 2-4, end-systole (frame 6) in slices 2-3."""
    rows = []
    for z, t in ((2, 19), (3, 19), (4, 19), (2, 6), (3, 6)):
        number = z * 20 + t + 1
        name = f"SC-N-09_{number:04d}.png"
        mask = (raw.mask_stack(5, systole=t == 6)[z] == LV).astype(np.uint8)
        raw.save_png(tmp_path / "images" / name, (mask * 100 + 50).astype(np.uint8))
        raw.save_png(tmp_path / "masks" / name, mask)
        rows.append({"file_name": name, "patient_id": "SC-N-09", "group": "N", "dicom_index": number})
    raw.write_csv(tmp_path / "metadata.csv", rows)
    return tmp_path


def change(root, old, new):
    table = root / "metadata.csv"
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new))


def test_frames_may_hold_different_slices(root):
    study = sunnybrook_png.patients(root, pixel_spacing=1.4)[0].load()
    assert [(v.phase, v.frame, v.slice_indices.tolist()) for v in study.volumes] == [
        ("ED", 19, [2, 3, 4]),
        ("ES", 6, [2, 3]),
    ]
    assert (study.pixel_spacing, study.slice_spacing, study.cine) == ((1.4, 1.4), None, None)
    assert (study.pathology, study.vendor, study.annotated_labels) == ("normal", "GE", (LV,))


def test_nominal_spacing_warns(root):
    with pytest.warns(UserWarning, match=r"1\.25 mm is assumed.*nominal"):
        entries = sunnybrook_png.patients(root)
    assert entries[0].load().pixel_spacing == (1.25, 1.25)


def test_sunnybrook_recognises_this_layout(root):
    assert sunnybrook.patients(root, pixel_spacing=1.0)[0].load().pixel_spacing == (1.0, 1.0)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (",N,60", ",N,x", "dicom_index 'x'"),
        (",N,60", ",N,80", "dicom_index 80 twice"),
        (",N,60", ",HYP,60", "group"),
        ("SC-N-09_0080.png", "gone.png", r"gone\.png: the image file is missing"),
    ],
)
def test_faulty_rows(root, old, new, match):
    change(root, old, new)
    with pytest.raises(InputError, match=match):
        sunnybrook_png.patients(root, pixel_spacing=1.0)[0].load()


def test_duplicate_row(root):
    change(root, "SC-N-09_0080.png", "SC-N-09_0060.png")
    with pytest.raises(InputError, match=r"two rows for SC-N-09_0060\.png"):
        sunnybrook_png.patients(root, pixel_spacing=1.0)


def test_bad_mask_is_named(root, raw):
    name = "SC-N-09_0060.png"
    raw.save_png(root / "masks" / name, np.full((32, 32), 255, np.uint8))
    with pytest.raises(InputError, match=r"masks/SC-N-09_0060\.png: the mask holds label values \[255\]"):
        sunnybrook_png.patients(root, pixel_spacing=1.0)[0].load()
    raw.save_png(root / "masks" / name, np.zeros((32, 31), np.uint8))
    with pytest.raises(InputError, match=r"masks/SC-N-09_0060\.png: shape \(32, 31\)"):
        sunnybrook_png.patients(root, pixel_spacing=1.0)[0].load()
    (root / "masks" / name).unlink()
    with pytest.raises(InputError, match=r"masks/SC-N-09_0060\.png: the mask file is missing"):
        sunnybrook_png.patients(root, pixel_spacing=1.0)[0].load()


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the Sunnybrook PNG copy")
def test_real_copy():
    studies = [entry.load() for entry in sunnybrook.patients(REAL, pixel_spacing=1.25)]
    assert len(studies) == 45
    assert sum(len(v.image) for s in studies for v in s.volumes) == 805
    groups = [s.pathology for s in studies]
    assert {g: groups.count(g) for g in set(groups)} == {
        "heart_failure_infarct": 12,
        "heart_failure_no_infarct": 12,
        "hypertrophic": 12,
        "normal": 9,
    }
    for study in studies:
        diastole, systole = study.volumes
        assert (diastole.phase, systole.phase) == ("ED", "ES")
        shared = np.intersect1d(diastole.slice_indices, systole.slice_indices)
        areas = [v.mask[np.isin(v.slice_indices, shared)].sum() for v in (diastole, systole)]
        assert areas[0] > areas[1]
