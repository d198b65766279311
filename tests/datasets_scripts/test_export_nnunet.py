from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cmrsynth.data.loading import load_slices
from cmrsynth.data.nifti import read_nifti
from cmrsynth.errors import InputError

PROGRAM = Path(__file__).resolve().parents[2] / "datasets_scripts" / "export_nnunet.py"


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("export_nnunet", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def exported(program, toy_folder, tmp_path):
    program.export([f"{toy_folder}:train"], f"{toy_folder}:test", 501, "Toy", tmp_path / "raw")
    return tmp_path / "raw" / "Dataset501_Toy"


def test_the_layout_is_nnunets(exported):
    description = json.loads((exported / "dataset.json").read_text())
    cases = sorted(p.name for p in (exported / "labelsTr").iterdir())
    assert description["numTraining"] == len(cases) == 36
    assert description["channel_names"] == {"0": "MRI"}
    assert description["labels"]["background"] == 0
    assert sorted(description["labels"].values()) == list(range(len(description["labels"])))
    images = sorted(p.name for p in (exported / "imagesTr").iterdir())
    assert images == [case.replace(".nii.gz", "_0000.nii.gz") for case in cases]
    assert len(list((exported / "imagesTs").iterdir())) == len(list((exported / "labelsTs").iterdir())) == 18


def test_images_and_labels_read_back_upright_with_their_spacing(exported, toy_folder):
    part = load_slices(toy_folder, "train")
    for row in (0, 17, 35):
        image = read_nifti(exported / "imagesTr" / f"part0_{row:05d}_0000.nii.gz", (3,))
        label = read_nifti(exported / "labelsTr" / f"part0_{row:05d}.nii.gz", (3,))
        np.testing.assert_allclose(image.array[0], part.images[row], atol=1e-6)
        np.testing.assert_array_equal(label.array[0], part.masks[row])
        np.testing.assert_allclose(image.pixel_spacing, part.pixel_spacing[row])


def test_no_patient_is_in_two_folds(exported, toy_folder):
    part = load_slices(toy_folder, "train")
    of = {f"part0_{row:05d}": patient for row, patient in enumerate(part.patient_id)}
    folds = json.loads((exported / "splits_final.json").read_text())
    assert len(folds) == min(5, len(part.patients))
    for fold in folds:
        assert not {of[c] for c in fold["train"]} & {of[c] for c in fold["val"]}
        assert sorted(fold["train"] + fold["val"]) == sorted(of)
    assert sorted(case for fold in folds for case in fold["val"]) == sorted(of)


def test_test_patients_in_training_are_named(program, toy_folder, tmp_path, capsys):
    program.export([f"{toy_folder}:train+test"], f"{toy_folder}:test", 7, "Leaky", tmp_path)
    assert "warning: 3 test patients are in training" in capsys.readouterr().err


def test_what_nnunet_could_not_read_is_refused(program, exported, toy_folder):
    with pytest.raises(InputError, match="letters and digits"):
        program.export([str(toy_folder)], str(toy_folder), 1, "my set", exported.parent)
    with pytest.raises(InputError, match="already"):
        program.export([str(toy_folder)], str(toy_folder), 501, "Toy", exported.parent)
    with pytest.raises(InputError, match="two or more"):
        program.patient_folds({"a": "p", "b": "p"})


def test_the_program_states_its_usage_and_takes_help(program):
    import typer

    app = typer.Typer()
    app.command()(program.export)
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for word in ("plan_and_preprocess -d 501 -c 2d", "nnUNetv2_train", "nnUNetv2_predict", "nnUNetv2_evaluate_folder"):
        assert word in program.__doc__
