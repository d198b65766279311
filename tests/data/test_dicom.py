from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pydicom
import pytest

from cmrsynth.data.dicom import read_cine
from cmrsynth.errors import InputError


@pytest.fixture
def folder(tmp_path, raw):
    raw.write_sunnybrook(tmp_path)
    return tmp_path / "dicoms" / "SCD0000001"


def edit(path, **tags):
    """Rewrite one DICOM file with other values; None removes the tag."""
    header = pydicom.dcmread(path)
    for name, value in tags.items():
        delattr(header, name) if value is None else setattr(header, name, value)
    header.save_as(path)


def test_cine_holds_what_was_written(folder, raw):
    cine = read_cine(folder)
    images, _ = raw.cine_stack(seed=1)
    np.testing.assert_allclose(cine.frames, np.clip(images, 0, None), atol=1)
    assert cine.frames.dtype == np.float32
    assert cine.location[1] == (0, 0)
    assert cine.location[12] == (2, 3)
    assert cine.pixel_spacing == (1.5, 1.25)
    assert cine.slice_spacing == pytest.approx(8)  # along the normal; SliceLocation says 3
    assert (cine.vendor, cine.field_strength) == ("GE", 1.5)


def test_file_names_do_not_matter_but_instance_numbers_do(folder):
    before = read_cine(folder).frames
    for path in list(folder.glob("*.dcm")):
        path.rename(folder / f"IM-{99 - int(path.stem)}.dcm")
    np.testing.assert_array_equal(read_cine(folder).frames, before)


def test_rescale_is_applied(folder):
    before = read_cine(folder).frames
    for path in folder.glob("*.dcm"):
        edit(path, RescaleSlope="2", RescaleIntercept="-10")
    np.testing.assert_allclose(read_cine(folder).frames, 2 * before - 10)


def test_nothing_of_the_header_gets_out(folder):
    cine = read_cine(folder)
    kept = repr([value for name, value in dataclasses.asdict(cine).items() if name != "frames"])
    assert "secret" not in kept.lower()
    for path in folder.glob("*.dcm"):
        edit(path, Manufacturer="Dr Secret's GE-compatible machine")
    assert read_cine(folder).vendor == "unknown"


def test_malformed_uids_are_not_reported(folder):
    for path in folder.glob("*.dcm"):
        header = pydicom.dcmread(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header.StudyInstanceUID = "1.2.03.4"
            header.save_as(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_cine(folder)


def test_without_pixel_data(folder):
    edit(folder / "5.dcm", PixelData=None)
    with pytest.raises(InputError, match=r"5\.dcm: a DICOM file without pixel data"):
        read_cine(folder)


@pytest.mark.parametrize("keep", [0, 100, 400, 2000])
def test_cut_file_is_named(folder, keep):
    path = folder / "5.dcm"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"5\.dcm: "):
        read_cine(folder)


def test_other_file_with_this_ending(folder):
    (folder / "7.dcm").write_text("this is no DICOM file at all" * 20)
    with pytest.raises(InputError, match=r"7\.dcm: cannot be read as DICOM"):
        read_cine(folder)


@pytest.mark.parametrize(
    ("tags", "match"),
    [
        ({"InstanceNumber": 4}, r"InstanceNumber 4 is also in 4\.dcm"),
        ({"InstanceNumber": None}, "no usable InstanceNumber"),
        ({"PixelSpacing": None}, "no usable PixelSpacing"),
        ({"PixelSpacing": [2, 2]}, r"pixels of \(2\.0, 2\.0\) mm, but 1\.dcm"),
        ({"ImagePositionPatient": [-3, 5, 5]}, r"lies 5\.0 mm from .* slice 1"),
        ({"NumberOfFrames": 4}, "multi-frame"),
    ],
)
def test_faulty_header_is_named(folder, tags, match):
    edit(folder / "6.dcm", **tags)
    with pytest.raises(InputError, match=rf"6\.dcm: .*{match}|5\.dcm: .*{match}"):
        read_cine(folder)


def test_missing_images(folder):
    (folder / "6.dcm").unlink()
    (folder / "7.dcm").unlink()
    with pytest.raises(InputError, match="images 6, 7 are missing"):
        read_cine(folder)


def test_numbering_that_contradicts_positions(folder):
    for path in folder.glob("*.dcm"):
        edit(path, CardiacNumberOfImages=2)
    with pytest.raises(InputError, match="slice 1 lies where slice 0 lies"):
        read_cine(folder)


def test_cycle_length_follows_from_positions_when_not_stated(folder):
    before = read_cine(folder)
    for path in folder.glob("*.dcm"):
        edit(path, CardiacNumberOfImages=None)
    assert read_cine(folder).location == before.location


def test_trigger_times_that_do_not_rise_warn(folder):
    edit(folder / "6.dcm", TriggerTime=5)
    with pytest.warns(UserWarning, match="trigger times of slice 1"):
        read_cine(folder)
