from __future__ import annotations

from collections import Counter
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from cmrsynth.data.pseudonyms import conceal, pseudonyms
from cmrsynth.data.splits import (
    check_disjoint,
    image_digests,
    read_split_file,
    split_digest,
    split_patients,
)
from cmrsynth.data.study import PatientEntry
from cmrsynth.errors import InputError

_spec = spec_from_file_location("studies", Path(__file__).with_name("studies.py"))
studies = module_from_spec(_spec)
_spec.loader.exec_module(studies)


def cohort(number, vendors="AB", pathologies=("normal", "dilated")):
    return [
        PatientEntry(f"p{i:03d}", studies.beating_study, vendors[i % len(vendors)], pathologies[i % len(pathologies)])
        for i in range(number)
    ]


def test_every_patient_is_in_exactly_one_split_and_sizes_are_as_asked():
    entries = cohort(100)
    splits = split_patients(entries)
    assert Counter(p for split in splits.values() for p in split) == Counter(e.patient_id for e in entries)
    assert {name: len(split) for name, split in splits.items()} == {"train": 60, "validation": 15, "test": 25}


@pytest.mark.parametrize("number", range(3, 30))
def test_no_split_is_empty_when_three_patients_are_there(number):
    splits = split_patients(cohort(number))
    assert all(splits.values())
    assert sum(map(len, splits.values())) == number
    assert len(splits["train"]) >= len(splits["test"]) >= len(splits["validation"]) or number < 5


def test_two_patients_are_for_training_and_test():
    assert [len(split) for split in split_patients(cohort(2)).values()] == [1, 0, 1]


def test_strata_are_shared_out_in_proportion():
    entries = cohort(120, vendors="ABC", pathologies=("normal", "dilated", "infarct", "hypertrophic"))
    stratum = {e.patient_id: (e.vendor, e.pathology) for e in entries}
    for name, share in (("train", 0.6), ("validation", 0.15), ("test", 0.25)):
        counts = Counter(stratum[p] for p in split_patients(entries)[name])
        for group in set(stratum.values()):
            assert counts[group] == pytest.approx(share * 10, abs=1.5)


def test_small_strata_leave_no_vendor_out_of_a_split():
    entries = [
        PatientEntry(f"p{i:03d}", lambda: None, vendor="ABCD"[i % 4], pathology="vwxyz"[i // 4 % 5]) for i in range(40)
    ]
    vendor = {entry.patient_id: entry.vendor for entry in entries}
    for seed in range(10):
        splits = split_patients(entries, seed=seed)
        for name, due in (("train", 6), ("test", 2.5)):
            counts = Counter(vendor[p] for p in splits[name])
            assert all(abs(counts[v] - due) <= 1 for v in "ABCD"), (seed, name, counts)
        assert split_patients(entries[::-1], seed=seed) == splits


def test_order_does_not_matter_and_the_seed_does():
    entries = cohort(40)
    assert split_patients(entries) == split_patients(entries[::-1])
    assert split_patients(entries, seed=1) != split_patients(entries, seed=2)


def test_a_whole_vendor_is_held_out():
    entries = cohort(40, vendors="ABCD")
    splits = split_patients(entries, test_vendors=["D"])
    vendor = {e.patient_id: e.vendor for e in entries}
    assert {vendor[p] for p in splits["test"]} == {"D"}
    assert len(splits["test"]) == 10
    assert "D" not in {vendor[p] for p in splits["train"] + splits["validation"]}
    assert len(splits["validation"]) == 4  # .15 of 30 is 4.5; ties go to training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_vendors": ["Z"]}, r"no patient of vendor \['Z'\]"),
        ({"test_vendors": ["A", "B"]}, "every patient is of this vendor"),
        ({"test_fraction": 0.9, "validation_fraction": 0.1}, "nothing to train on"),
        ({"test_fraction": -0.1}, "nothing to train on"),
    ],
)
def test_impossible_splits_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        split_patients(cohort(10), **options)


def test_a_patient_listed_twice_or_nobody_is_refused():
    with pytest.raises(InputError, match="p000: this patient is listed twice"):
        split_patients([*cohort(4), cohort(1)[0]])
    with pytest.raises(InputError, match="no patients found"):
        split_patients([])


def split_file(folder, text):
    path = folder / "splits.csv"
    path.write_text(text)
    return path


def test_explicit_lists_are_followed(tmp_path):
    path = split_file(tmp_path, "patient_id,split\np000,test\np002,train\np001,train\n")
    assert read_split_file(path, cohort(3)) == {"train": ["p001", "p002"], "validation": [], "test": ["p000"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patient_id,split\np000,train\np000,test\np001,train\n", "splits train and test: both hold patient p000"),
        ("patient_id,split\np000,train\np001,training\n", "unknown split 'training'"),
        ("patient_id,split\np000,train\np001,test\np009,test\n", r"unknown patients \['p009'\]"),
        ("patient_id,split\np000,train\n", r"patients \['p001'\] are in no split"),
        ("patient,split\np000,train\n", "patient_id and split"),
        ("", "patient_id and split"),
    ],
)
def test_faulty_split_files_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_split_file(split_file(tmp_path, text), cohort(2))


def test_missing_split_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none.csv: no such file"):
        read_split_file(tmp_path / "none.csv", cohort(2))


def test_shared_patient_is_refused():
    check_disjoint({"train": ["a"], "test": ["b"]})
    with pytest.raises(InputError, match="splits train and test: both hold patient b"):
        check_disjoint({"train": ["a", "b"], "test": ["b"]})


def test_one_patient_under_two_names_is_refused():
    anna, bert = studies.beating_study("anna"), studies.beating_study("bert")
    splits = {"train": ["anna"], "test": ["bert"]}
    check_disjoint(splits, {"anna": image_digests(anna), "bert": image_digests(bert)})
    with pytest.raises(InputError, match=r"patients anna and bert: the same image .*train and test"):
        check_disjoint(splits, {"anna": image_digests(anna), "bert": image_digests(anna)[3:4]})


def test_blank_slices_do_not_make_two_patients_one():
    blank = studies.with_images(studies.beating_study(), np.zeros_like)
    assert image_digests(blank) == []


def test_digest_tells_splits_apart():
    assert split_digest({"train": ["a"], "test": ["b"]}) != split_digest({"train": ["b"], "test": ["a"]})


def test_pseudonyms_do_not_follow_the_alphabet_and_are_stable():
    patients = [f"p{i:03d}" for i in range(50)]
    names = pseudonyms(patients, source="toy", seed=0)
    assert names == pseudonyms(patients[::-1], source="toy", seed=0)
    numbers = [int(names[p].split("-")[1]) for p in patients]
    assert sorted(numbers) == list(range(1, 51))
    assert abs(np.corrcoef(numbers, range(50))[0, 1]) < 0.4
    assert names != pseudonyms(patients, source="toy", seed=1)


def test_conceal_replaces_whole_words_only():
    names = {"p1": "toy-0001", "p10": "toy-0002"}
    assert conceal("p10 and p1, not p100; C:\\scans\\p1.nii", names) == "toy-0002 and toy-0001, not p100; (path)"
