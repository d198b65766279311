"""What the options of `cmrsynth build` stand for: words on the command line to patients, splits and steps."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from cmrsynth.errors import InputError

if TYPE_CHECKING:
    from cmrsynth.data.localise import Localiser
    from cmrsynth.data.preprocessing import Step
    from cmrsynth.data.splits import Splits
    from cmrsynth.data.study import PatientEntry


class LocaliserName(str, Enum):
    """How the heart is found before cropping."""

    auto = "auto"
    temporal_variance = "temporal-variance"
    centre = "centre"
    network = "network"
    mask_oracle = "mask-oracle"


class Intensity(str, Enum):
    """How intensities become [0, 1]."""

    percentile = "percentile"
    minmax = "minmax"
    zscore = "zscore"


class OnError(str, Enum):
    """What to do with a patient that cannot be read."""

    stop = "raise"
    skip = "skip"


LABEL_WORDS = {"background": 0, "lv": 1, "myo": 2, "rv": 3}
# Options that only one source understands; giving one to another source is refused, not ignored.
SOURCE_OPTIONS = {
    "num_patients": "phantom",
    "pixel_spacing": "sunnybrook folder",
    "label_map": "folder",
    "patient_regex": "folder",
    "myocardium": "sunnybrook",
}


def parse_label_map(text: str | None) -> dict[int, int] | None:
    """Return source value to project label from a text such as "1=lv,2=myo,3=rv".

    Raises:
        InputError: it cannot be read so.

    >>> parse_label_map("1=lv, 85=myo")
    {1: 1, 85: 2}
    """
    if text is None:
        return None
    labels: dict[int, int] = {}
    for part in text.split(","):
        value, _, word = (piece.strip().lower() for piece in part.partition("="))
        if not value.isdigit() or word not in LABEL_WORDS or int(value) in labels:
            raise InputError(
                "label map",
                f"cannot read {part!r}",
                f"write value=name, name among {', '.join(LABEL_WORDS)}, each once",
            )
        labels[int(value)] = LABEL_WORDS[word]
    return labels


def list_patients(
    source: str, root: Path | None, seed: int, **given: object
) -> tuple[Sequence[PatientEntry], Sequence[str]]:
    """Return the patients of a source, and what its reader warned about."""
    from cmrsynth.data.sources import SOURCES

    if source not in SOURCES:
        raise InputError("source", f"unknown source {source!r}", f"use one of {', '.join(SOURCES)}")
    if root is None and source != "phantom":
        raise InputError(source, "no folder with raw files given", f"as in: cmrsynth build {source} FOLDER")
    options = {name: value for name, value in given.items() if value is not None}
    for name in options:
        if source not in SOURCE_OPTIONS[name].split():
            flag = "--" + name.replace("_", "-")
            raise InputError(source, f"{flag} means nothing here", f"it is for {SOURCE_OPTIONS[name]}; leave it out")
    if source == "phantom":
        options["seed"] = seed
    # Warnings go into the card as well: who reads the data set later must know, for instance, that mm are nominal.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        entries = SOURCES[source].patients(root, **options)
    return entries, [str(warning.message) for warning in caught if warning.category is UserWarning]


def choose_splits(
    entries: Sequence[PatientEntry],
    seed: int,
    validation_fraction: float,
    test_fraction: float,
    split_file: Path | None,
    test_vendors: Sequence[str],
) -> tuple[Splits, str]:
    """Return the splits and one sentence for the card on how they came about."""
    from cmrsynth.data.splits import read_split_file, split_patients

    if split_file is not None:
        if test_vendors:
            raise InputError("splits", "--split-file and --test-vendor exclude each other", "give one of them")
        return read_split_file(split_file, entries), "explicit patient lists"
    splits = split_patients(
        entries,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        test_vendors=test_vendors,
    )
    if test_vendors:
        rule = f"test = all patients of vendor {', '.join(test_vendors)}; validation fraction {validation_fraction}"
        return splits, f"{rule} of the rest, stratified by pathology and vendor"
    rule = f"validation fraction {validation_fraction}, test fraction {test_fraction}"
    return splits, f"{rule}, stratified by pathology and vendor"


def steps_before_crop(*, keep_empty: bool, bias_field: bool, spacing: float) -> list[Step]:
    """Return the steps that the localiser network, too, must see done."""
    from cmrsynth.data.geometry import ResampleInPlane
    from cmrsynth.data.preprocessing import SelectLabelledSlices

    steps: list[Step] = [SelectLabelledSlices(keep_empty=keep_empty)]
    if bias_field:
        from cmrsynth.data.bias_field import BiasFieldCorrection

        steps.append(BiasFieldCorrection())
    return [*steps, ResampleInPlane(spacing)]


def steps_from_crop(
    size: int, finder: Localiser, phases: str, intensity: Intensity, percentiles: tuple[float, float]
) -> list[Step]:
    """Return the crop around the heart and the steps after it."""
    from cmrsynth.data.intensity import ForegroundZScore, MinMax, PercentileClip
    from cmrsynth.data.localise import CropAroundHeart
    from cmrsynth.data.preprocessing import SelectFrames

    windows = {
        Intensity.percentile: lambda: PercentileClip(*percentiles),
        Intensity.minmax: MinMax,
        Intensity.zscore: ForegroundZScore,
    }
    chosen = tuple(phase.strip() for phase in phases.split(",") if phase.strip())
    # Frames are dropped after the crop, because the localiser looks at what moves between them; the window is
    # set by the cropped volume, so that fat under the coil does not darken the heart.
    return [CropAroundHeart(size, finder), SelectFrames(chosen), windows[intensity]()]


def choose_localiser(
    name: LocaliserName,
    entries: Sequence[PatientEntry],
    splits: Splits,
    before: Sequence[Step],
    *,
    seed: int,
    on_error: OnError,
) -> tuple[Localiser, dict[str, bytes]]:
    """Return the localiser, and the files that it adds to the data set."""
    from cmrsynth.data import localise

    if name is LocaliserName.network:
        from cmrsynth.data.localiser_network import fit_on_patients

        training = [entry for entry in entries if entry.patient_id in set(splits["train"])]
        network = fit_on_patients(training, before, seed=seed, skip_bad=on_error is OnError.skip)
        return network, {network.FILE: network.to_bytes()}
    made = {
        LocaliserName.auto: localise.MotionElseCentre,
        LocaliserName.temporal_variance: localise.TemporalVariance,
        LocaliserName.centre: localise.ImageCentre,
        LocaliserName.mask_oracle: localise.MaskOracle,
    }
    return made[name](), {}
