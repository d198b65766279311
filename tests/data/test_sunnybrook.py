from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmrsynth.data import sunnybrook
from cmrsynth.errors import InputError
from cmrsynth.labels import LV, MYO

REAL = Path(__file__).resolve().parents[2] / "../shared/data/sunnybrook_dicom"


@pytest.fixture
def root(tmp_path, raw):
    return raw.write_sunnybrook(tmp_path / "scd", 2)


def contours(root, kind):
    return root / "contourfiles" / "SC-HF-I-1" / f"{kind}-contours"


def test_listing(root):
    entries = sunnybrook.patients(root)
    assert [(e.patient_id, e.pathology, e.vendor) for e in entries] == [
        ("SCD0000001", "heart_failure_infarct", "GE"),
        ("SCD0000002", "normal", "GE"),
    ]


def test_cavity_at_both_phases(root):
    study = sunnybrook.patients(root)[0].load()
    assert study.annotated_labels == (LV,)
    assert [(v.phase, v.frame, int(v.mask[0].sum())) for v in study.volumes] == [("ED", 3, 100), ("ES", 1, 36)]
    for volume in study.volumes:
        np.testing.assert_array_equal(volume.image, study.cine[volume.frame])
        assert volume.labelled.all()
        assert set(np.unique(volume.mask)) == {0, LV}
    assert (study.slice_spacing, study.field_strength) == (pytest.approx(8), 1.5)


def test_no_identifier_reaches_the_study(root):
    assert "secret" not in repr(sunnybrook.patients(root)[0].load()).lower()


def test_slice_without_contour_is_not_labelled(root):
    (contours(root, "i") / "IM-0001-0002-icontour-manual.txt").unlink()  # slice 0 at end-systole
    diastole, systole = sunnybrook.patients(root)[0].load().volumes
    assert diastole.labelled.tolist() == [True, True, True]
    assert systole.labelled.tolist() == [False, True, True]
    assert systole.mask[0].sum() == 0


def test_myocardium_only_at_end_diastole(root):
    (contours(root, "o") / "IM-0001-0008-ocontour-manual.txt").unlink()  # slice 1
    study = sunnybrook.patients(root, myocardium="ed")[0].load()
    (volume,) = study.volumes
    assert (study.annotated_labels, volume.phase, volume.labelled.tolist()) == ((LV, MYO), "ED", [True, False, True])
    assert ((volume.mask[0] == LV).sum(), (volume.mask[0] == MYO).sum()) == (100, 16 * 16 - 100)


def test_outer_contours_of_another_frame_are_refused(root):
    for path in contours(root, "o").iterdir():
        path.rename(path.with_name(path.name.replace(path.name[8:12], f"{int(path.name[8:12]) - 1:04d}")))
    with pytest.raises(InputError, match=r"no slice at end-diastole \(frame 3\).*at frames \[2\]"):
        sunnybrook.patients(root, myocardium="ed")[0].load()
    assert len(sunnybrook.patients(root)[0].load().volumes) == 2


def test_outer_contour_elsewhere_is_refused(root, raw):
    path = contours(root, "o") / "IM-0001-0004-ocontour-manual.txt"
    path.write_text("".join(f"{x} {y}\n" for x, y in raw.square(8.0, 8.0)))
    with pytest.raises(InputError, match=r"0004-ocontour.*encloses only"):
        sunnybrook.patients(root, myocardium="ed")[0].load()


def test_contour_at_a_third_frame_is_kept_as_other_with_a_warning(root):
    path = contours(root, "i") / "IM-0001-0002-icontour-manual.txt"
    path.rename(path.with_name("IM-0001-0001-icontour-manual.txt"))
    with pytest.warns(UserWarning, match=r"frame 0 \(slices \[0\]\)"):
        study = sunnybrook.patients(root)[0].load()
    assert [v.phase for v in study.volumes] == ["ED", "ES", "other"]


def test_faults_are_named_and_leave_the_other_patient(root):
    (contours(root, "i") / "IM-0001-0099-icontour-manual.txt").write_text("1 1\n2 2\n3 1\n")
    first, second = sunnybrook.patients(root)
    with pytest.raises(InputError, match=r"0099-icontour.*no image has InstanceNumber 99"):
        first.load()
    second.load()


def test_no_contours_no_images_no_row(root):
    import shutil

    shutil.rmtree(root / "contourfiles" / "SC-HF-I-1")
    shutil.rmtree(root / "dicoms" / "SCD0000002")
    (root / "dicoms" / "SCD0000003").mkdir()
    first, second, third = sunnybrook.patients(root)
    for entry, match in ((first, "no .-icontour-manual"), (second, "images of this patient are missing"),
                         (third, "no row for SCD0000003")):  # fmt: skip
        with pytest.raises(InputError, match=match):
            entry.load()


def test_options_that_do_not_fit(root, tmp_path):
    with pytest.raises(InputError, match="pixel spacing given for DICOM"):
        sunnybrook.patients(root, pixel_spacing=1.0)
    with pytest.raises(InputError, match="myocardium='es'"):
        sunnybrook.patients(root, myocardium="es")
    (tmp_path / "png" / "images").mkdir(parents=True)
    with pytest.raises(InputError, match="PNG copy has no myocardium"):
        sunnybrook.patients(tmp_path / "png", myocardium="ed")


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the Sunnybrook DICOM sample")
def test_real_patient():
    (entry,) = sunnybrook.patients(REAL)
    study = entry.load()
    assert study.cine.shape == (20, 12, 256, 256)
    assert (study.vendor, study.field_strength, study.pathology) == ("GE", 1.5, "heart_failure_infarct")
    assert study.slice_spacing == pytest.approx(10, abs=0.01)  # SliceLocation differs by 6.72
    diastole, systole = study.volumes
    assert (diastole.phase, diastole.frame, systole.phase, systole.frame) == ("ED", 18, "ES", 7)
    assert diastole.labelled.sum() == systole.labelled.sum() == 9
    # Polygon areas by the shoelace formula, in pixels, of the files of instances 59 and 48.
    assert diastole.mask[2].sum() == pytest.approx(1046.25, rel=0.01)
    assert systole.mask[2].sum() == pytest.approx(539.0, rel=0.01)
    # Blood is brighter than what surrounds it: the contours lie on the right images.
    for volume in study.volumes:
        for z in np.flatnonzero(volume.labelled):
            inside = volume.mask[z] > 0
            around = np.pad(inside, 4)[:, :]
            ring = np.zeros_like(inside)
            for dy in range(9):
                for dx in range(9):
                    ring |= around[dy : dy + 256, dx : dx + 256]
            assert volume.image[z][inside].mean() > 1.15 * volume.image[z][ring & ~inside].mean()
