"""Composed sets: the plan is made as written or refused, rows are of nobody, and it goes on after an interruption."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cmrsynth.cli import app
from cmrsynth.data.loading import load_slices, load_split
from cmrsynth.errors import InputError
from cmrsynth.generation.compose import compose_masks
from cmrsynth.generation.generate import GenerationSettings, generate
from cmrsynth.generation.plan import Cell, check_plan, read_plan
from cmrsynth.hub.export import export_pipeline
from cmrsynth.hub.load import load_pipeline
from cmrsynth.training.mask_generator import MaskGenerator
from cmrsynth.training.mask_generator_config import MaskGeneratorConfig
from cmrsynth.training.run import Run

PLAN = """
cells:
  - {pathology: [normal, dilated], phase: ED, vendor: B, count: 2}
  - {slice_level: mid, count: 3}
"""


@pytest.fixture(scope="module")
def mask_generator(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator trained for seconds: about one draw in ten is refused."""
    config = MaskGeneratorConfig(
        str(toy_folder), str(tmp_path_factory.mktemp("masks") / "run"), max_train_steps=200, sample_steps=0,
        block_out_channels=[16, 24, 32], latent_dim=8, learning_rate=3e-3, warmup_steps=5, kl_warmup_steps=50,
        ema_decay=0.95, augment_shift=1, mixed_precision="no", cpu_threads=1,
    )  # fmt: skip
    run = Run(config, MaskGenerator)
    while run.progress < 1:
        run.train_step()
    audit = {"masks": run.family.record(run.averaged_networks(), run.validation)["masks"]}
    return export_pipeline(run.pipeline(), run.folder / "pipeline", files={"training.json": json.dumps(audit)})


@pytest.fixture(scope="module")
def pipeline(tiny_flow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pipe = tiny_flow(vocabularies={"vendor": ["A", "B"], "phase": ["ED", "ES"]}, std=0.1)
    return export_pipeline(pipe, tmp_path_factory.mktemp("model") / "pipeline")


def write(folder: Path, text: str = PLAN) -> Path:
    path = folder / "plan.yaml"
    path.write_text(text)
    return path


def test_lists_make_a_cell_of_each_combination(tmp_path: Path) -> None:
    assert read_plan(write(tmp_path)) == (
        Cell({"pathology": "normal", "phase": "ED", "vendor": "B"}, 2),
        Cell({"pathology": "dilated", "phase": "ED", "vendor": "B"}, 2),
        Cell({"slice_level": "mid"}, 3),
    )


def test_a_total_is_shared_by_weight_and_none_is_lost(tmp_path: Path) -> None:
    text = "total: 11\ncells:\n  - {phase: [ED, ES], weight: 2}\n  - {phase: ED, vendor: A}\n  - {vendor: B}\n"
    assert [cell.count for cell in read_plan(write(tmp_path, text))] == [3, 3, 3, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cells: [", "no YAML"),
        ("- a", "no list of cells"),
        ("cells: []", "no list of cells"),
        ("cell: []\ncells: [{count: 1}]", "unknown settings"),
        ("cells: [{colour: red, count: 1}]", "unknown attributes"),
        ("cells: [{ejection_fraction: low, count: 1}]", "ejection_fraction is 'low'"),
        ("cells: [{ejection_fraction: 350, count: 1}]", "expected 0 to 100"),
        ("cells: [{phase: systole, count: 1}]", "unknown phase 'systole'"),
        ("cells: [{slice_level: unknown, count: 1}]", "slice_level is 'unknown'"),
        ("cells: [{vendor: 1, count: 1}]", "vendor is 1"),
        ("cells: [{vendor: A}]", "without a count"),
        ("cells: [{vendor: A, count: -1}]", "-1 is no number of masks"),
        ("cells: [{vendor: A, count: 0}]", "makes no mask"),
        ("total: 3\ncells: [{vendor: A, count: 1}]", "both a total and counts"),
        ("total: 3\ncells: [{vendor: A, weight: 0}]", "is no weight"),
        ("cells: [{vendor: A, count: 1}, {vendor: [B, A], count: 1}]", "there twice"),
    ],
)
def test_a_wrong_plan_is_refused_with_the_reason(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_plan(write(tmp_path, text))
    with pytest.raises(InputError, match="no such file"):
        read_plan(tmp_path / "other.yaml")


def test_a_label_that_no_model_follows_is_refused() -> None:
    plan = (Cell({"pathology": "HCM", "vendor": "A"}, 1),)
    images = {"vendor": ["A", "B"]}
    check_plan(plan, "plan", mask_vocabularies={"pathology": ["HCM"]}, image_vocabularies=images)
    with pytest.raises(InputError, match="neither mask generator nor image model is conditioned on pathology"):
        check_plan(plan, "plan", mask_vocabularies={}, image_vocabularies=images)
    with pytest.raises(InputError, match="the mask generator does not know pathology 'HCM'"):
        check_plan(plan, "plan", mask_vocabularies={"pathology": ["DCM"]}, image_vocabularies=images)


def test_anatomy_that_only_the_image_model_knows_is_refused_unless_it_is_accepted() -> None:
    plan = (Cell({"pathology": "HCM", "vendor": "A", "ejection_fraction": 35.0}, 1),)
    images = {"pathology": ["HCM"], "vendor": ["A"], "ejection_fraction": None}
    both = {"pathology": ["HCM"], "ejection_fraction": None}
    assert check_plan(plan, "plan", mask_vocabularies=both, image_vocabularies=images) == []  # the vendor is a look
    with pytest.raises(InputError, match=r"not conditioned on \['pathology', 'ejection_fraction'\], so its masks need"):
        check_plan(plan, "plan", mask_vocabularies={}, image_vocabularies=images)
    accepted = check_plan(plan, "plan", mask_vocabularies={}, image_vocabularies=images, allow_unshown=True)
    assert accepted == ["pathology", "ejection_fraction"]


def test_numbers_and_centres_make_cells(tmp_path: Path) -> None:
    text = "cells: [{ejection_fraction: [35, 60.5], centre: '1', count: 1}]"
    assert read_plan(write(tmp_path, text)) == (
        Cell({"ejection_fraction": 35.0, "centre": "1"}, 1),
        Cell({"ejection_fraction": 60.5, "centre": "1"}, 1),
    )


def test_accepted_labels_are_named_in_record_and_card(mask_generator: Path, tiny_flow, tmp_path: Path) -> None:
    pipe = tiny_flow(vocabularies={"vendor": ["A", "B"]}, scalars={"ejection_fraction": (55.0, 10.0)}, std=0.1)
    image_model = export_pipeline(pipe, tmp_path / "pipeline")
    plan = write(tmp_path, "cells: [{ejection_fraction: 35, vendor: A, count: 2}]")
    with pytest.raises(InputError, match="--allow-unshown"):
        compose_masks(mask_generator, plan, image_model, tmp_path / "masks")
    masks = compose_masks(mask_generator, plan, image_model, tmp_path / "masks", allow_unshown=True)
    assert load_slices(masks, "train").ejection_fraction.tolist() == [35.0, 35.0]
    fast = GenerationSettings(sampling={"num_inference_steps": 1})
    output = generate(image_model, f"{masks}:train", tmp_path / "set", fast)
    assert json.loads((output / "generate.json").read_text())["not_shown_by_masks"] == ["ejection_fraction"]
    assert "Not shown by the masks: ejection_fraction." in (output / "README.md").read_text()
    assert load_slices(output, "train").ejection_fraction.tolist() == [35.0, 35.0]
    assert generate(image_model, f"{masks}:train", output, fast) == output


def test_the_masks_are_those_of_the_plan_and_of_nobody(
    toy_folder: Path, mask_generator: Path, pipeline: Path, tmp_path: Path
) -> None:
    folder = compose_masks(mask_generator, write(tmp_path), pipeline, tmp_path / "masks")
    slices = load_slices(folder, "train")
    assert slices.pathology.tolist() == ["normal"] * 2 + ["dilated"] * 2 + ["unknown"] * 3
    assert slices.vendor.tolist() == ["B"] * 4 + ["unknown"] * 3
    assert slices.phase.tolist() == ["ED"] * 4 + ["unknown"] * 3
    assert slices.slice_level.tolist() == ["unknown"] * 4 + ["mid"] * 3
    assert slices.patient_id.tolist() == [f"synthetic-{number:04d}" for number in range(7)]
    assert slices.annotated_labels == (1, 2, 3)
    generator = load_pipeline(mask_generator)
    for mask, level in zip(slices.masks, slices.slice_level, strict=True):
        assert generator.faults(mask, level) == []
    record = json.loads((folder / "compose.json").read_text())
    assert record["masks"] == 7
    assert record["generator_audit"]["copying"]["near_duplicates"] < 0.1
    # again it is left as it is; another plan does not mix with it
    before = (folder / "compose.json").stat().st_mtime_ns
    assert compose_masks(mask_generator, write(tmp_path), pipeline, folder) == folder
    assert (folder / "compose.json").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="something else than the masks of this plan"):
        compose_masks(mask_generator, write(tmp_path, "cells: [{count: 1}]"), pipeline, folder)


def test_a_mask_does_not_depend_on_the_cells_after_it(mask_generator: Path, pipeline: Path, tmp_path: Path) -> None:
    short = "cells:\n  - {pathology: [normal, dilated], phase: ED, vendor: B, count: 2}\n"
    one = compose_masks(mask_generator, write(tmp_path), pipeline, tmp_path / "one")
    two = compose_masks(mask_generator, write(tmp_path, short), pipeline, tmp_path / "two")
    other = compose_masks(mask_generator, write(tmp_path), pipeline, tmp_path / "other", seed=1)
    masks = {path: load_slices(path, "train").masks for path in (one, two, other)}
    np.testing.assert_array_equal(masks[one][:4], masks[two])
    assert not np.array_equal(masks[one], masks[other])


def test_the_command_makes_a_labelled_set_and_goes_on_where_it_stopped(
    mask_generator: Path, pipeline: Path, tmp_path: Path
) -> None:
    def run(output: Path, *more: object) -> object:
        words = ["generate", "--pipeline", pipeline, "--masks", "generated", "--output", output, "--steps", "1", *more]
        return CliRunner().invoke(app, [*map(str, words), "--solver", "euler", "--batch-size", "4"])

    drawing = ("--mask-generator", mask_generator, "--plan", write(tmp_path), "--images-per-mask", "2")
    result = run(tmp_path / "set", *drawing)
    assert result.exit_code == 0, result.output
    rows = load_split(tmp_path / "set", "train")
    masks = load_split(tmp_path / "set-masks", "train")
    assert len(rows) == 14
    for row in rows:
        assert row["patient_id"] == f"synthetic-{row['mask_row']:04d}"
        assert row["source"] == "synthetic:mask-generator"
        np.testing.assert_array_equal(np.asarray(row["mask"]), np.asarray(masks[row["mask_row"]]["mask"]))
        assert np.asarray(row["image"]).any()
    # killed after the masks: the masks stay, the images are made
    broken = compose_masks(mask_generator, tmp_path / "plan.yaml", pipeline, tmp_path / "broken-masks")
    before = (broken / "compose.json").stat().st_mtime_ns
    assert run(tmp_path / "broken", *drawing).exit_code == 0
    assert (broken / "compose.json").stat().st_mtime_ns == before
    again = load_split(tmp_path / "broken", "train")
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(rows["image"], again["image"], strict=True))


def test_wrong_combinations_are_refused(
    toy_folder: Path, mask_generator: Path, pipeline: Path, tiny_flow, tmp_path: Path
) -> None:
    plan = write(tmp_path)
    command = ["generate", "--pipeline", str(pipeline), "--output", str(tmp_path / "set"), "--masks"]
    for more, message in (
        (["generated"], "--mask-generator and --plan are needed"),
        ([f"{toy_folder}:test", "--plan", str(plan)], "belong to --masks generated"),
    ):
        result = CliRunner().invoke(app, [*command, *more])
        assert result.exit_code != 0
        assert message in result.output + str(result.exception)
    with pytest.raises(InputError, match="RectifiedFlowPipeline makes no masks"):
        compose_masks(pipeline, plan, pipeline, tmp_path / "masks")
    with pytest.raises(InputError, match="takes no mask"):
        compose_masks(mask_generator, plan, mask_generator, tmp_path / "masks")
    coarse = export_pipeline(tiny_flow(vocabularies={"vendor": ["A", "B"]}, spacing=3.0), tmp_path / "coarse")
    with pytest.raises(InputError, match="train both on the same built data set"):
        compose_masks(mask_generator, plan, coarse, tmp_path / "masks")
    with pytest.raises(InputError, match="a mask generator makes no images"):
        generate(mask_generator, f"{toy_folder}:test", tmp_path / "set", GenerationSettings())


def test_a_cell_without_a_valid_mask_ends_with_the_cell_and_the_reason(
    mask_generator: Path, pipeline: Path, tmp_path: Path
) -> None:
    loaded = load_pipeline(mask_generator)
    loaded.register_to_config(anatomy={"labels": [1, 2, 3], "levels": {"any": {"present": ["3"]}}})
    impossible = export_pipeline(loaded, tmp_path / "impossible")
    with pytest.raises(InputError, match=r"no mask for \{'pathology': 'normal'.*100 draws .* all refused"):
        compose_masks(impossible, write(tmp_path), pipeline, tmp_path / "masks")
    assert not (tmp_path / "masks").exists()
