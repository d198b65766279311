"""Generating a data set: no gap and no duplicate after a kill, the same images from any number of processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from cmrsynth.data.loading import load_slices, load_split
from cmrsynth.errors import InputError
from cmrsynth.generation.generate import GenerationSettings, generate
from cmrsynth.hub.export import export_pipeline
from cmrsynth.labels import one_hot
from cmrsynth.pipelines import RectifiedFlowPipeline
from cmrsynth.prompts import compile_prompt
from cmrsynth.schema import synthetic_features

FAST = {"sampling": {"num_inference_steps": 1, "solver": "euler"}, "batch_size": 4}


@pytest.fixture(scope="module")
def toy(toy_data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "data"
    return toy_data.write_toy_data(folder, patients={"train": range(2), "test": range(2, 5)}, slices=4)


@pytest.fixture(scope="module")
def pipeline(tiny_flow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pipe = tiny_flow(vocabularies={"vendor": ["A", "B"]}, std=0.1)
    return export_pipeline(pipe, tmp_path_factory.mktemp("model") / "pipeline")


def command(toy: Path, pipeline: Path, output: Path, *more: str) -> list[str]:
    words = ["generate", "--pipeline", pipeline, "--masks", f"{toy}:test", "--output", output, "--images-per-mask", "2"]
    return ["cmrsynth.cli", *map(str, words), "--steps", "1", "--solver", "euler", "--batch-size", "4", *more]


def same_images(one: Path, two: Path, atol: float = 0) -> bool:
    first, second = load_split(one, "train"), load_split(two, "train")
    images = [np.stack([np.asarray(i, dtype=np.int64) for i in rows["image"]]) for rows in (first, second)]
    others = [c for c in first.column_names if c not in ("image", "mask")]
    return first.select_columns(others).to_list() == second.select_columns(others).to_list() and bool(
        np.abs(images[0] - images[1]).max() <= atol
    )


def test_rows_have_the_schema_the_masks_labels_and_their_own_seed(toy: Path, pipeline: Path, tmp_path: Path) -> None:
    import datasets

    output = generate(pipeline, f"{toy}:test", tmp_path / "s", GenerationSettings(images_per_mask=3, **FAST))
    rows = datasets.load_dataset(str(output))["train"]
    masks = load_split(toy, "test")
    assert rows.features == synthetic_features()
    assert len(rows) == 3 * len(masks)
    assert rows["mask_row"][:4] == [0, 0, 0, 1]
    assert len(set(rows["seed"])) == len(rows)
    for row in rows.select([0, 7, 35]):
        np.testing.assert_array_equal(np.asarray(row["mask"]), np.asarray(masks[row["mask_row"]]["mask"]))
        assert row["patient_id"] == masks[row["mask_row"]]["patient_id"]
        assert row["source"] == "synthetic:toy"
    # the documented way to make one image again
    row = rows[7]
    pipe = RectifiedFlowPipeline.from_pretrained(pipeline)
    image = pipe(
        one_hot(torch.tensor(np.asarray(row["mask"]))[None]), vendor=row["vendor"], num_inference_steps=1,
        solver="euler", generator=torch.Generator().manual_seed(row["seed"]),
    ).images  # fmt: skip
    assert np.abs(image[0, 0].numpy() * 65535 - np.asarray(row["image"])).max() <= 1
    assert "not answer it" in (output / "README.md").read_text()


def test_the_batch_size_does_not_change_the_images(toy: Path, pipeline: Path, tmp_path: Path) -> None:
    fast = {**FAST, "batch_size": 5}
    one = generate(pipeline, f"{toy}:test", tmp_path / "one", GenerationSettings(**FAST))
    two = generate(pipeline, f"{toy}:test", tmp_path / "two", GenerationSettings(**fast))
    assert same_images(one, two, atol=1)


@pytest.mark.dist
def test_killed_and_started_again_there_is_no_gap_and_no_duplicate(toy: Path, pipeline: Path, tmp_path: Path) -> None:
    straight = generate(pipeline, f"{toy}:test", tmp_path / "a", GenerationSettings(images_per_mask=2, **FAST))
    broken, parts = tmp_path / "b", tmp_path / "b.parts"
    process = subprocess.Popen(
        [sys.executable, "-m", *command(toy, pipeline, broken)],
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and not list(parts.glob("part-*.parquet")):
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not broken.exists()
    kept = {p.name: p.stat().st_mtime_ns for p in parts.glob("part-*.parquet")}
    assert kept
    (parts / "part-000001.partial").write_bytes(b"half a file")
    assert generate(pipeline, f"{toy}:test", broken, GenerationSettings(images_per_mask=2, **FAST)) == broken
    assert same_images(straight, broken)
    assert not parts.exists()


@pytest.mark.dist
def test_two_processes_make_what_one_makes(toy: Path, pipeline: Path, tmp_path: Path) -> None:
    one = generate(pipeline, f"{toy}:test", tmp_path / "one", GenerationSettings(images_per_mask=2, **FAST))
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    result = subprocess.run(
        [*launch, "-m", *command(toy, pipeline, tmp_path / "two")],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert same_images(one, tmp_path / "two", atol=1)


def test_another_plan_does_not_mix_with_a_finished_or_unfinished_one(toy: Path, pipeline: Path, tmp_path: Path) -> None:
    output = generate(pipeline, f"{toy}:test", tmp_path / "s", GenerationSettings(**FAST))
    assert generate(pipeline, f"{toy}:test", output, GenerationSettings(**FAST)) == output
    with pytest.raises(InputError, match="something else"):
        generate(pipeline, f"{toy}:test", output, GenerationSettings(seed=1, **FAST))
    parts = tmp_path / "t.parts"
    parts.mkdir()
    (parts / "generate.json").write_text('{"settings": {}}')
    with pytest.raises(InputError, match="unfinished run with other settings"):
        generate(pipeline, f"{toy}:test", tmp_path / "t", GenerationSettings(**FAST))


def test_an_attribute_can_be_set_for_all_images(toy: Path, pipeline: Path, tmp_path: Path) -> None:
    styled = GenerationSettings(attributes={"vendor": "B"}, **FAST)
    output = generate(pipeline, f"{toy}:test", tmp_path / "b", styled)
    assert set(load_slices(output, "train").vendor.tolist()) == {"B"}
    with pytest.raises(InputError, match="unknown vendor 'C'"):
        generate(pipeline, f"{toy}:test", tmp_path / "c", GenerationSettings(attributes={"vendor": "C"}, **FAST))


@pytest.fixture(scope="module")
def prompted(tiny_flow, text_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of vendors, ejection fractions and prompts."""
    from transformers import CLIPTextModel, CLIPTokenizer

    text = {
        "text_encoder": CLIPTextModel.from_pretrained(text_model).eval(),
        "tokenizer": CLIPTokenizer.from_pretrained(text_model),
    }
    scalars = {"ejection_fraction": (50.0, 15.0), "age": (50.0, 15.0)}
    pipe = tiny_flow(vocabularies={"vendor": ["A", "B"]}, scalars=scalars, text=text)
    return export_pipeline(pipe, tmp_path_factory.mktemp("model") / "prompted")


def pixels(folder: Path) -> np.ndarray:
    return load_slices(folder, "train").images


def test_a_scalar_can_be_set_and_its_column_says_so(toy: Path, prompted: Path, pipeline: Path, tmp_path: Path) -> None:
    settings = [GenerationSettings(attributes={"ejection_fraction": ef}, **FAST) for ef in (25.0, 65.0)]
    low, high = (generate(prompted, f"{toy}:test", tmp_path / str(i), each) for i, each in enumerate(settings))
    assert set(load_slices(low, "train").ejection_fraction.tolist()) == {25.0}
    assert np.abs(pixels(low) - pixels(high)).max() > 0.01
    assert "Not shown by the masks: ejection_fraction." in (low / "README.md").read_text()
    own = generate(prompted, f"{toy}:test", tmp_path / "own", GenerationSettings(**FAST))
    assert load_slices(own, "train").ejection_fraction.tolist() == load_slices(toy, "test").ejection_fraction.tolist()
    assert "Not shown" not in (own / "README.md").read_text()
    for attributes, model, message in (
        ({"ejection_fraction": 350.0}, prompted, "expected 0 to 100"),
        ({"bmi": 25.0}, prompted, "not conditioned on"),
        ({"ejection_fraction": 50.0}, pipeline, "not conditioned on"),
    ):
        with pytest.raises(InputError, match=message):
            generate(model, f"{toy}:test", tmp_path / "no", GenerationSettings(attributes=attributes, **FAST))


def test_a_prompt_stands_for_the_masks_own_conditions_or_is_made_of_them(
    toy: Path, prompted: Path, pipeline: Path, tmp_path: Path
) -> None:
    def made(name: str, **more: object) -> Path:
        return generate(prompted, f"{toy}:test", tmp_path / name, GenerationSettings(**FAST, **more))

    plain, of_rows = made("plain"), made("rows", prompt="attributes")
    one, other = made("one", prompt="vendor B scanner"), made("other", prompt="vendor A scanner")
    assert np.abs(pixels(plain) - pixels(of_rows)).max() > 0.01
    assert np.abs(pixels(one) - pixels(other)).max() > 0.001
    # what the model was not told is no label: the prompt alone spoke
    assert set(load_slices(one, "train").vendor.tolist()) == {"unknown"}
    assert load_slices(of_rows, "train").vendor.tolist() == load_slices(toy, "test").vendor.tolist()
    assert "vendor B scanner" in (one / "README.md").read_text()
    # one row by hand, with the prompt compiled as documented
    row = load_split(of_rows, "train")[3]
    pipe = RectifiedFlowPipeline.from_pretrained(prompted)
    told = {"vendor": row["vendor"], "ejection_fraction": row["ejection_fraction"]}
    image = pipe(
        one_hot(torch.tensor(np.asarray(row["mask"]))[None]), prompt=compile_prompt(told), **told,
        num_inference_steps=1, solver="euler", generator=torch.Generator().manual_seed(row["seed"]),
    ).images  # fmt: skip
    assert np.abs(image[0, 0].numpy() * 65535 - np.asarray(row["image"])).max() <= 2
    with pytest.raises(InputError, match="trained without prompts"):
        generate(pipeline, f"{toy}:test", tmp_path / "no", GenerationSettings(prompt="end-systole", **FAST))
    with pytest.raises(InputError, match="tokens, and the text model reads 200"):
        made("long", prompt="x" * 300)


def test_what_was_made_before_there_were_prompts_is_recognised(toy: Path, pipeline: Path, tmp_path: Path) -> None:
    import json

    output = generate(pipeline, f"{toy}:test", tmp_path / "s", GenerationSettings(**FAST))
    record = json.loads((output / "generate.json").read_text())
    record["settings"].pop("prompt")
    record["settings"].pop("precision")
    record.pop("not_shown_by_masks")
    (output / "generate.json").write_text(json.dumps(record))
    assert generate(pipeline, f"{toy}:test", output, GenerationSettings(**FAST)) == output


def test_masks_of_another_size_or_spacing_are_refused(tiny_flow, toy: Path, pipeline: Path, tmp_path: Path) -> None:
    pipe = RectifiedFlowPipeline.from_pretrained(pipeline)
    other = export_pipeline(
        RectifiedFlowPipeline(**pipe.components, condition_dropout=0.1, pixel_spacing_mm=1.5),
        tmp_path / "fine" / "pipeline",
    )
    with pytest.raises(InputError, match=r"differs by 0\.50 mm"):
        generate(other, f"{toy}:test", tmp_path / "s", GenerationSettings(**FAST))
    big = export_pipeline(tiny_flow(sample_size=32), tmp_path / "big" / "pipeline")
    with pytest.raises(InputError, match="trained on 32x32"):
        generate(big, f"{toy}:test", tmp_path / "s", GenerationSettings(**FAST))
    with pytest.raises(InputError, match=r"no split 'validation' \(found \['test', 'train'\]\)"):
        generate(pipeline, f"{toy}:validation", tmp_path / "s", GenerationSettings(**FAST))


def test_an_option_that_cannot_work_is_refused_before_anything_is_written(toy, pipeline, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="solver must be"):
        generate(pipeline, f"{toy}:test", tmp_path / "s", GenerationSettings(sampling={"solver": "rk4"}))
    assert list(tmp_path.iterdir()) == []


def test_bfloat16_moves_the_images_by_its_rounding_only(toy: Path, pipeline: Path, tmp_path: Path) -> None:
    full, half = (
        load_slices(
            generate(pipeline, f"{toy}:test", tmp_path / name, GenerationSettings(**FAST, precision=name)), "train"
        )
        for name in ("no", "bf16")
    )
    assert 0 < np.abs(full.images - half.images).max() < 0.05


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match="precision"):
        GenerationSettings(precision="int4")
