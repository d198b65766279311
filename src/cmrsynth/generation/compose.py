"""Compose the masks of a planned data set with a mask generator.

The result is a data set of masks without images, of nobody: `generate` conditions images on it as on any other.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from rich.progress import track

from cmrsynth.errors import InputError
from cmrsynth.generation.plan import Cell, check_plan, known_values, read_plan
from cmrsynth.hub.load import load_pipeline, pipeline_folder, pipeline_hash
from cmrsynth.processes import process_state
from cmrsynth.provenance import portable_path, provenance
from cmrsynth.schema import CONDITION_COLUMNS, SCALARS, UNKNOWN, features
from cmrsynth.seeds import torch_generator

RECORD = "compose.json"
SOURCE = "mask-generator"


def compose_masks(
    mask_generator: str | Path,
    plan_file: Path,
    image_pipeline: str | Path,
    output: Path,
    *,
    seed: int = 0,
    allow_unshown: bool = False,
) -> Path:
    """Draw the masks of a plan and return the folder of the data set they make, whole or not at all.

    Rows carry their cell's conditions and a patient of their own, "synthetic-0000", "synthetic-0001", ...: a drawn
    mask belongs to no real patient. Images are black. `compose.json` says how many draws were refused for what, and
    what the generator's training found about copies. A folder that holds the result already is left as it is.

    Args:
        mask_generator: folder or Hub id of a `MaskGeneratorPipeline`.
        plan_file: see `read_plan`.
        image_pipeline: the model that will make the images; its vocabularies and size must fit.
        output: the folder to make; its only split is called "train".
        seed: of all draws.
        allow_unshown: see `check_plan`; the record names the labels concerned.

    Raises:
        InputError: the plan does not fit the models, or `output` holds something else.
    """
    state = process_state()
    plan = read_plan(plan_file)
    generator = _load_generator(mask_generator)
    images = load_pipeline(image_pipeline)
    _check_fit(generator, mask_generator, images)
    unshown = check_plan(
        plan,
        plan_file,
        mask_vocabularies=known_values(generator.condition_encoder.config),
        image_vocabularies=known_values(images.condition_encoder.config),
        allow_unshown=allow_unshown,
    )
    identity = {
        "mask_generator_hash": pipeline_hash(mask_generator),
        "plan": [{**cell.conditions, "count": cell.count} for cell in plan],
        "seed": seed,
    }
    if output.exists():
        if _same(output / RECORD, identity):
            return output
        raise InputError(output, "holds something else than the masks of this plan", "give another --output")
    state.wait_for_everyone()  # every process has looked before one of them writes
    if state.is_main_process:
        rejected: Counter[str] = Counter()
        rows = list(track(_rows(generator, plan, seed, rejected), "drawing masks", total=sum(c.count for c in plan)))
        record = {
            "mask_generator": portable_path(str(mask_generator)),
            **identity,
            "masks": len(rows),
            "not_shown_by_masks": unshown,
            "rejected": dict(rejected),
            "generator_audit": _training_audit(mask_generator),
            "provenance": provenance(),
        }
        _write(rows, record, output)
        print(f"{len(rows)} masks in {output}; draws refused before them, by fault: {dict(rejected) or 'none'}")
    state.wait_for_everyone()
    return output


def _load_generator(location: str | Path) -> Any:
    pipeline = load_pipeline(location)
    if type(pipeline).__name__ != "MaskGeneratorPipeline":
        raise InputError(
            location, f"a {type(pipeline).__name__} makes no masks", "train one with training/train_mask_generator.py"
        )
    return pipeline


def _check_fit(generator: Any, location: str | Path, images: Any) -> None:
    if not images.mask_channels:
        raise InputError(
            "cmrsynth generate", "this image model takes no mask, so drawn masks would not label its images",
            "use a model trained with masks",
        )  # fmt: skip
    size, spacing = images.sample_size, images.config.pixel_spacing_mm
    own = generator.config.pixel_spacing_mm
    if generator.sample_size != size or (spacing and abs(own - spacing) > 0.02 * spacing):
        raise InputError(
            location,
            f"it makes masks of {generator.sample_size} pixels at {own:.2f} mm, but the image model was trained on "
            f"{size} pixels at {spacing:.2f} mm",
            "train both on the same built data set",
        )


def _rows(generator: Any, plan: tuple[Cell, ...], seed: int, rejected: Counter[str]) -> Iterator[dict[str, Any]]:
    """Yield one row per mask, in the order of the plan, and count the faults of refused draws."""
    known = known_values(generator.condition_encoder.config)
    number = 0
    for cell in plan:
        given = {name: value for name, value in cell.conditions.items() if name in known}
        for _ in range(cell.count):
            try:
                drawn = generator(
                    batch_size=1, **given, generator=torch_generator(seed, "mask", number), output_type="np"
                )
            except ValueError as error:
                why = str(error).partition(";")[0]  # the rest is for callers of the pipeline
                raise InputError(
                    "mask generator",
                    f"no mask for {dict(cell.conditions)}: {why}",
                    "train the mask generator longer, or leave that cell out of the plan",
                ) from error
            rejected.update(drawn.rejected[0])
            yield _row(drawn.masks[0], cell, number, generator)
            number += 1


def _row(mask: np.ndarray, cell: Cell, number: int, generator: Any) -> dict[str, Any]:
    return {
        "image": np.zeros(mask.shape, np.uint16),
        "mask": mask,
        "annotated_labels": generator.annotated_labels,
        "patient_id": f"synthetic-{number:04d}",
        **dict.fromkeys(CONDITION_COLUMNS, UNKNOWN),
        **dict.fromkeys(SCALARS),
        **cell.conditions,
        "slice_index": 0,
        "frame": 0,
        "pixel_spacing": [generator.config.pixel_spacing_mm] * 2,
        "slice_spacing": None,
        "field_strength": None,
        "source": SOURCE,
    }


def _training_audit(location: str | Path) -> dict[str, Any]:
    """Return what the generator's training measured: first draws refused, and copies of training masks."""
    path = pipeline_folder(location) / "training.json"
    return json.loads(path.read_text(encoding="utf-8")).get("masks", {}) if path.is_file() else {}


def _same(path: Path, identity: dict[str, Any]) -> bool:
    if not path.is_file():
        return False
    record = json.loads(path.read_text(encoding="utf-8"))
    return all(record.get(name) == value for name, value in identity.items())


def _write(rows: list[dict[str, Any]], record: dict[str, Any], output: Path) -> None:
    staged = output.with_name(output.name + ".partial")
    shutil.rmtree(staged, ignore_errors=True)
    (staged / "data").mkdir(parents=True)
    table = datasets.Dataset.from_list(rows, features=features())
    table.to_parquet(staged / "data" / "train-00000-of-00001.parquet")
    (staged / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    staged.replace(output)
