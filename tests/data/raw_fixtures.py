"""Tiny raw data sets on disk, in the layout of each source, made from numpy arrays. Reached by the fixture `raw`."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np

from cmrsynth.labels import LV, MYO, RV

SIZE = 32
ACDC_VALUES = {LV: 3, MYO: 2, RV: 1}
MNMS_VALUES = {LV: 1, MYO: 2, RV: 3}
MNMS_TABLE = "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv"
FRAMES, ED, ES = 4, 0, 2  # 0-based


def mask_stack(slices: int = 3, *, systole: bool = False, size: int = SIZE) -> np.ndarray:
    """Return (Z, H, W) in project labels: LV disc in a myocardial ring, RV crescent beside it, smaller to the apex."""
    y, x = np.mgrid[:size, :size]
    mask = np.zeros((slices, size, size), np.uint8)
    for z in range(slices):
        shrink = 1 - 0.2 * z
        cavity, heart = (4 if systole else 6) * shrink, 9 * shrink
        right = np.hypot((x - size * 0.3) / 1.0, (y - size * 0.5) / 1.3) < 6 * shrink
        radius = np.hypot(x - size * 0.55, y - size * 0.47)
        mask[z][right] = RV
        mask[z][radius < heart] = MYO
        mask[z][radius < cavity] = LV
    return mask


def image_stack(mask: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return (Z, H, W) float32 that shows the mask: bright blood, darker muscle, noise."""
    grey = np.array([60, 320, 130, 300], np.float32)[mask]
    return grey + np.random.default_rng(seed).normal(0, 5, mask.shape).astype(np.float32)


def cine_stack(slices: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return images (T, Z, H, W) and masks of a beat: frame 0 is end-diastole, frame 2 is end-systole."""
    masks = np.stack([mask_stack(slices, systole=t == ES) for t in range(FRAMES)])
    return np.stack([image_stack(m, seed * FRAMES + t) for t, m in enumerate(masks)]), masks


def translate(mask: np.ndarray, values: dict[int, int]) -> np.ndarray:
    """Return a mask in a source's own label values."""
    out = np.zeros_like(mask)
    for label, value in values.items():
        out[mask == label] = value
    return out


def save_nifti(path: Path, array: np.ndarray, zooms: tuple[float, ...] = (1.5, 1.25, 10.0, 30.0)) -> None:
    """Write ([T,] Z, H, W) as NIfTI (x, y, z[, t]); zooms are (x, y, z, t)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array.T, np.diag([*zooms[:3], 1.0]))
    image.header.set_zooms(zooms[: array.ndim])
    nibabel.save(image, path)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_acdc(root: Path, num_patients: int = 2, *, values: dict[int, int] = ACDC_VALUES, cine: bool = True) -> Path:
    """Write `patientNNN` folders: ED is frame 1, ES frame 3 (1-based), groups take turns."""
    for number in range(1, num_patients + 1):
        name = f"patient{number:03d}"
        folder = root / ("training" if number % 2 else "testing") / name
        images, masks = cine_stack(seed=number)
        for frame in (ED, ES):
            stem = folder / f"{name}_frame{frame + 1:02d}"
            save_nifti(Path(f"{stem}.nii.gz"), images[frame])
            save_nifti(Path(f"{stem}_gt.nii.gz"), translate(masks[frame], values))
        if cine:
            save_nifti(folder / f"{name}_4d.nii.gz", images)
        group = ("DCM", "NOR", "HCM", "MINF", "RV")[(number - 1) % 5]
        info = f"ED: {ED + 1}\nES: {ES + 1}\nGroup: {group}\nHeight: 184.0\nNbFrame: {FRAMES}\nWeight: 95.0\n"
        (folder / "Info.cfg").write_text(info)
    return root


def write_mnms(root: Path, num_patients: int = 2, *, values: dict[int, int] = MNMS_VALUES) -> Path:
    """Write `<code>/<code>_sa[_gt].nii.gz` and the official table (with its unnamed first column)."""
    rows = []
    for number in range(num_patients):
        code = f"A{number}B{number}C{number}"
        images, masks = cine_stack(seed=number + 1)
        drawn = translate(masks, values)
        drawn[[t for t in range(FRAMES) if t not in (ED, ES)]] = 0
        folder = root / "Training" / "Labeled" / code
        save_nifti(folder / f"{code}_sa.nii.gz", images)
        save_nifti(folder / f"{code}_sa_gt.nii.gz", drawn)
        letter, vendor = (("A", "Siemens"), ("B", "Philips"), ("C", "GE"), ("D", "Canon"))[number % 4]
        rows.append(
            {
                "": number,
                "External code": code,
                "VendorName": vendor,
                "Vendor": letter,
                "Centre": number % 6 + 1,
                "ED": ED,
                "ES": ES,
                "Age": 50,
                "Pathology": ("HCM", "NOR")[number % 2],
                "Sex": "F",
                "Height": 170,
                "Weight": 70,
            }
        )
    write_csv(root / MNMS_TABLE, rows)
    return root


def write_csv(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_dicom(path: Path, pixels: np.ndarray, *, instance: int, z: int, trigger_ms: float, frames: int) -> None:
    """Write one image with a header full of identifiers that must not get out."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID, header.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    header.PatientName, header.PatientID, header.PatientBirthDate = "Secret^Person", "SECRET-ID", "19330303"
    header.StudyDate, header.StudyDescription, header.InstitutionName = "20010203", "SECRET TEXT", "SECRET PLACE"
    header.Manufacturer, header.MagneticFieldStrength = "GE MEDICAL SYSTEMS", "1.5"
    header.InstanceNumber, header.CardiacNumberOfImages, header.TriggerTime = instance, frames, trigger_ms
    header.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]  # the normal is -x
    header.ImagePositionPatient = [-8.0 * z, 5.0, 5.0]
    header.SliceLocation = 3.0 * z  # as with GE, not the distance along the stack
    header.PixelSpacing, header.SliceThickness = [1.5, 1.25], 8
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 1
    header.PixelData = np.clip(pixels, 0, 32767).astype("<i2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path)


def square(centre: float, half: float) -> np.ndarray:
    """Return the (x, y) corners of a square."""
    return centre + half * np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])


def write_sunnybrook(root: Path, num_patients: int = 1, *, slices: int = 3) -> Path:
    """Write DICOM cines of 4 frames, square contours: ED (half side 5) at frame 3, ES (half side 3) at frame 1."""
    rows = []
    for number in range(1, num_patients + 1):
        patient, original = f"SCD{number:07d}", f"SC-{('HF-I', 'N')[(number - 1) % 2]}-{number}"
        rows.append({"patient_id": patient, "original_id": original})
        images, _ = cine_stack(slices, seed=number)
        for z in range(slices):
            for t in range(FRAMES):
                instance = z * FRAMES + t + 1
                write_dicom(
                    root / "dicoms" / patient / f"{instance}.dcm",
                    images[t, z],
                    instance=instance,
                    z=z,
                    trigger_ms=20.0 + 40 * t,
                    frames=FRAMES,
                )
            for t, half in ((3, 5.0), (1, 3.0)):
                _write_contour(root, original, "i", z * FRAMES + t + 1, square(15.5, half))
            _write_contour(root, original, "o", z * FRAMES + 4, square(15.5, 8.0))
    write_csv(root / "link.csv", rows)
    return root


def _write_contour(root: Path, original: str, kind: str, instance: int, points: np.ndarray) -> None:
    folder = root / "contourfiles" / original / f"{kind}-contours"
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{x:.2f} {y:.2f}\n" for x, y in points)
    (folder / f"IM-0001-{instance:04d}-{kind}contour-manual.txt").write_text(lines)


def write_folder(root: Path, num_patients: int = 2, *, values: dict[int, int] = MNMS_VALUES) -> Path:
    """Write PNG slices `p<N>_<phase>_<z>.png` (16 bit) with masks and metadata.csv of vendor, phase and spacing."""
    rows = []
    for number in range(num_patients):
        for phase in ("ED", "ES"):
            mask = mask_stack(systole=phase == "ES")
            image = image_stack(mask, seed=number)
            for z in range(len(mask)):
                name = f"p{number}_{phase}_{z}.png"
                save_png(root / "images" / name, np.clip(image[z], 0, None).astype(np.uint16))
                save_png(root / "masks" / name, translate(mask[z], values))
                rows.append(
                    {
                        "file_name": name,
                        "patient_id": f"p{number}",
                        "vendor": ("GE", "Siemens")[number % 2],
                        "pathology": "normal",
                        "phase": phase,
                        "slice_index": z,
                        "pixel_spacing": 1.5,
                        "slice_spacing": 8,
                        "field_strength": 3,
                    }
                )
    write_csv(root / "metadata.csv", rows)
    return root


def save_png(path: Path, array: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
