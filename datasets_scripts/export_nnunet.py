"""Write a data set for nnU-Net v2, the reference segmentation network outside this project.

    python datasets_scripts/export_nnunet.py data/acdc:train --test data/acdc:test --id 501 --name RealACDC
    python datasets_scripts/export_nnunet.py runs/synthetic --test data/acdc:test --id 502 --name Synthetic
    python datasets_scripts/export_nnunet.py data/acdc:train runs/synthetic --test data/acdc:test --id 503 --name Both

The recipe (pip install nnunetv2; Isensee et al. 2021, arXiv:1809.10486), the same for each id:

    export nnUNet_raw=nnUNet_raw nnUNet_preprocessed=nnUNet_preprocessed nnUNet_results=nnUNet_results
    nnUNetv2_plan_and_preprocess -d 501 -c 2d --verify_dataset_integrity
    cp nnUNet_raw/Dataset501_RealACDC/splits_final.json nnUNet_preprocessed/Dataset501_RealACDC/
    for fold in 0 1 2 3 4; do nnUNetv2_train 501 2d $fold; done
    nnUNetv2_predict -d 501 -c 2d -f 0 1 2 3 4 -i nnUNet_raw/Dataset501_RealACDC/imagesTs -o predictions/501
    nnUNetv2_evaluate_folder nnUNet_raw/Dataset501_RealACDC/labelsTs predictions/501 \
        -djfile nnUNet_raw/Dataset501_RealACDC/dataset.json -pfile predictions/501/plans.json

Train all ids with one trainer, so that each gets the same number of updates (1000 epochs of 250). Folds are made of
whole patients, and synthetic slices made from a patient's mask are in that patient's fold. Validation scores of a
mixed data set are partly on synthetic slices: compare by the test set, --test. Slices are 2-D NIfTI files with their
spacing; nnU-Net scores each slice, so pool a patient's slices before you quote Dice. The same protocol with a smaller
network, patient-wise and with intervals: `cmrsynth utility`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cmrsynth.data.loading import SliceSet, load_slices
from cmrsynth.errors import InputError
from cmrsynth.labels import LABEL_NAMES

FOLDS = 5
SLICE_THICKNESS = 999.0  # what nnU-Net itself writes for the axis a 2-D image does not have


def export(
    train: Annotated[list[str], typer.Argument(help="DATA or DATA:split (default split: train); several are joined.")],
    test: Annotated[str, typer.Option(help="Real data of other patients: DATA or DATA:split (default split: test).")],
    number: Annotated[int, typer.Option("--id", min=1, max=999, help="nnU-Net's number of the data set.")],
    name: Annotated[str, typer.Option(help="nnU-Net's name of the data set: letters and digits.")],
    output: Annotated[Path, typer.Option(help="The folder nnUNet_raw.")] = Path("nnUNet_raw"),
) -> None:
    """Write DatasetID_NAME with imagesTr, labelsTr, imagesTs, labelsTs, dataset.json and splits_final.json."""
    if not re.fullmatch(r"[A-Za-z0-9]+", name):
        raise InputError(f"--name {name}", "nnU-Net cannot read such a name", "use letters and digits only")
    parts, tested = [load_slices(location, "train") for location in train], load_slices(test, "test")
    labels = _common_labels([*parts, tested])
    folder = output / f"Dataset{number:03d}_{name}"
    if folder.exists():
        raise InputError(folder, "is there already", "remove it or choose another --id or --name")
    patients: dict[str, str] = {}
    for part_number, part in enumerate(parts):
        patients |= _write(part, labels, folder, "Tr", f"part{part_number}")
    shared = sorted(set(patients.values()) & set(tested.patients))
    if shared:
        typer.echo(
            f"warning: {len(shared)} test patients are in training, the first {shared[0]} (for synthetic slices: "
            "their masks are); scores on them are optimistic",
            err=True,
        )
    _write(tested, labels, folder, "Ts", "test")
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, **{LABEL_NAMES[label]: i for i, label in enumerate(labels, 1)}},
        "numTraining": len(patients),
        "file_ending": ".nii.gz",
    }
    _write_json(folder / "dataset.json", description)
    _write_json(folder / "splits_final.json", patient_folds(patients))
    typer.echo(f"{len(patients)} training and {len(tested)} test slices written to {folder}")


def patient_folds(patients: dict[str, str]) -> list[dict[str, list[str]]]:
    """Return nnU-Net's cross-validation splits, every patient's cases in one fold.

    Args:
        patients: case name to patient.

    >>> folds = patient_folds({"a0": "a", "a1": "a", "b0": "b"})
    >>> len(folds), folds[0]
    (2, {'train': ['b0'], 'val': ['a0', 'a1']})
    """
    names = sorted(set(patients.values()))
    if len(names) < 2:
        raise InputError(
            "training data", f"{len(names)} patient", "give two or more, or there is nothing to validate on"
        )
    folds = min(FOLDS, len(names))
    fold_of = {patient: index % folds for index, patient in enumerate(names)}
    return [
        {
            "train": sorted(case for case, patient in patients.items() if fold_of[patient] != fold),
            "val": sorted(case for case, patient in patients.items() if fold_of[patient] == fold),
        }
        for fold in range(folds)
    ]


def _common_labels(parts: list[SliceSet]) -> tuple[int, ...]:
    labels = tuple(sorted(set(parts[0].annotated_labels).intersection(*(part.annotated_labels for part in parts))))
    if not labels:
        raise InputError(
            parts[-1].name, "shares no annotated structure with the others", "give sets with the same ones"
        )
    return labels


def _write(part: SliceSet, labels: tuple[int, ...], folder: Path, which: str, prefix: str) -> dict[str, str]:
    """Write the images and labels of a set and return the patient of each case."""
    from rich.progress import track

    for kind in ("images", "labels"):
        (folder / f"{kind}{which}").mkdir(parents=True, exist_ok=True)
    consecutive = np.zeros(256, np.uint8)  # nnU-Net wants 1, 2, ... without gaps
    consecutive[list(labels)] = np.arange(1, len(labels) + 1)
    cases = {}
    for row in track(range(len(part)), description=f"Writing {part.name}", transient=True):
        case = f"{prefix}_{row:05d}"
        cases[case] = str(part.patient_id[row])
        spacing = part.pixel_spacing[row]
        _write_nifti(part.images[row].astype(np.float32), spacing, folder / f"images{which}" / f"{case}_0000.nii.gz")
        _write_nifti(consecutive[part.masks[row]], spacing, folder / f"labels{which}" / f"{case}.nii.gz")
    return cases


def _write_nifti(slice_: np.ndarray, spacing: np.ndarray, path: Path) -> None:
    """Write an (H, W) array so that `cmrsynth.data.nifti.read_nifti` and nnU-Net read (1, H, W)."""
    import nibabel

    affine = np.diag([float(spacing[1]), float(spacing[0]), SLICE_THICKNESS, 1.0])
    image = nibabel.Nifti1Image(slice_.T[:, :, None], affine)  # voxels are indexed (x, y, z)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        typer.run(export)
    except InputError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(2)
