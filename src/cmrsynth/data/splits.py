"""Splits by patient: no patient is ever in two of them, and the same seed gives the same ones."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from cmrsynth.data.study import PatientEntry, Study
from cmrsynth.errors import InputError

SPLITS = ("train", "validation", "test")
WORTH_A_SWAP = 1.5  # below this, strata are as even as whole patients allow
Splits = dict[str, list[str]]  # split name to patient ids


def split_patients(
    entries: Sequence[PatientEntry],
    *,
    seed: int = 0,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.25,
    test_vendors: Sequence[str] = (),
) -> Splits:
    """Return train, validation and test patients, stratified by pathology and vendor.

    The number of patients per split is the largest-remainder rounding of the fractions, at least one where
    patients allow. Patients are drawn in an order given by a hash of (seed, patient), so that the order of
    `entries` does not matter.

    Args:
        entries: all patients.
        seed: another seed gives another split.
        validation_fraction: share of patients for validation.
        test_fraction: share of patients for the test; ignored with `test_vendors`.
        test_vendors: all patients of these vendors, and only they, become the test split.

    Raises:
        InputError: a patient is listed twice, fractions leave nothing to train on, or a vendor is unknown.
    """
    _check_unique(entries)
    if not (0 <= validation_fraction < 1 and 0 <= test_fraction < 1 and validation_fraction + test_fraction < 1):
        raise InputError(
            "split fractions",
            f"validation {validation_fraction} and test {test_fraction} leave nothing to train on",
            "give fractions from 0 to 1 whose sum is below 1",
        )
    held_out = _of_vendors(entries, test_vendors)
    rest = [entry for entry in entries if entry.patient_id not in held_out]
    if test_vendors:
        fractions = {"train": 1 - validation_fraction, "validation": validation_fraction, "test": 0.0}
    else:
        train = 1 - validation_fraction - test_fraction
        fractions = {"train": train, "validation": validation_fraction, "test": test_fraction}
    splits = _balance(_allocate(_stratified_order(rest, seed), _quotas(len(rest), fractions)), rest)
    splits["test"] = sorted(splits["test"] + sorted(held_out))
    return splits


def _check_unique(entries: Sequence[PatientEntry]) -> None:
    if not entries:
        raise InputError("source", "no patients found", "check the folder against the layout the source expects")
    seen: set[str] = set()
    for entry in entries:
        if entry.patient_id in seen:
            raise InputError(entry.patient_id, "this patient is listed twice", "give every patient its own id")
        seen.add(entry.patient_id)


def _of_vendors(entries: Sequence[PatientEntry], vendors: Sequence[str]) -> set[str]:
    known = {entry.vendor for entry in entries}
    unknown = sorted(set(vendors) - known)
    if unknown:
        raise InputError("test vendor", f"no patient of vendor {unknown}", f"choose among {sorted(known)}")
    if vendors and known == set(vendors):
        raise InputError("test vendor", "every patient is of this vendor", "hold out fewer vendors")
    return {entry.patient_id for entry in entries if entry.vendor in vendors}


def _rank(seed: int, *name: str) -> str:
    return hashlib.sha256(repr((seed, *name)).encode()).hexdigest()


def _stratified_order(entries: Sequence[PatientEntry], seed: int) -> list[str]:
    """Return patient ids, stratum after stratum, in hash order."""
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for entry in entries:
        strata[entry.pathology, entry.vendor].append(entry.patient_id)
    ordered = sorted(strata, key=lambda stratum: _rank(seed, "stratum", *stratum))
    return [patient for stratum in ordered for patient in sorted(strata[stratum], key=lambda p: _rank(seed, p))]


def _quotas(total: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Return how many of `total` patients each split gets.

    >>> _quotas(3, {"train": 0.6, "validation": 0.15, "test": 0.25})
    {'train': 1, 'validation': 1, 'test': 1}
    >>> _quotas(10, {"train": 0.6, "validation": 0.15, "test": 0.25})
    {'train': 6, 'validation': 1, 'test': 3}
    """
    exact = {split: total * fraction for split, fraction in fractions.items()}
    quotas = {split: int(share + 1e-9) for split, share in exact.items()}
    # Ties go to the split that is needed most: train, then test (the later one), then validation.
    priority = {"train": 2, "test": 1, "validation": 0}
    by_remainder = sorted(exact, key=lambda s: (round(exact[s] - quotas[s], 9), priority[s]), reverse=True)
    for split in by_remainder[: total - sum(quotas.values())]:
        quotas[split] += 1
    for split in sorted(quotas, key=priority.__getitem__, reverse=True):
        largest = max(quotas, key=quotas.__getitem__)
        if fractions[split] > 0 and quotas[split] == 0 and quotas[largest] > 1:
            quotas[largest] -= 1
            quotas[split] += 1
    return quotas


def _allocate(order: Sequence[str], quotas: Mapping[str, int]) -> Splits:
    """Deal patients out so that every stretch of `order` is shared in proportion to `quotas`."""
    splits: Splits = {split: [] for split in SPLITS}
    for position, patient in enumerate(order, start=1):
        short = {
            split: quotas[split] * position / len(order) - len(splits[split])
            for split in SPLITS
            if len(splits[split]) < quotas[split]
        }
        splits[max(short, key=short.__getitem__)].append(patient)
    return {split: sorted(patients) for split, patients in splits.items()}


def _balance(splits: Splits, entries: Sequence[PatientEntry]) -> Splits:
    """Swap patients between splits while that brings vendors and pathologies nearer to their due shares.

    Where every pathology of every vendor is one or two patients, dealing them out one stratum at a time can leave
    a vendor out of the test split; a membership attack would then measure the vendor.
    """
    strata = {
        e.patient_id: {("vendor", e.vendor), ("pathology", e.pathology), (e.vendor, e.pathology)} for e in entries
    }
    total = Counter(stratum for found in strata.values() for stratum in found)
    excess = {split: {k: -n * len(splits[split]) / len(entries) for k, n in total.items()} for split in splits}
    place = {patient: split for split, patients in splits.items() for patient in patients}
    for patient, split in place.items():
        for stratum in strata[patient]:
            excess[split][stratum] += 1

    def improved() -> bool:
        for one, other in combinations(sorted(place), 2):
            here, there = place[one], place[other]
            if here == there:
                continue
            leaving, coming = strata[one] - strata[other], strata[other] - strata[one]
            change = sum(1 + excess[there][k] - excess[here][k] for k in leaving)
            change += sum(1 + excess[here][k] - excess[there][k] for k in coming)
            if change < -WORTH_A_SWAP:  # half the change of the sum of squared excesses
                place[one], place[other] = there, here
                for strata_moved, source, target in ((leaving, here, there), (coming, there, here)):
                    for stratum in strata_moved:
                        excess[source][stratum] -= 1
                        excess[target][stratum] += 1
                return True
        return False

    for _ in range(len(entries)):
        if not improved():
            break
    return {split: sorted(p for p in place if place[p] == split) for split in splits}


def read_split_file(path: Path, entries: Sequence[PatientEntry]) -> Splits:
    """Return the splits written in a CSV file with the columns `patient_id,split`.

    Raises:
        InputError: a column is missing, a split has another name than train, validation or test, a patient is
            unknown to the source, not listed, or listed in two splits.
    """
    _check_unique(entries)
    if not path.is_file():
        raise InputError(path, "no such file", "give a CSV file with the columns patient_id,split")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"patient_id", "split"} <= set(rows[0]):
        raise InputError(path, "the columns patient_id and split are not both there", "write them in the first line")
    splits: Splits = {split: [] for split in SPLITS}
    for row in rows:
        if row["split"] not in splits:
            raise InputError(path, f"unknown split {row['split']!r}", f"use one of {', '.join(SPLITS)}")
        splits[row["split"]].append(row["patient_id"])
    check_disjoint(splits)
    listed, known = {row["patient_id"] for row in rows}, {entry.patient_id for entry in entries}
    if listed - known:
        raise InputError(path, f"unknown patients {sorted(listed - known)[:5]}", "write ids as the source does")
    if known - listed:
        raise InputError(path, f"patients {sorted(known - listed)[:5]} are in no split", "list every patient")
    return {split: sorted(patients) for split, patients in splits.items()}


def check_disjoint(splits: Mapping[str, Sequence[str]], images: Mapping[str, Sequence[bytes]] | None = None) -> None:
    """Refuse splits that share a patient, by name or by image.

    Args:
        splits: split name to patient ids.
        images: patient id to the digests of its images (`image_digests`); two patients with a common image are
            one patient under two names, and are refused wherever they are.

    Raises:
        InputError: naming the patient and the splits, or the two patients.
    """
    home: dict[str, str] = {}
    for split, patients in splits.items():
        for patient in patients:
            if home.setdefault(patient, split) != split:
                raise InputError(
                    f"splits {home[patient]} and {split}",
                    f"both hold patient {patient}",
                    "put every patient in one split only",
                )
    owner: dict[bytes, str] = {}
    for patient, digests in (images or {}).items():
        for digest in digests:
            other = owner.setdefault(digest, patient)
            if other != patient:
                raise InputError(
                    f"patients {other} and {patient}",
                    f"the same image under two names (splits {home.get(other)} and {home.get(patient)})",
                    "leave one of them out",
                )


def image_digests(study: Study) -> list[bytes]:
    """Return one digest per slice image as read; blank slices are left out, since all blank slices are equal."""
    return [
        hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image, np.float32).tobytes()).digest()
        for volume in study.volumes
        for image in volume.image
        if image.min() < image.max()
    ]


def split_digest(splits: Mapping[str, Sequence[str]]) -> str:
    """Return a 16-digit digest of who is in which split; equal splits have equal digests.

    >>> split_digest({"train": ["a", "b"]}) == split_digest({"train": ["b", "a"], "test": []})
    True
    """
    lines = sorted(f"{split},{patient}" for split, patients in splits.items() for patient in patients)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
