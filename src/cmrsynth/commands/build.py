"""`cmrsynth build`: from a source's raw files to a data set that `datasets.load_dataset` reads."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    "myocardium": "sunnybrook",
}


def build(
    source: Annotated[str, typer.Argument(help="phantom, acdc, mnms, sunnybrook or folder.")],
    root: Annotated[Path | None, typer.Argument(help="Folder with the raw files (the phantom needs none).")] = None,
    output: Annotated[Path, typer.Option(help="Folder to make; its linking table is put beside it.")] = Path("data"),
    size: Annotated[int, typer.Option(help="Height and width of a slice in pixels.")] = 64,
    spacing: Annotated[float, typer.Option(help="Side of a pixel in mm; size x spacing is the field of view.")] = 2.0,
    localiser: Annotated[
        LocaliserName,
        typer.Option(
            help="How to find the heart to crop around. auto: temporal-variance where a patient has a cine or two "
            "frames, else centre. network: fitted on training patients. mask-oracle uses the test masks: never for "
            "evaluation."
        ),
    ] = LocaliserName.auto,
    intensity: Annotated[Intensity, typer.Option(help="Intensity window, per volume.")] = Intensity.percentile,
    percentiles: Annotated[
        tuple[float, float], typer.Option(help="Lower and upper percentile of --intensity percentile.")
    ] = (1.0, 99.0),
    bias_field: Annotated[
        bool, typer.Option("--bias-field/--no-bias-field", help="N4 bias-field correction (needs cmrsynth[n4]).")
    ] = False,
    keep_empty: Annotated[
        bool, typer.Option("--keep-empty/--drop-empty", help="Keep annotated slices where nothing was drawn.")
    ] = False,
    phases: Annotated[str, typer.Option(help="Phases to keep, comma-separated: ED, ES, other.")] = "ED,ES",
    label_map: Annotated[
        str | None, typer.Option(help='folder: the masks\' values, as in "1=lv,2=myo,3=rv" (background is 0).')
    ] = None,
    pixel_spacing: Annotated[
        float | None, typer.Option(help="sunnybrook, folder: side of a raw pixel in mm where files do not state it.")
    ] = None,
    myocardium: Annotated[
        bool, typer.Option("--myocardium", help="sunnybrook DICOM: end-diastole only, LV cavity and myocardium.")
    ] = False,
    num_patients: Annotated[int | None, typer.Option(help="phantom: number of patients (default 40).")] = None,
    validation_fraction: Annotated[float, typer.Option(help="Share of patients for validation.")] = 0.15,
    test_fraction: Annotated[float, typer.Option(help="Share of patients for the test.")] = 0.25,
    split_file: Annotated[
        Path | None, typer.Option(help="CSV with the columns patient_id,split, instead of drawing splits.")
    ] = None,
    test_vendor: Annotated[
        list[str] | None, typer.Option(help="Hold out all patients of this vendor as the test split; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the splits, pseudonyms, phantom and network.")] = 0,
    on_error: Annotated[
        OnError, typer.Option(help="raise: stop at the first bad file. skip: build the rest, list what was left out.")
    ] = OnError.stop,
    overwrite: Annotated[bool, typer.Option(help="Replace a data set built before at --output.")] = False,
    push_to_hub: Annotated[str | None, typer.Option(help="Also upload to this Hub id, as a private data set.")] = None,
) -> Path:
    """Build a data set: read, split by patient, preprocess, write Parquet with a card.

    Examples:
      cmrsynth build phantom --output data/phantom --num-patients 40
      cmrsynth build sunnybrook raw/sunnybrook --output data/sunnybrook --size 64 --spacing 2.0
      cmrsynth build folder raw/ours --label-map "1=lv,2=myo,3=rv" --output data/ours --on-error skip
    """
    from cmrsynth.data.build import build_dataset, check_output
    from cmrsynth.data.sources import SOURCES

    check_output(output, overwrite=overwrite)
    entries, notes = _patients(
        source,
        root,
        seed,
        num_patients=num_patients,
        pixel_spacing=pixel_spacing,
        label_map=parse_label_map(label_map),
        myocardium="ed" if myocardium else None,
    )
    splits, rule = _splits(entries, seed, validation_fraction, test_fraction, split_file, test_vendor or ())
    before = _steps_before_crop(keep_empty=keep_empty, bias_field=bias_field, spacing=spacing)
    finder, attachments = _localiser(localiser, entries, splits, before, seed=seed, on_error=on_error)
    steps = [*before, *_steps_from_crop(size, finder, phases, intensity, percentiles)]
    folder = build_dataset(
        entries,
        steps,
        splits=splits,
        source=SOURCES[source],
        output=output,
        seed=seed,
        on_error=on_error.value,
        overwrite=overwrite,
        split_rule=rule,
        attachments=attachments,
        notes=notes,
    )
    _show(folder)
    if push_to_hub:
        _push(folder, push_to_hub)
    return folder


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


def _patients(
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


def _splits(
    entries: Sequence[PatientEntry],
    seed: int,
    validation_fraction: float,
    test_fraction: float,
    split_file: Path | None,
    test_vendors: Sequence[str],
) -> tuple[Splits, str]:
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


def _steps_before_crop(*, keep_empty: bool, bias_field: bool, spacing: float) -> list[Step]:
    from cmrsynth.data.geometry import ResampleInPlane
    from cmrsynth.data.preprocessing import SelectLabelledSlices

    steps: list[Step] = [SelectLabelledSlices(keep_empty=keep_empty)]
    if bias_field:
        from cmrsynth.data.bias_field import BiasFieldCorrection

        steps.append(BiasFieldCorrection())
    return [*steps, ResampleInPlane(spacing)]


def _steps_from_crop(
    size: int, finder: Localiser, phases: str, intensity: Intensity, percentiles: tuple[float, float]
) -> list[Step]:
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


def _localiser(
    name: LocaliserName,
    entries: Sequence[PatientEntry],
    splits: Splits,
    before: Sequence[Step],
    *,
    seed: int,
    on_error: OnError,
) -> tuple[Localiser, dict[str, bytes]]:
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


def _show(folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from cmrsynth.data.build import RECORD
    from cmrsynth.data.pseudonyms import linking_table_path

    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    table = Table(title=f"{folder}: {record['source']}")
    for column in ("split", "patients", "slices", "label on border"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split, facts in record["splits"].items():
        table.add_row(split, *(str(facts[k]) for k in ("patients", "slices", "slices_with_label_at_border")))
    console = Console()
    console.print(table)
    for warning in (*record["warnings"], *record["notes"]):
        console.print(f"Warning: {warning}", style="bold red")
    for item in record["left_out"]:
        console.print(f"left out {item['patient_id']} ({item['split']}): {item['reason']}", highlight=False)
    console.print(f"Pseudonyms are linked to the source in {linking_table_path(folder)}; keep it apart.")


def _push(folder: Path, repo_id: str) -> None:
    from huggingface_hub import HfApi

    hub = HfApi()
    hub.create_repo(repo_id, repo_type="dataset", private=True, exist_ok=True)
    # Shards of an earlier, larger build must not stay behind.
    hub.upload_folder(repo_id=repo_id, repo_type="dataset", folder_path=folder, delete_patterns=["data/*.parquet"])
