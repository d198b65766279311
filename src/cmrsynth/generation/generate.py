"""Make a labelled synthetic data set from masks: resumable, and the same whatever the number of processes.

The images are made in parts of `batch_size`. A part is a Parquet file that appears under its final name only when
it is whole; a run that is started again skips the parts that are there. Each image has its own seed, so it does
not depend on the part, the process or the batch it was made in.
"""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.progress import track

from cmrsynth.conditions import compiled_prompts, known_conditions, unseen_values
from cmrsynth.data.loading import SliceSet, load_split, to_slices
from cmrsynth.data.scalars import checked_scalars
from cmrsynth.errors import InputError
from cmrsynth.generation.card import synthetic_card
from cmrsynth.hub.load import load_pipeline, pipeline_hash
from cmrsynth.labels import one_hot
from cmrsynth.precision import PRECISIONS, computing_in
from cmrsynth.processes import process_state
from cmrsynth.provenance import portable_path, provenance
from cmrsynth.schema import (
    CONDITION_COLUMNS,
    INTENSITY_MAX,
    PERSONAL_SCALARS,
    SCALARS,
    SHOWN_BY_MASKS,
    UNKNOWN,
    synthetic_features,
)
from cmrsynth.seeds import derive_seed

RECORD = "generate.json"
OF_EACH_ROW = "attributes"  # the prompt that stands for one compiled from each row's own conditions
RECORDED = ("num_inference_steps", "solver", "guidance_scale")  # columns; None where a family has no such option


@dataclass(frozen=True)
class GenerationSettings:
    """What decides the images, beside the model and the masks.

    Args:
        images_per_mask: replicates of each mask, with different noise.
        sampling: options of the pipeline's call, e.g. {"num_inference_steps": 10, "solver": "heun"}; what is not
            named is left to the pipeline's defaults.
        seed: of all noise.
        batch_size: images made at once, and per part.
        attributes: values that replace the masks' own, e.g. {"vendor": "B"} or {"ejection_fraction": 35.0}.
        prompt: describes all images in place of the masks' own conditions; `OF_EACH_ROW` compiles one for each row and
            tells it beside them.
        precision: of the networks, of `cmrsynth.precision.PRECISIONS`; bfloat16 moves images by about its own
            rounding, and is the faster where the hardware computes it.
    """

    images_per_mask: int = 1
    sampling: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    batch_size: int = 32
    attributes: Mapping[str, str | float] = field(default_factory=dict)
    prompt: str | None = None
    precision: str = "no"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError("generate", f"precision is {self.precision!r}", f"use one of {PRECISIONS}")
        if self.images_per_mask < 1 or self.batch_size < 1:
            raise InputError("generate", "images_per_mask and batch_size must be at least 1", "give larger numbers")


def generate(
    pipeline_location: str | Path,
    masks_location: str | Path,
    output: Path,
    settings: GenerationSettings,
    *,
    cpu_threads: int = 0,
) -> Path:
    """Sample images for the masks of a split and return the folder of the new data set.

    Args:
        pipeline_location: a pipeline folder or Hub id.
        masks_location: a built (or synthetic) data set, `path:split`; the split defaults to "test".
        output: the folder to make; its only split is called "train". Parts lie in `<output>.parts` until it is whole.
        settings: how many and how.
        cpu_threads: threads of this process on a CPU; 0: its share of the cores.

    Raises:
        InputError: the masks do not fit the model, or `output` holds the result of another plan.
    """
    state = process_state(cpu_threads)
    masks = load_split(masks_location, "test")
    slices = to_slices(masks, str(masks_location))
    pipeline = load_pipeline(pipeline_location)
    check_masks(pipeline, slices, settings)
    plan = {
        "pipeline": Path(str(pipeline_location)).name if Path(pipeline_location).exists() else str(pipeline_location),
        "pipeline_hash": pipeline_hash(pipeline_location),
        "masks": portable_path(slices.name),
        "masks_fingerprint": slices.fingerprint,
        "settings": asdict(settings),
    }
    if (output / RECORD).is_file() and _read_plan(output / RECORD) == plan:
        return output
    if output.exists():
        raise InputError(output, "holds something else than the result of this command", "give another --output")
    parts = output.with_name(output.name + ".parts")
    if state.is_main_process:
        _open_parts(parts, plan)
    state.wait_for_everyone()
    pipeline.to(state.device)
    pipeline.set_progress_bar_config(disable=True)
    jobs = [(row, replicate) for row in range(len(masks)) for replicate in range(settings.images_per_mask)]
    batches = [jobs[i : i + settings.batch_size] for i in range(0, len(jobs), settings.batch_size)]
    mine = [number for number in range(len(batches)) if number % state.num_processes == state.process_index]
    for number in track(mine, description="generating", disable=not state.is_main_process):
        path = parts / f"part-{number:06d}.parquet"
        if not path.exists():
            _write_part(path, _sample(pipeline, masks, slices, batches[number], settings, plan["pipeline_hash"]))
    state.wait_for_everyone()
    if state.is_main_process:
        files = [parts / f"part-{n:06d}.parquet" for n in range(len(batches))]
        _assemble(parts, output, plan, len(jobs), files, not_shown(masks_location, pipeline, settings))
    state.wait_for_everyone()
    return output


def check_masks(pipeline: Any, slices: SliceSet, settings: GenerationSettings) -> None:
    """Raise InputError if the masks cannot condition this model, or warn of values it never saw."""
    if type(pipeline).__name__ == "MaskGeneratorPipeline":
        raise InputError(
            "cmrsynth generate", "a mask generator makes no images", "give it as --mask-generator beside --pipeline"
        )
    if not hasattr(pipeline, "condition_encoder"):
        raise InputError("cmrsynth generate", "an autoencoder makes no new images", "train a latent flow on it")
    size, spacing = pipeline.sample_size, pipeline.config.pixel_spacing_mm
    if slices.masks.shape[1:] != (size, size):
        raise InputError(
            slices.name, f"masks of {slices.masks.shape[1:]} pixels, but the model was trained on {size}x{size}",
            f"build the masks with --size {size}",
        )  # fmt: skip
    off = np.abs(slices.pixel_spacing - spacing).max()
    if spacing and off > 0.02 * spacing:
        raise InputError(
            slices.name, f"pixel spacing differs by {off:.2f} mm from the model's {spacing:.2f} mm",
            f"build the masks with --spacing {spacing:.2f}",
        )  # fmt: skip
    known = set(inspect.signature(pipeline.check_inputs).parameters) - {"mask", "output_type", "style_image"}
    if strangers := sorted(set(settings.sampling) - known):
        raise InputError(
            "cmrsynth generate", f"{type(pipeline).__name__} has no option {strangers}", f"it has {sorted(known)}"
        )
    checked_scalars({name: x for name, x in settings.attributes.items() if name in SCALARS}, "--set")
    try:
        encoder = pipeline.condition_encoder
        encoder.encode(1, **settings.attributes)
        if settings.prompt is not None:
            encoder.encode_prompt(settings.prompt, *(pipeline.components.get(n) for n in ("text_encoder", "tokenizer")))
        pipeline.check_inputs(None, **settings.sampling)
    except (ValueError, TypeError) as error:
        raise InputError("cmrsynth generate", str(error), "change that option") from error
    for name, values in unseen_values(pipeline, slices).items():
        if name not in settings.attributes and process_state().is_main_process:
            print(f"note: the model never saw {name} {values}; those images are sampled with {name} left open")


def not_shown(masks_location: str | Path, pipeline: Any, settings: GenerationSettings) -> list[str]:
    """Return the labels of anatomy that the image model was told but the masks need not show."""
    if not pipeline.mask_channels:
        return []
    record = Path(str(masks_location).partition(":")[0]) / "compose.json"
    composed = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    return sorted({*composed.get("not_shown_by_masks", ()), *(set(settings.attributes) & set(SHOWN_BY_MASKS))})


def _sample(
    pipeline: Any, masks: datasets.Dataset, slices: SliceSet, jobs: list[tuple[int, int]], settings, hash_: str
) -> Iterator[dict]:
    rows = [row for row, _ in jobs]
    seeds = [derive_seed(settings.seed, "image", row, replicate) for row, replicate in jobs]
    chosen = slices.select(rows)
    described = settings.prompt not in (None, OF_EACH_ROW)
    told = {} if described else known_conditions(pipeline, chosen)
    attributes = {**told, **{name: [value] * len(rows) for name, value in settings.attributes.items()}}
    if settings.prompt is not None:
        attributes["prompt"] = settings.prompt if described else compiled_prompts(attributes, len(rows))
    with computing_in(settings.precision, pipeline.device.type):
        images = pipeline(
            one_hot(torch.from_numpy(chosen.masks)) if pipeline.mask_channels else None,
            **({} if pipeline.mask_channels else {"batch_size": len(rows)}),
            **attributes,
            **settings.sampling,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="np",
        ).images[..., 0]
    sampling = {**dict.fromkeys(RECORDED), **_defaults(pipeline), **settings.sampling}
    for name, default in (("solver", "default_solver"), ("num_inference_steps", "default_steps")):
        sampling[name] = sampling[name] or getattr(pipeline, default, None)
    for place, (image, seed, (row, replicate)) in enumerate(zip(images, seeds, jobs, strict=True)):
        yield {
            **dict.fromkeys(SCALARS),  # older sets have no such columns
            **masks[row],
            **_unlabelled(pipeline, masks[row], told, place),
            **settings.attributes,
            "image": np.round(image.astype(np.float64) * INTENSITY_MAX).astype(np.uint16),
            "source": f"synthetic:{masks[row]['source'].removeprefix('synthetic:')}",
            "mask_row": row,
            "replicate": replicate,
            "seed": seed,
            **{name: sampling[name] for name in RECORDED},
            "pipeline_hash": hash_,
        }


def _unlabelled(pipeline: Any, row: dict, told: Mapping[str, list], place: int) -> dict[str, Any]:
    """Return what must not stand beside an image as its label, because the model was not told: blank or unknown.

    A mask shows `SHOWN_BY_MASKS` whether or not the model was told; nothing shows vendor, centre, age and body mass.
    """
    blank = dict.fromkeys(CONDITION_COLUMNS, UNKNOWN) | dict.fromkeys(SCALARS)
    untold = {name: value for name, value in blank.items() if name not in told or told[name][place] is None}
    if pipeline.mask_channels:
        return {name: value for name, value in untold.items() if name in ("vendor", "centre", *PERSONAL_SCALARS)}
    return {"mask": np.zeros_like(np.asarray(row["mask"])), "annotated_labels": [], **untold}


def _defaults(pipeline: Any) -> dict[str, Any]:
    parameters = inspect.signature(pipeline.check_inputs).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _write_part(path: Path, rows: Iterator[dict]) -> None:
    partial = path.with_suffix(".partial")
    datasets.Dataset.from_list(list(rows), features=synthetic_features()).to_parquet(partial)
    partial.replace(path)


def _read_plan(path: Path) -> dict[str, Any]:
    plan = json.loads(path.read_text(encoding="utf-8"))
    for result in ("provenance", "not_shown_by_masks"):
        plan.pop(result, None)
    if "settings" in plan:
        plan["settings"] = {"prompt": None, "precision": "no", **plan["settings"]}  # runs from before there were these
    return plan


def _open_parts(parts: Path, plan: dict[str, Any]) -> None:
    if parts.exists() and _read_plan(parts / RECORD) != plan:
        raise InputError(parts, "an unfinished run with other settings lies here", "finish it, or remove this folder")
    parts.mkdir(parents=True, exist_ok=True)
    for stray in parts.glob("*.partial"):
        stray.unlink()
    partial = parts / f"{RECORD}.partial"
    partial.write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")
    partial.replace(parts / RECORD)


def _assemble(
    parts: Path, output: Path, plan: dict[str, Any], expected: int, files: list[Path], not_shown: list[str]
) -> None:
    rows = datasets.Dataset(pa.concat_tables([pq.read_table(file) for file in files]))
    made = set(zip(rows["mask_row"], rows["replicate"], strict=True))
    if len(rows) != expected or len(made) != expected:
        raise RuntimeError(f"{parts}: expected {expected} distinct images, found {len(rows)} ({len(made)} distinct)")
    staged = parts / "whole"
    shutil.rmtree(staged, ignore_errors=True)
    (staged / "data").mkdir(parents=True)
    rows.to_parquet(staged / "data" / "train-00000-of-00001.parquet")
    record = {**plan, "not_shown_by_masks": not_shown, "provenance": provenance()}
    (staged / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (staged / "README.md").write_text(synthetic_card(record, rows), encoding="utf-8")
    staged.replace(output)
    shutil.rmtree(parts)
