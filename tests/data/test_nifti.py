from __future__ import annotations

import nibabel
import numpy as np
import pytest

from cmrsynth.data.nifti import read_labelled, read_nifti
from cmrsynth.errors import InputError

LABELS = {1: 1, 2: 2, 3: 3}


@pytest.fixture
def pair(tmp_path, raw):
    """An image and mask on disk: the mask in project labels."""
    mask = raw.mask_stack()
    raw.save_nifti(tmp_path / "image.nii.gz", raw.image_stack(mask))
    raw.save_nifti(tmp_path / "mask.nii.gz", mask)
    return tmp_path / "image.nii.gz", tmp_path / "mask.nii.gz"


def test_rows_are_y_and_columns_are_x(tmp_path):
    voxels = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)  # (x, y, z)
    image = nibabel.Nifti1Image(voxels, np.diag([1.5, 1.25, 10, 1]))
    nibabel.save(image, tmp_path / "a.nii")
    stack = read_nifti(tmp_path / "a.nii", ndim=(3,))
    assert stack.array.shape == (4, 3, 2)
    assert stack.array[3, 2, 1] == voxels[1, 2, 3]
    assert stack.pixel_spacing == (1.25, 1.5)
    assert stack.slice_spacing == 10


def test_four_dimensions_put_time_first(tmp_path, raw):
    images, _ = raw.cine_stack()
    raw.save_nifti(tmp_path / "a.nii.gz", images)
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii.gz", ndim=(4,)).array, images)


def test_trailing_single_time_frame_is_dropped(tmp_path, raw):
    raw.save_nifti(tmp_path / "a.nii.gz", raw.mask_stack()[None])
    assert read_nifti(tmp_path / "a.nii.gz", ndim=(3,)).array.shape == (3, 32, 32)


def test_metres_become_millimetres(tmp_path, raw):
    image = nibabel.Nifti1Image(raw.mask_stack().T, np.eye(4))
    image.header.set_zooms((0.0015, 0.00125, 0.01))
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "a.nii")
    assert read_nifti(tmp_path / "a.nii", ndim=(3,)).pixel_spacing == pytest.approx((1.25, 1.5))


@pytest.mark.parametrize("name", ["image.nii.gz", "image.nii"])
def test_truncated_file_is_named(tmp_path, raw, name):
    raw.save_nifti(tmp_path / name, raw.image_stack(raw.mask_stack()))
    raw.cut_in_half(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: .*cut short or damaged.*copy or download the file again"):
        read_nifti(tmp_path / name, ndim=(3,))


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x1f\x8b" + b"rubbish" * 9])
def test_rubbish_is_named(tmp_path, content):
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.nii\.gz: cannot be read as NIfTI"):
        read_nifti(tmp_path / "a.nii.gz", ndim=(3,))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_voxels_are_counted_and_located(tmp_path, raw, bad):
    image = raw.image_stack(raw.mask_stack())
    image[2, 5, 7] = bad
    raw.save_nifti(tmp_path / "a.nii.gz", image)
    with pytest.raises(InputError, match=r"1 NaN or infinite voxels.*\(7, 5, 2\)"):
        read_nifti(tmp_path / "a.nii.gz", ndim=(3,))


def test_wrong_number_of_dimensions_is_refused_with_advice(tmp_path, raw):
    raw.save_nifti(tmp_path / "a.nii.gz", raw.cine_stack()[0])
    with pytest.raises(InputError, match=r"4-D image.*expected 3-D.*own 3-D file"):
        read_nifti(tmp_path / "a.nii.gz", ndim=(3,))


@pytest.mark.parametrize(("axis", "text"), [(1, "pixel size"), (2, "pixel size"), (3, "slice spacing")])
def test_zero_zoom_is_refused_though_nibabel_mends_it(tmp_path, raw, axis, text):
    path = tmp_path / "a.nii"
    raw.save_nifti(path, raw.mask_stack())
    content = bytearray(path.read_bytes())
    content[76 + 4 * axis : 80 + 4 * axis] = np.float32(0).tobytes()  # pixdim[axis] of the NIfTI-1 header
    path.write_bytes(content)
    with pytest.raises(InputError, match=text):
        read_nifti(path, ndim=(3,))


def test_mask_comes_back_in_project_labels(pair, raw):
    image, mask = read_labelled(*pair, {1: 3, 2: 2, 3: 1}, ndim=(3,))
    assert image.array.dtype == np.float32
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, raw.translate(raw.mask_stack(), {1: 3, 2: 2, 3: 1}))


def test_mask_of_another_shape(pair, raw):
    raw.save_nifti(pair[1], raw.mask_stack()[:, :-1])
    with pytest.raises(InputError, match=r"mask\.nii\.gz: a mask of shape \(3, 31, 32\), but image\.nii\.gz"):
        read_labelled(*pair, LABELS, ndim=(3,))


def test_mask_of_another_spacing(pair, raw):
    raw.save_nifti(pair[1], raw.mask_stack(), zooms=(1.5, 1.4, 10.0))
    with pytest.raises(InputError, match=r"another grid.*1\.4"):
        read_labelled(*pair, LABELS, ndim=(3,))


@pytest.mark.parametrize(("shift_mm", "refused"), [(0.5, False), (0.7, True)])
def test_shifted_mask_is_refused_beyond_half_a_voxel(pair, raw, shift_mm, refused):
    affine = np.diag([1.5, 1.25, 10.0, 1.0])
    affine[0, 3] = shift_mm
    nibabel.save(nibabel.Nifti1Image(raw.mask_stack().T, affine), pair[1])
    if not refused:
        read_labelled(*pair, LABELS, ndim=(3,))
        return
    with pytest.raises(InputError, match=r"another grid.*0\.7 mm apart"):
        read_labelled(*pair, LABELS, ndim=(3,))


def test_flipped_mask_header_is_refused(pair, raw):
    nibabel.save(nibabel.Nifti1Image(raw.mask_stack().T, np.diag([-1.5, 1.25, 10.0, 1.0])), pair[1])
    with pytest.raises(InputError, match="another grid"):
        read_labelled(*pair, LABELS, ndim=(3,))


def test_unknown_label_value(pair, raw):
    mask = raw.mask_stack()
    mask[0, 0, 0] = 7
    raw.save_nifti(pair[1], mask)
    with pytest.raises(InputError, match=r"mask\.nii\.gz: the mask holds label values \[7"):
        read_labelled(*pair, LABELS, ndim=(3,))


def test_missing_mask(pair):
    pair[1].unlink()
    with pytest.raises(InputError, match=r"mask\.nii\.gz: the mask file is missing"):
        read_labelled(*pair, LABELS, ndim=(3,))
