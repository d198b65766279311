"""The data set card: what the data are, where they come from, what was done to them, and what was left out.

Every fact in it is taken from the record of the build (`build.json`), never typed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cmrsynth.labels import LABEL_NAMES
from cmrsynth.schema import OLDEST_AGE, PERSONAL_SCALARS, SCALARS, features

if TYPE_CHECKING:
    from cmrsynth.data.sources import Source

# Identifiers the Hub knows; any other licence is written as "other" with its own name.
HUB_LICENCES = ("apache-2.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "mit")
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def dataset_card(record: Mapping, source: Source) -> str:
    """Return the text of README.md: YAML front matter and prose.

    Args:
        record: the content of build.json.
        source: licence, citation and how to obtain the raw data.
    """
    return f"---\n{_front_matter(record, source)}---\n\n{_prose(record, source)}"


def _front_matter(record: Mapping, source: Source) -> str:
    import yaml

    splits = record["splits"]
    total = sum(facts["slices"] for facts in splits.values())
    size = next((name for limit, name in SIZES if total < limit), "n>1M")
    data_files = [{"split": split, "path": f"data/{split}-*"} for split in splits]
    split_info = [
        {"name": split, "num_bytes": facts["num_bytes"], "num_examples": facts["slices"]}
        for split, facts in splits.items()
    ]
    data = {
        **_licence(source),
        "pretty_name": f"Cardiac MRI short-axis slices from {source.name}",
        "task_categories": ["image-segmentation", "unconditional-image-generation"],
        "tags": ["medical", "cardiac-mri", "cmrsynth", source.name],
        "size_categories": [size],
        "configs": [{"config_name": "default", "data_files": data_files}],
        "dataset_info": {"features": features()._to_yaml_list(), "splits": split_info},
    }
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _licence(source: Source) -> dict[str, str]:
    if source.licence.lower() in HUB_LICENCES:
        return {"license": source.licence.lower()}
    name = re.sub(r"[^a-z0-9]+", "-", source.licence.lower()).strip("-")[:60]
    return {"license": "other", "license_name": name, "license_link": source.homepage}


def _prose(record: Mapping, source: Source) -> str:
    sections = [
        f"# Cardiac MRI short-axis slices from {source.name}",
        *(f"> **Warning: {warning.rstrip('.')}.**" for warning in (*record["warnings"], *record["notes"])),
        source.description,
        "Not for diagnosis. Made with `cmrsynth build`; every fact below is in `build.json`.",
        f"## Source\n\n- Licence: {source.licence}\n- Homepage: {source.homepage}\n- Cite: {source.citation}\n"
        f"- How to obtain the raw data: {source.how_to_obtain}",
        f"## Labels\n\n{_labels(record)}",
        f"## Preprocessing\n\n{_steps(record['steps'])}",
        f"## Splits\n\n{_splits(record)}",
        f"## Slices by vendor, pathology and phase\n\n{_counts(record['counts'])}",
        f"## Numbers of the patients\n\n{_scalars(record['scalars'])}",
        f"## Left out\n\n{_left_out(record['left_out'])}",
        f"## Columns\n\n{COLUMNS}",
        "## Identifiers\n\nPatients carry pseudonyms; the table that links them to the source is not part of this "
        "data set. No header field other than those in the columns above was taken over.",
    ]
    return "\n\n".join(sections) + "\n"


def _labels(record: Mapping) -> str:
    names = [f"{value} {name}" for value, name in enumerate(LABEL_NAMES)]
    annotated = "; ".join(", ".join(LABEL_NAMES[label] for label in labels) for labels in record["annotated_labels"])
    return (
        f"`mask` holds {', '.join(names)}. Annotated here: **{annotated}**. "
        "A label that is not annotated (`annotated_labels`) is background in the mask, which does not mean absent."
    )


def _steps(steps: Sequence[Mapping]) -> str:
    lines = []
    for number, step in enumerate(steps, start=1):
        values = ", ".join(f"{key} = {value}" for key, value in step.items() if key not in ("step", "warning"))
        lines.append(f"{number}. `{step['step']}`" + (f": {values}" if values else ""))
    lines.append("")
    lines.append("`image` is uint16; 0 to 65535 stands for 0 to 1 after these steps.")
    return "\n".join(lines)


def _splits(record: Mapping) -> str:
    rows = [
        (split, facts["patients"], facts["slices"], facts["slices_with_label_at_border"])
        for split, facts in record["splits"].items()
    ]
    return (
        f"By patient: {record['split_rule']}. Seed {record['seed']}, digest `{record['split_digest']}`.\n\n"
        + markdown_table(("split", "patients", "slices", "slices with a label on the border"), rows)
    )


def _counts(counts: Sequence[Mapping]) -> str:
    table: dict[tuple[str, str, str], dict[str, int]] = defaultdict(dict)
    splits = list(dict.fromkeys(count["split"] for count in counts))
    for count in counts:
        table[count["vendor"], count["pathology"], count["phase"]][count["split"]] = count["slices"]
    rows = [(*key, *(by_split.get(split, 0) for split in splits)) for key, by_split in sorted(table.items())]
    return markdown_table(("vendor", "pathology", "phase", *splits), rows)


def _scalars(counts: Mapping[str, Mapping[str, int]]) -> str:
    rows = [
        (name, SCALARS[name].unit, known["stated"], known["measured"], known["unknown"])
        for name, known in counts.items()
    ]
    table = markdown_table(("column", "unit", "patients: stated by the source", "measured in masks", "unknown"), rows)
    text = (
        "The same in all rows of a patient. Stated includes what follows from stated numbers (body mass index from "
        "height and weight). Measured in masks: ejection fraction by the sum of discs over whole stacks at ED and ES; "
        f"wall thickness as the mean over closed rings at ED. Nothing is guessed.\n\n{table}"
    )
    personal = [name for name in PERSONAL_SCALARS if counts[name]["unknown"] < sum(counts[name].values())]
    if not personal:
        return text
    return (
        f"{text}\n\n**Quasi-identifiers: {', '.join(personal)}.** With other knowledge (hospital, diagnosis, date) "
        f"they can single a patient out. Ages are whole years, and {OLDEST_AGE} stands for {OLDEST_AGE} and more. "
        "Ask whether the licence and the consent allow them before sharing, or remove the columns."
    )


def _left_out(left_out: Sequence[Mapping]) -> str:
    if not left_out:
        return "Nothing."
    rows = [(item["patient_id"], item["split"], item["reason"]) for item in left_out]
    return markdown_table(("patient", "split", "reason"), rows)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table.

    >>> print(markdown_table(("a", "b"), [(1, "x|y")]))
    | a | b |
    |---|---|
    | 1 | x/y |
    """
    lines = [[str(cell).replace("|", "/").replace("\n", " ") for cell in row] for row in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return "\n".join("|" + "|".join(row) + "|" if row[0] == "---" else f"| {' | '.join(row)} |" for row in lines)


COLUMNS = """\
| column | meaning |
|---|---|
| image | uint16, the slice |
| mask | uint8, label map |
| annotated_labels | foreground labels that the source annotates |
| patient_id | pseudonym |
| vendor, centre, pathology | as the source states, else "unknown" |
| phase, frame | ED, ES or other; 0-based position in the cine |
| slice_index | 0-based position in the acquired stack |
| slice_level | basal, mid, apical (thirds of the labelled stack) or unknown |
| pixel_spacing | (row, column) in mm |
| slice_spacing | distance between slice centres in mm, or null |
| field_strength | in tesla, or null |
| source | the source's name |
| ejection_fraction, wall_thickness, age, bmi | numbers of the patient, or null; see above |"""
