from __future__ import annotations

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from cmrsynth import cli
from cmrsynth.commands.build_choices import parse_label_map
from cmrsynth.data.loading import load_slices
from cmrsynth.errors import InputError

_spec = spec_from_file_location("raw_fixtures", Path(__file__).parents[1] / "data" / "raw_fixtures.py")
raw = module_from_spec(_spec)
_spec.loader.exec_module(raw)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `cmrsynth build ...` in this process; return the exit code and what was printed."""

    def _run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["cmrsynth", "build", *map(str, words)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        printed = capsys.readouterr()
        return exit_.value.code or 0, " ".join((printed.out + printed.err).split())

    return _run


def record(folder):
    return json.loads((folder / "build.json").read_text())


def test_phantom_is_built_and_summed_up(run, tmp_path):
    out = tmp_path / "phantom"
    code, printed = run("phantom", "--output", out, "--num-patients", 4, "--size", 48, "--spacing", 2.5)
    assert code == 0
    assert "train" in printed
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "validation", "test"}
    assert loaded["train"][0]["image"].size == (48, 48)
    assert loaded["train"][0]["pixel_spacing"] == [2.5, 2.5]


def test_acdc_with_every_choice_made(run, tmp_path):
    root, out = raw.write_acdc(tmp_path / "raw", 4), tmp_path / "acdc"
    lists = tmp_path / "splits.csv"
    lists.write_text(
        "patient_id,split\n"
        + "".join(f"patient00{i},{s}\n" for i, s in ((1, "train"), (2, "train"), (3, "test"), (4, "test")))
    )
    code, _ = run(
        "acdc", root, "--output", out, "--split-file", lists, "--localiser", "mask-oracle", "--intensity", "zscore",
        "--phases", "ED", "--size", 24, "--spacing", 1.5, "--seed", 3,
    )  # fmt: skip
    assert code == 0
    facts = record(out)
    assert [step["step"] for step in facts["steps"]] == [
        "select_labelled_slices", "resample_in_plane", "crop_around_heart", "select_frames", "foreground_z_score",
    ]  # fmt: skip
    assert facts["warnings"]
    assert facts["split_rule"] == "explicit patient lists"
    assert {s: f["patients"] for s, f in facts["splits"].items()} == {"train": 2, "test": 2}
    assert set(load_slices(out, "test").phase) == {"ED"}


def test_network_localiser_is_fitted_on_training_patients_and_kept(run, tmp_path, monkeypatch):
    monkeypatch.setattr("cmrsynth.data.localiser_network.fit.__kwdefaults__", {"seed": 0, "num_steps": 2})
    out = tmp_path / "acdc"
    root = raw.write_acdc(tmp_path / "raw", 4)
    assert run("acdc", root, "--output", out, "--localiser", "network", "--size", 24, "--spacing", 1.5)[0] == 0
    (crop,) = [step for step in record(out)["steps"] if step["step"] == "crop_around_heart"]
    assert crop["localiser"] == "network"
    assert crop["training_patients"] == record(out)["splits"]["train"]["patients"] == 2
    assert crop["sha256"] == record(out)["attachments"]["localiser.safetensors"]
    assert (out / "localiser.safetensors").stat().st_size > 0


def test_mnms_holds_out_a_vendor(run, tmp_path):
    out = tmp_path / "mnms"
    root = raw.write_mnms(tmp_path / "raw", 8)
    code, _ = run(
        "mnms", root, "--output", out, "--test-vendor", "Canon", "--size", 24, "--spacing", 1.5, "--localiser", "centre"
    )
    assert code == 0
    test, train = load_slices(out, "test"), load_slices(out, "train")
    assert set(test.vendor) == {"Canon"}
    assert "Canon" not in set(train.vendor)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_dicom_identifier_reaches_the_data_set(run, tmp_path):
    out = tmp_path / "sunnybrook"
    root = raw.write_sunnybrook(tmp_path / "raw", 3)
    assert run("sunnybrook", root, "--output", out, "--size", 24, "--spacing", 1.5)[0] == 0
    everything = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file()).lower()
    for word in (b"secret", b"19330303", b"20010203", b"scd0000001", b"sc-hf-i"):
        assert word not in everything


def write_folder(root, patients=3):
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for patient in range(patients):
        for number, mask in enumerate(raw.mask_stack(3)):
            name = f"p{patient}_{number}.png"
            grey = np.clip(raw.image_stack(mask, seed=10 * patient + number) / 2, 0, 255)
            Image.fromarray(grey.astype(np.uint8)).save(root / "images" / name)
            Image.fromarray(mask * 80).save(root / "masks" / name)
    return root


FOLDER = ("--label-map", "80=lv,160=myo,240=rv", "--pixel-spacing", 1.5, "--phases", "other", "--size", 24)


def test_folder_takes_its_label_map_from_the_command_line(run, tmp_path):
    root, out = write_folder(tmp_path / "raw"), tmp_path / "ours"
    assert run("folder", root, "--output", out, *FOLDER)[0] == 0
    assert set(np.unique(load_slices(out, "train").masks)) == {0, 1, 2, 3}


def test_one_frame_falls_back_to_the_centre_but_not_when_motion_was_asked_for(run, tmp_path):
    root, out = write_folder(tmp_path / "raw"), tmp_path / "ours"
    code, printed = run("folder", root, "--output", out, *FOLDER, "--localiser", "temporal-variance")
    assert code == 2
    assert "one frame only" in printed
    assert not out.exists()


def test_corrupt_file_is_named_then_left_out(run, tmp_path):
    root, out = raw.write_acdc(tmp_path / "raw", 4), tmp_path / "acdc"
    bad = next(root.rglob("patient002_frame*_gt.nii.gz"))
    raw.cut_in_half(bad)
    options = ("acdc", root, "--output", out, "--size", 24, "--spacing", 1.5)
    code, printed = run(*options)
    assert code == 2
    assert bad.name in printed
    assert "Traceback" not in printed
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw"]
    code, printed = run(*options, "--on-error", "skip")
    assert code == 0
    assert "left out acdc-000" in printed
    assert len(record(out)["left_out"]) == 1
    assert sum(f["patients"] for f in record(out)["splits"].values()) == 3


def test_reader_warnings_reach_the_card(run, tmp_path):
    root = tmp_path / "raw"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    rows = []
    for patient in range(3):
        for index in (1, 10, 21, 30):
            mask = raw.mask_stack(1, systole=index % 20 >= 10)[0]
            name = f"SC-N-{patient:02d}_{index:04d}.png"
            grey = np.clip(raw.image_stack(mask, seed=100 * patient + index) / 2, 0, 255)
            Image.fromarray(grey.astype(np.uint8)).save(root / "images" / name)
            Image.fromarray((mask == 1).astype(np.uint8)).save(root / "masks" / name)
            rows.append({"file_name": name, "patient_id": f"SC-N-{patient:02d}", "group": "N", "dicom_index": index})
    raw.write_csv(root / "metadata.csv", rows)
    code, printed = run("sunnybrook", root, "--output", tmp_path / "out", "--size", 24, "--spacing", 1.5)
    assert code == 0
    assert "nominal" in printed
    card = (tmp_path / "out" / "README.md").read_text()
    assert "nominal" in card
    assert str(tmp_path) not in card


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("mri",), "unknown source 'mri'"),
        (("acdc",), "no folder with raw files given"),
        (("phantom", "--pixel-spacing", 1), "--pixel-spacing means nothing here"),
        (("phantom", "--num-patients", 3, "--phases", "systole"), "unknown phases"),
        (("phantom", "--num-patients", 3, "--percentiles", 60, 40), "do not make a window"),
        (("phantom", "--num-patients", 3, "--test-vendor", "Z"), "no patient of vendor"),
        (("phantom", "--num-patients", 3, "--spacing", 0), "no pixel size"),
        (("phantom", "--num-patients", 3, "--size", -4), "no slice size"),
    ],
)
def test_mistakes_are_explained_in_one_message(run, tmp_path, words, message):
    code, printed = run(*words, "--output", tmp_path / "out")
    assert code == 2
    assert message in printed
    assert "To mend it" in printed
    assert list(tmp_path.iterdir()) == []


def test_existing_output_is_refused_before_anything_is_read(run, tmp_path):
    (tmp_path / "out").mkdir()
    code, printed = run("acdc", tmp_path / "nowhere", "--output", tmp_path / "out")
    assert code == 2
    assert "--overwrite" in printed


@pytest.mark.parametrize("text", ["1:lv", "1=heart", "one=lv", "1=lv,1=myo", ""])
def test_faulty_label_maps_are_refused(text):
    with pytest.raises(InputError, match="cannot read"):
        parse_label_map(text)


def test_push_makes_a_private_data_set_that_loads(run, tmp_path, hub, hub_server):
    code, _ = run("phantom", "--num-patients", 3, "--output", tmp_path / "out", "--push-to-hub", "me/built-phantom")
    assert code == 0
    pushed = hub / "datasets" / "me" / "built-phantom"
    assert (pushed / "build.json").read_bytes() == (tmp_path / "out" / "build.json").read_bytes()
    assert not list(pushed.rglob("*linking-table*"))
    loaded = datasets.load_dataset("me/built-phantom", cache_dir=str(tmp_path / "cache"))
    assert len(loaded["train"]) == record(tmp_path / "out")["splits"]["train"]["slices"]
