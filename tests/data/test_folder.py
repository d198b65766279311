from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from cmrsynth.data import folder
from cmrsynth.errors import InputError
from cmrsynth.labels import LV, MYO, RV

LABELS = {1: LV, 2: MYO, 3: RV}


@pytest.fixture
def root(tmp_path, raw):
    return raw.write_folder(tmp_path / "ours")


def rewrite(root, raw, change):
    """Apply `change` to the rows of metadata.csv."""
    with (root / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    raw.write_csv(root / "metadata.csv", change(rows))


def with_cell(name, column, value):
    return lambda rows: [{**row, column: value} if row["file_name"] == name else row for row in rows]


def load(root, patient=0, **options):
    return folder.patients(root, label_map=LABELS, **options)[patient].load()


def test_png_with_metadata(root, raw):
    entries = folder.patients(root, label_map=LABELS)
    assert [(e.patient_id, e.vendor, e.pathology) for e in entries] == [
        ("p0", "GE", "normal"),
        ("p1", "Siemens", "normal"),
    ]
    study = entries[0].load()
    assert [(v.phase, v.frame, v.slice_indices.tolist()) for v in study.volumes] == [
        ("ED", 0, [0, 1, 2]),
        ("ES", 1, [0, 1, 2]),
    ]
    np.testing.assert_array_equal(study.volumes[1].mask, raw.mask_stack(systole=True))
    np.testing.assert_allclose(study.volumes[0].image, raw.image_stack(raw.mask_stack()), atol=1)
    assert (study.pixel_spacing, study.slice_spacing, study.field_strength) == ((1.5, 1.5), 8, 3)
    assert study.annotated_labels == (LV, MYO, RV)


def test_label_map_translates_and_says_what_is_annotated(root):
    study = folder.patients(root, label_map={1: LV, 2: 0, 3: 0})[0].load()
    assert study.annotated_labels == (LV,)
    assert set(np.unique(study.volumes[0].mask)) == {0, LV}


@pytest.mark.parametrize(
    ("label_map", "match"),
    [(None, "no label map"), ({}, "label map"), ({1: 0}, r"labels \[0\]"), ({1: 4}, r"labels \[4\]")],
)
def test_label_map_is_required(root, label_map, match):
    with pytest.raises(InputError, match=match):
        folder.patients(root, label_map=label_map)


def test_swapped_label_map_is_caught(root):
    with pytest.raises(InputError, match="looks swapped"):
        folder.patients(root, label_map={1: RV, 2: MYO, 3: LV})[0].load()


def test_without_metadata(root):
    (root / "metadata.csv").unlink()
    for path in [*root.glob("*/*_ES_*")]:
        path.unlink()
    for path in [*root.glob("*/*_ED_2*")]:
        path.rename(path.with_name(path.name.replace("_2", "_10")))
    with pytest.raises(InputError, match=r"p0_ED_0\.png: its pixel size is not known.*--pixel-spacing"):
        load(root)
    study = load(root, pixel_spacing=(1.5, 1.25))
    assert [(v.phase, v.frame, len(v.image)) for v in study.volumes] == [("other", 0, 3)]
    assert study.pixel_spacing == (1.5, 1.25)
    areas = (study.volumes[0].mask > 0).sum(axis=(1, 2))
    assert areas[0] > areas[1] > areas[2]  # slice 10 comes after slice 1


def test_patient_regex(root):
    (root / "metadata.csv").unlink()
    entries = folder.patients(root, label_map=LABELS, patient_regex=r"^(p\d_E[DS])")
    assert [e.patient_id for e in entries] == ["p0_ED", "p0_ES", "p1_ED", "p1_ES"]
    for regex, match in (("p(", "not valid"), ("p", "no group"), ("(q)", "does not tell the patient")):
        with pytest.raises(InputError, match=match):
            folder.patients(root, label_map=LABELS, patient_regex=regex)


def test_png_slices_without_a_patient_in_their_names_are_refused(tmp_path, raw):
    for part in ("images", "masks"):
        raw.save_png(tmp_path / part / "001.png", raw.mask_stack()[0])
    with pytest.raises(InputError, match=r"001\.png: the file name does not tell the patient"):
        folder.patients(tmp_path, label_map=LABELS)


@pytest.mark.parametrize(
    ("cells", "spacing"),
    [
        ({"pixel_spacing": "1.25"}, (1.25, 1.25)),
        ({"pixel_spacing": "[1.5, 1.25]"}, (1.5, 1.25)),
        ({"pixel_spacing": "1.5 x 1.25"}, (1.5, 1.25)),
        ({"pixel_spacing": "", "pixel_spacing_row": "2", "pixel_spacing_col": "3"}, (2, 3)),
    ],
)
def test_ways_to_write_the_spacing(root, raw, cells, spacing):
    rewrite(root, raw, lambda rows: [{**row, **cells} for row in rows])
    assert load(root, pixel_spacing=9.0).pixel_spacing == spacing


def test_nifti_stacks_and_slices(tmp_path, raw):
    mask = raw.mask_stack()
    raw.save_nifti(tmp_path / "images" / "a.nii.gz", raw.image_stack(mask))
    raw.save_nifti(tmp_path / "masks" / "a.nii", mask)
    for z in range(2):
        raw.save_nifti(tmp_path / "images" / f"b_{z}.nii.gz", raw.image_stack(mask)[z])
        raw.save_nifti(tmp_path / "masks" / f"b_{z}.nii.gz", mask[z])
    stack, slices = (load(tmp_path, patient) for patient in (0, 1))
    np.testing.assert_array_equal(stack.volumes[0].mask, mask)
    assert (stack.pixel_spacing, stack.slice_spacing) == ((1.25, 1.5), 10)
    np.testing.assert_array_equal(slices.volumes[0].mask, mask[:2])


def test_nifti_cine_is_refused_with_advice(tmp_path, raw):
    raw.save_nifti(tmp_path / "images" / "a.nii.gz", raw.cine_stack()[0])
    raw.save_nifti(tmp_path / "masks" / "a.nii.gz", raw.cine_stack()[1])
    with pytest.raises(InputError, match=r"4-D image.*own 3-D file"):
        load(tmp_path)


def test_two_stacks_need_a_frame_or_phase(tmp_path, raw):
    for name in ("a_1", "a_2"):
        raw.save_nifti(tmp_path / "images" / f"{name}.nii.gz", raw.image_stack(raw.mask_stack()))
        raw.save_nifti(tmp_path / "masks" / f"{name}.nii.gz", raw.mask_stack())
    with pytest.raises(InputError, match="2 files of this patient are frame 0"):
        load(tmp_path)
    raw.write_csv(tmp_path / "metadata.csv", [{"file_name": f"images/a_{n}.nii.gz", "frame": n} for n in (1, 2)])
    assert [v.frame for v in load(tmp_path).volumes] == [1, 2]


def test_grey_rgb_and_palettes_are_accepted_colour_is_not(root):
    path = root / "images" / "p0_ED_0.png"
    grey = Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32))
    grey.convert("RGB").save(path)
    indices = np.asarray(Image.open(root / "masks" / "p0_ED_0.png"))
    palette = Image.fromarray(indices, mode="P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.save(root / "masks" / "p0_ED_0.png")
    study = load(root)
    np.testing.assert_array_equal(study.volumes[0].image[0], np.asarray(grey))
    np.testing.assert_array_equal(study.volumes[0].mask[0], indices)
    colour = np.zeros((32, 32, 3), np.uint8)
    colour[3, 3] = (1, 2, 3)
    Image.fromarray(colour).save(path)
    with pytest.raises(InputError, match=r"images/p0_ED_0\.png: a colour picture"):
        load(root)


def test_bad_files_are_named_and_leave_the_other_patient(root, raw):
    for break_it, match in (
        (lambda p: raw.save_png(p, np.full((32, 32), 9, np.uint8)), r"holds label values \[9\]"),
        (lambda p: raw.save_png(p, np.zeros((32, 30), np.uint8)), r"a mask of shape \(32, 30\)"),
        (raw.cut_in_half, "cannot be read as PNG"),
        (lambda p: p.write_text("no picture"), "cannot be read as PNG"),
        (lambda p: p.unlink(), "the mask file is missing"),
    ):
        break_it(root / "masks" / "p0_ES_1.png")
        with pytest.raises(InputError, match=rf"masks/p0_ES_1\.png: .*{match}"):
            load(root)
        load(root, 1)


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        ("phase", "diastole", "phase 'diastole'"),
        ("slice_index", "1.5", "slice_index is '1.5'"),
        ("slice_index", "0", "same patient, frame, phase and slice_index 0"),
        ("slice_index", "", "no slice_index"),
        ("pixel_spacing", "-1", "pixel_spacing is '-1'"),
        ("pixel_spacing", "2", r"pixels of \(2\.0, 2\.0\) mm, but"),
        ("pixel_spacing", "1 2 3", "pixel_spacing is '1 2 3'"),
    ],
)
def test_faulty_cells_are_named(root, raw, column, value, match):
    rewrite(root, raw, with_cell("p0_ED_1.png", column, value))
    with pytest.raises(InputError, match=match):
        load(root)


def test_rows_and_files_must_match(root, raw):
    rewrite(root, raw, lambda rows: rows[1:])
    with pytest.raises(InputError, match=r"metadata\.csv: images without a row: p0_ED_0\.png"):
        load(root)
    rewrite(root, raw, lambda rows: [*rows, rows[0]])
    with pytest.raises(InputError, match=r"two rows for p0_ED_1\.png"):
        load(root)
    rewrite(root, raw, lambda rows: [{**rows[0], "file_name": f"no{n}.png"} for n in range(7)])
    with pytest.raises(InputError, match=r"rows without an image file: no0\.png, .* and 2 more"):
        load(root)


def test_patient_facts_must_agree(root, raw):
    rewrite(root, raw, with_cell("p0_ED_1.png", "vendor", "Canon"))
    with pytest.raises(InputError, match=r"p0: vendor \['Canon', 'GE'\]"):
        load(root)


def test_frames_must_be_stated_for_all_and_have_one_phase(root, raw):
    rewrite(root, raw, lambda rows: [{**row, "frame": "4"} for row in rows])
    with pytest.raises(InputError, match="one frame has two phases"):
        load(root)
    rewrite(root, raw, with_cell("p0_ED_1.png", "frame", ""))
    with pytest.raises(InputError, match="some files have a frame, some have none"):
        load(root)


def test_unread_columns_warn(root, raw):
    rewrite(root, raw, lambda rows: [{**row, "vender": "x"} for row in rows])
    with pytest.warns(UserWarning, match=r"columns \['vender'\] are not read"):
        folder.patients(root, label_map=LABELS)


def test_stray_files(root, raw):
    (root / "images" / ".DS_Store").write_text("")
    folder.patients(root, label_map=LABELS)
    raw.save_png(root / "masks" / "extra.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(InputError, match=r"masks without an image: masks/extra\.png"):
        folder.patients(root, label_map=LABELS)
    (root / "images" / "a.jpg").write_text("")
    with pytest.raises(InputError, match=r"neither PNG nor NIfTI: a\.jpg"):
        folder.patients(root, label_map=LABELS)
