"""Reading NIfTI files as stacks of short-axis slices.

nibabel indexes a voxel as (x, y, z[, t]). Every array here is the full transpose, ([T,] Z, H, W): rows are y and
columns are x, so `pixel_spacing` is (zoom of y, zoom of x). No resampling or flipping is done: image and mask of
one study are turned alike, and which side is "up" is the scanner's choice.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmrsynth.data.files import reason
from cmrsynth.errors import InputError
from cmrsynth.labels import harmonise

SUFFIXES = (".nii", ".nii.gz")
_TO_MM = {"meter": 1000.0, "micron": 0.001}  # every other unit code (mm, unknown) is taken as mm
_COPY_AGAIN = "copy or download the file again and compare its size with the original"


@dataclass(frozen=True)
class NiftiStack:
    """A NIfTI file as slices.

    Args:
        array: (Z, H, W) or (T, Z, H, W) float32, finite.
        pixel_spacing: (row, column) in mm.
        slice_spacing: mm, or None for a single slice whose header does not say.
        affine: (4, 4) voxel (x, y, z) to scanner coordinates.
        path: the file.
    """

    array: np.ndarray
    pixel_spacing: tuple[float, float]
    slice_spacing: float | None
    affine: np.ndarray
    path: Path


def read_nifti(path: Path, ndim: Sequence[int]) -> NiftiStack:
    """Return a NIfTI file as (Z, H, W) or (T, Z, H, W) float32.

    Args:
        path: a `.nii` or `.nii.gz` file.
        ndim: the numbers of dimensions allowed; trailing dimensions of length 1 are dropped to reach one of them.
            A 2-D file becomes one slice.

    Raises:
        InputError: the file is missing, cut short, no NIfTI, has other dimensions, colour voxels, a voxel size that
            is not positive, or NaN or infinite voxels.
    """
    voxels, header, affine = _open(path)
    while voxels.ndim > max(ndim) and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim not in ndim or 0 in voxels.shape:
        wanted = " or ".join(f"{n}-D" for n in ndim)
        advice = "save each time frame as its own 3-D file" if voxels.ndim > max(ndim) else "export the whole stack"
        raise InputError(path, f"a {voxels.ndim}-D image of shape {voxels.shape}, expected {wanted}", advice)
    finite = np.isfinite(voxels)
    if not finite.all():
        first = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise InputError(
            path,
            f"{int((~finite).sum())} NaN or infinite voxels, the first at (x, y, ...) = {first}",
            "repair the export that made this file, or leave the patient out",
        )
    pixel_spacing, slice_spacing = _spacing(header, path, slices=voxels.shape[2] if voxels.ndim > 2 else 1)
    array = voxels.T if voxels.ndim > 2 else voxels.T[None]
    return NiftiStack(np.ascontiguousarray(array), pixel_spacing, slice_spacing, affine, path)


def read_labelled(
    image_path: Path, mask_path: Path, label_map: Mapping[int, int], ndim: Sequence[int]
) -> tuple[NiftiStack, np.ndarray]:
    """Return an image and its mask in the label map of `cmrsynth.labels`.

    Returns:
        The image and a uint8 mask of the same shape.

    Raises:
        InputError: one of them cannot be read (see `read_nifti`), the mask holds unknown values, or the two are not
            on the same grid: shapes differ, or some corner of the volume lies more than half a voxel apart.
    """
    image = read_nifti(image_path, ndim)
    if not mask_path.is_file():
        raise InputError(mask_path, "the mask file is missing", f"put the expert mask of {image_path.name} there")
    mask = read_nifti(mask_path, ndim)
    if mask.array.shape != image.array.shape:
        raise InputError(
            mask_path,
            f"a mask of shape {mask.array.shape}, but {image_path.name} has shape {image.array.shape} "
            "(time, slice, row, column)",
            "export image and mask on the same grid",
        )
    _check_same_grid(image, mask)
    return image, harmonise(mask.array, label_map, str(mask_path))


def _open(path: Path) -> tuple[np.ndarray, object, np.ndarray]:
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.openers import ImageOpener
    from nibabel.spatialimages import HeaderDataError

    if not path.is_file():
        raise InputError(path, "the file is missing", "check the folder against the data set's own listing")
    try:
        image = nibabel.load(path)
        affine = np.asarray(image.affine, dtype=np.float64)
        with ImageOpener(str(path)) as stream:  # nibabel.load sets a voxel size of 0 to 1 mm: read what is written
            header = type(image.header).from_fileobj(stream, check=False)
        voxels = np.asanyarray(image.dataobj)  # nibabel reads lazily: a cut file shows only here
    except (OSError, EOFError, zlib.error, ValueError, ImageFileError, HeaderDataError) as error:
        what = f"cannot be read as NIfTI, it is cut short or damaged ({reason(error, path)})"
        raise InputError(path, what, _COPY_AGAIN) from error
    if voxels.dtype.kind not in "iufb":
        raise InputError(path, f"voxels of type {voxels.dtype}", "export grey values, one number per voxel")
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused by the caller
        return voxels.astype(np.float32), header, affine


def _spacing(header: object, path: Path, slices: int) -> tuple[tuple[float, float], float | None]:
    unit = _TO_MM.get(header.get_xyzt_units()[0], 1.0)
    x, y, z = (abs(float(zoom)) * unit for zoom in header["pixdim"][1:4])  # a negative size only means a flip
    in_plane = (y, x)
    if not (np.isfinite(in_plane).all() and min(in_plane) > 0):
        raise InputError(path, f"pixel size {in_plane} mm in the header", "write the true pixel size into the header")
    if np.isfinite(z) and z > 0:
        return in_plane, z
    if slices > 1:
        raise InputError(path, f"slice spacing {z} mm in the header", "write the true slice spacing into the header")
    return in_plane, None


def _check_same_grid(image: NiftiStack, mask: NiftiStack) -> None:
    z, h, w = image.array.shape[-3:]
    corners = np.array([[x, y, k, 1] for x in (0, w - 1) for y in (0, h - 1) for k in (0, z - 1)], dtype=float)
    apart = np.linalg.norm((corners @ (image.affine - mask.affine).T)[:, :3], axis=1).max()
    smallest = np.linalg.norm(image.affine[:3, :3], axis=0).min()
    spacings = (image.pixel_spacing, image.slice_spacing or 0.0), (mask.pixel_spacing, mask.slice_spacing or 0.0)
    same_spacing = all(np.allclose(a, b, rtol=0.01) for a, b in zip(*spacings, strict=True))
    if same_spacing and apart <= smallest / 2:
        return
    raise InputError(
        mask.path,
        f"lies on another grid than {image.path.name}: spacing (row, column) {_mm(mask.pixel_spacing)}, slices "
        f"{mask.slice_spacing} mm against {_mm(image.pixel_spacing)}, {image.slice_spacing} mm, and corners "
        f"{apart:.3g} mm apart",
        "export the mask with the header (affine and voxel size) of its image",
    )


def _mm(spacing: tuple[float, float]) -> str:
    return f"({spacing[0]:.4g}, {spacing[1]:.4g}) mm"
