"""`cmrsynth build`: from a source's raw files to a data set that `datasets.load_dataset` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cmrsynth.commands.build_choices import (
    Intensity,
    LocaliserName,
    OnError,
    choose_localiser,
    choose_splits,
    list_patients,
    parse_label_map,
    steps_before_crop,
    steps_from_crop,
)


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
    patient_regex: Annotated[
        str | None,
        typer.Option(help="folder: pattern whose first group, in a file's name, is the patient. Default: up to _."),
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
        list[str] | None,
        typer.Option(help="Hold out all patients of this vendor (such as Canon) as the test; repeatable."),
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
    entries, notes = list_patients(
        source,
        root,
        seed,
        num_patients=num_patients,
        pixel_spacing=pixel_spacing,
        label_map=parse_label_map(label_map),
        patient_regex=patient_regex,
        myocardium="ed" if myocardium else None,
    )
    splits, rule = choose_splits(entries, seed, validation_fraction, test_fraction, split_file, test_vendor or ())
    before = steps_before_crop(keep_empty=keep_empty, bias_field=bias_field, spacing=spacing)
    finder, attachments = choose_localiser(localiser, entries, splits, before, seed=seed, on_error=on_error)
    steps = [*before, *steps_from_crop(size, finder, phases, intensity, percentiles)]
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
        from cmrsynth.hub.publish import publish_dataset

        publish_dataset(folder, push_to_hub)
    return folder


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
