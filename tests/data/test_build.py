from __future__ import annotations

import csv
import hashlib
import json
import stat
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import datasets
import numpy as np
import pytest

from cmrsynth.data.build import build_dataset
from cmrsynth.data.geometry import PadOrCrop
from cmrsynth.data.intensity import PercentileClip
from cmrsynth.data.loading import load_slices
from cmrsynth.data.localise import CropAroundHeart, MaskOracle
from cmrsynth.data.preprocessing import SelectLabelledSlices
from cmrsynth.data.shards import ShardWriter, study_rows
from cmrsynth.data.study import PatientEntry
from cmrsynth.errors import InputError
from cmrsynth.schema import features

_spec = spec_from_file_location("studies", Path(__file__).with_name("studies.py"))
studies = module_from_spec(_spec)
_spec.loader.exec_module(studies)

STEPS = [SelectLabelledSlices(), PadOrCrop(32), PercentileClip()]
NAMES = ("Schmidt-Anna", "Meier-Bert", "Huber-Cleo", "Wagner-Dora")
SPLITS = {"train": list(NAMES[:2]), "validation": [NAMES[2]], "test": [NAMES[3]]}


def entries():
    return [studies.entry(studies.beating_study(name, centre=(22.0 + i, 28.0))) for i, name in enumerate(NAMES)]


def build(output, patients=None, steps=STEPS, **options):
    options = {"splits": SPLITS, "source": studies.SOURCE, **options}
    return build_dataset(patients or entries(), steps, output=output, **options)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("build") / "toy")


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


def test_datasets_reads_the_folder_with_equal_features(built, tmp_path):
    loaded = datasets.load_dataset(str(built), cache_dir=str(tmp_path))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 20, "validation": 10, "test": 10}
    assert all(rows.features == features() for rows in loaded.values())


def test_rows_are_what_the_study_holds(built):
    study = PercentileClip()(PadOrCrop(32)(studies.beating_study(NAMES[3], centre=(25.0, 28.0))))
    stored = load_slices(built, "test")
    np.testing.assert_allclose(stored.images[:5], study.volumes[0].image, atol=0.5 / 65535 + 1e-7)
    np.testing.assert_array_equal(stored.masks[5:], study.volumes[1].mask)
    assert stored.phase.tolist() == ["ED"] * 5 + ["ES"] * 5
    assert stored.frame.tolist() == [0] * 5 + [9] * 5
    assert stored.slice_index.tolist() == [*range(5)] * 2
    assert stored.slice_level.tolist() == ["basal", "basal", "mid", "mid", "apical"] * 2
    assert stored.annotated_labels == (1,)
    assert (stored.pixel_spacing == 2.0).all()
    row = datasets.Dataset.from_parquet(str(built / "data/test-00000-of-00001.parquet"), keep_in_memory=True)[0]
    assert np.asarray(row["image"]).dtype == np.uint16
    assert np.asarray(row["mask"]).dtype == np.uint8
    assert (row["slice_spacing"], row["field_strength"], row["vendor"], row["source"]) == (8.0, None, "A", "toy")


def test_images_are_embedded_not_referred_to(built):
    import pyarrow.parquet as pq

    table = pq.read_table(built / "data/train-00000-of-00001.parquet")
    assert all(row["bytes"] and row["path"] is None for row in table["image"].to_pylist() + table["mask"].to_pylist())


def test_same_input_and_seed_give_the_same_bytes(built, tmp_path):
    again = build(tmp_path / "again", entries()[::-1])
    for path in sorted(p for p in built.rglob("*") if p.is_file()):
        assert path.read_bytes() == (again / path.relative_to(built)).read_bytes(), path.name


def test_no_original_identifier_is_in_any_byte(tmp_path):
    """Even where an identifier is part of an error message, a path or a warning."""
    broken = studies.broken_entry(NAMES[1])
    folder = build(
        tmp_path / "toy",
        [e if e.patient_id != NAMES[1] else broken for e in entries()],
        on_error="skip",
        notes=[f"/home/{NAMES[0]}/raw: {NAMES[2]} has no spacing"],
    )
    everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for name in NAMES:
        for word in (name, *name.split("-")):
            assert word.encode() not in everything
    assert b"/raw/" not in everything
    assert b"toy-0001" in everything


def test_linking_table_lies_beside_and_is_private(built):
    table = built.with_name("toy.linking-table.csv")
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    rows = list(csv.DictReader(table.open()))
    assert {row["patient_id"]: row["split"] for row in rows} == {p: s for s, ps in SPLITS.items() for p in ps}
    pseudonyms = {row["patient_id"]: row["pseudonym"] for row in rows}
    assert set(load_slices(built, "test").patient_id) == {pseudonyms[NAMES[3]]}


def test_record_holds_what_was_done(built):
    record = json.loads((built / "build.json").read_text())
    assert [step["step"] for step in record["steps"]] == ["select_labelled_slices", "pad_or_crop", "percentile_clip"]
    assert {s: (f["patients"], f["slices"]) for s, f in record["splits"].items()} == {
        "train": (2, 20),
        "validation": (1, 10),
        "test": (1, 10),
    }
    assert sum(count["slices"] for count in record["counts"]) == 40
    assert record["left_out"] == record["warnings"] == record["notes"] == []
    assert len(record["split_digest"]) == 16


def test_cut_hearts_are_counted(tmp_path):
    record = json.loads((build(tmp_path / "toy", steps=[PadOrCrop(12), PercentileClip()]) / "build.json").read_text())
    assert all(facts["slices_with_label_at_border"] > 0 for facts in record["splits"].values())


def test_oracle_crop_is_marked_in_record_and_card(tmp_path):
    folder = build(tmp_path / "toy", steps=[CropAroundHeart(32, MaskOracle()), PercentileClip()])
    warning = "oracle crop: uses the test masks; not valid for evaluation"
    assert json.loads((folder / "build.json").read_text())["warnings"] == [warning]
    assert warning in (folder / "README.md").read_text()


def test_attachments_are_written_and_hashed(tmp_path):
    folder = build(tmp_path / "toy", attachments={"localiser.safetensors": b"weights"})
    assert (folder / "localiser.safetensors").read_bytes() == b"weights"
    digest = json.loads((folder / "build.json").read_text())["attachments"]["localiser.safetensors"]
    assert digest == hashlib.sha256(b"weights").hexdigest()


def test_a_bad_patient_stops_the_build_and_nothing_remains(tmp_path):
    patients = [*entries()[:3], studies.broken_entry(NAMES[3])]
    with pytest.raises(InputError, match=r"/raw/Wagner-Dora.nii.gz: the file of Wagner-Dora ends early"):
        build(tmp_path / "toy", patients)
    assert leftovers(tmp_path) == []


def test_skip_builds_the_rest_and_lists_what_was_left_out(tmp_path):
    patients = [studies.broken_entry(NAMES[0]), *entries()[1:]]
    folder = build(tmp_path / "toy", patients, on_error="skip")
    record = json.loads((folder / "build.json").read_text())
    (left_out,) = record["left_out"]
    assert left_out["split"] == "train"
    assert left_out["reason"] == f"the file of {left_out['patient_id']} ends early"
    assert record["splits"]["train"]["patients"] == 1
    assert left_out["patient_id"] not in load_slices(folder, "train").patient_id
    assert f"| {left_out['patient_id']} | train | the file of" in (folder / "README.md").read_text()
    rows = list(csv.DictReader((tmp_path / "toy.linking-table.csv").open()))
    reasons = {row["patient_id"]: row["left_out_because"] for row in rows}
    assert "/raw/Schmidt-Anna.nii.gz" in reasons[NAMES[0]]
    assert reasons[NAMES[1]] == ""


def test_skip_refuses_when_nothing_is_left(tmp_path):
    with pytest.raises(InputError, match="no patient could be built"):
        build(tmp_path / "toy", [studies.broken_entry(name) for name in NAMES], on_error="skip")
    assert leftovers(tmp_path) == []


def test_a_split_that_lost_all_patients_is_not_written(tmp_path):
    folder = build(tmp_path / "toy", [*entries()[:3], studies.broken_entry(NAMES[3])], on_error="skip")
    assert set(datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))) == {"train", "validation"}


def test_an_interrupted_build_leaves_nothing(tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    patients = [*entries()[:3], PatientEntry(NAMES[3], interrupt)]
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "toy", patients)
    assert leftovers(tmp_path) == []


def test_a_failing_replacement_leaves_the_old_data_set(tmp_path):
    folder = build(tmp_path / "toy")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="ends early"):
        build(tmp_path / "toy", [*entries()[:3], studies.broken_entry(NAMES[3])], overwrite=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert leftovers(tmp_path) == ["toy", "toy.linking-table.csv"]


def test_existing_output_is_refused_then_replaced(tmp_path):
    build(tmp_path / "toy")
    with pytest.raises(InputError, match="exists already"):
        build(tmp_path / "toy")
    build(tmp_path / "toy", splits={"train": list(NAMES)}, overwrite=True)
    assert len(load_slices(tmp_path / "toy", "train")) == 40
    assert leftovers(tmp_path) == ["toy", "toy.linking-table.csv"]


def test_overwrite_spares_a_folder_that_is_no_data_set(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    with pytest.raises(InputError, match="not a data set built by cmrsynth"):
        build(tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter1.tex").exists()


def test_splits_that_share_a_patient_are_refused(tmp_path):
    with pytest.raises(InputError, match="splits train and test: both hold patient Schmidt-Anna"):
        build(tmp_path / "toy", splits={"train": [NAMES[0]], "test": [NAMES[0]]})
    assert leftovers(tmp_path) == []


def test_one_patient_under_two_names_is_refused(tmp_path):
    twin = replace(studies.beating_study(NAMES[0], centre=(22.0, 28.0)), patient_id=NAMES[3])
    patients = [*entries()[:3], studies.entry(twin)]
    with pytest.raises(InputError, match=r"patients Schmidt-Anna and Wagner-Dora: the same image"):
        build(tmp_path / "toy", patients)
    assert leftovers(tmp_path) == []
    folder = build(tmp_path / "toy", patients, on_error="skip")
    assert len(json.loads((folder / "build.json").read_text())["left_out"]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"splits": {"train": ["nobody"]}}, r"unknown patients \['nobody'\]"),
        ({"splits": {"dev": [NAMES[0]]}}, r"unknown splits \['dev'\]"),
        ({"on_error": "ignore"}, "unknown way 'ignore'"),
        ({"steps": [PadOrCrop(32)]}, "after all steps"),
    ],
)
def test_unusable_options_are_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        build(tmp_path / "toy", **options)
    assert leftovers(tmp_path) == []


def test_large_splits_become_several_shards(tmp_path, monkeypatch):
    monkeypatch.setattr("cmrsynth.data.shards.ROWS_PER_GROUP", 4)
    writer = ShardWriter(tmp_path, "train", shard_bytes=1)
    study = PercentileClip()(studies.beating_study())
    writer.write(study_rows(study, patient_id="toy-0001", levels={}))
    names = [path.name for path in writer.close()]
    assert names == [f"train-{n:05d}-of-00003.parquet" for n in range(3)] == leftovers(tmp_path)
    rows = datasets.Dataset.from_parquet([str(tmp_path / name) for name in names], keep_in_memory=True)
    assert rows["slice_index"][:] == [*range(5)] * 2
    assert rows["phase"][:] == ["ED"] * 5 + ["ES"] * 5
