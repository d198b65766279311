"""The data set card of a synthetic data set; every fact in it comes from the record of the run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import datasets
import yaml

from cmrsynth.schema import PERSONAL_SCALARS, synthetic_features


def synthetic_card(record: dict[str, Any], rows: datasets.Dataset) -> str:
    """Return README.md: YAML front matter and prose.

    Args:
        record: the content of generate.json.
        rows: the images.
    """
    front = {
        "license": "other",
        "license_name": "that-of-the-training-data",
        "pretty_name": "Synthetic cardiac MRI short-axis slices",
        "task_categories": ["image-segmentation"],
        "tags": ["medical", "cardiac-mri", "synthetic", "cmrsynth"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]}],
        "dataset_info": {
            "features": synthetic_features()._to_yaml_list(),
            "splits": [{"name": "train", "num_bytes": rows.data.nbytes, "num_examples": len(rows)}],
        },
    }
    settings, made = record["settings"], record["provenance"]
    counts = "\n".join(
        f"| {vendor} | {pathology} | {phase} | {n} |"
        for (vendor, pathology, phase), n in sorted(
            Counter(zip(rows["vendor"], rows["pathology"], rows["phase"], strict=True)).items()
        )
    )
    return f"""---
{yaml.safe_dump(front, sort_keys=False)}---

# Synthetic cardiac MRI short-axis slices

{len(rows)} images that show no patient: each was sampled from noise by a generator.
{_origin_of_masks(rows)}{_unshown(record["not_shown_by_masks"])}{_personal(rows)}
Whether the images may be shared is a question of the privacy figures in the report of `cmrsynth evaluate`, and of the
licence of the training data; this card does not answer it. Not for diagnosis.

## How they were made

| | |
|---|---|
| pipeline | {record["pipeline"]} (hash `{record["pipeline_hash"]}`) |
| masks | {record["masks"]} (fingerprint `{record["masks_fingerprint"]}`) |
| images per mask | {settings["images_per_mask"]} |
| sampling options | {", ".join(f"{k} {v}" for k, v in settings["sampling"].items()) or "the pipeline's defaults"} |
| seed | {settings["seed"]} |
| attributes set for all images | {settings["attributes"] or "none"} |
| prompt | {settings["prompt"] or "none"} |
| command | `{made["command"]}` |
| versions | {", ".join(f"{k} {v}" for k, v in made["versions"].items())} |

An image is reproduced by `torch.Generator().manual_seed(seed)` with its `seed`, its mask and the settings above.

## What they are

| vendor | pathology | phase | images |
|---|---|---|---|
{counts}

Labels: 0 background, 1 LV cavity, 2 LV myocardium, 3 RV cavity; `annotated_labels` says which the masks have.
"""


def _unshown(names: list[str]) -> str:
    if not names:
        return ""
    return (
        f"\n**Not shown by the masks: {', '.join(names)}.** The image model was told these, and the masks were made "
        "without them: as labels of an image's anatomy they may be false."
    )


def _personal(rows: datasets.Dataset) -> str:
    stated = [name for name in PERSONAL_SCALARS if any(value is not None for value in rows[name])]
    if not stated or set(rows["source"]) == {"synthetic:mask-generator"}:
        return ""
    return (
        f"\n**Quasi-identifiers: {', '.join(stated)}.** Unless set for all images, they are of the mask's patient, "
        "and with other knowledge they can single that patient out."
    )


def _origin_of_masks(rows: datasets.Dataset) -> str:
    if not any(rows["annotated_labels"]):
        return "The generator takes no masks: the images are not labelled, and their masks are blank."
    if set(rows["source"]) == {"synthetic:mask-generator"}:
        return "Their masks were drawn by a mask generator and belong to no patient; every mask counts as a patient."
    patients = len(set(rows["patient_id"]))
    return f"Their masks are those of {patients} real patients; `patient_id` and `mask_row` say which."
