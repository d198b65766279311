"""The program as a user runs it: killed at any moment it continues to the same weights; two processes equal one."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cmrsynth.data.loading import load_slices
from cmrsynth.errors import InputError
from cmrsynth.pipelines import RectifiedFlowPipeline
from cmrsynth.training.batches import TrainingSlices
from cmrsynth.training.config import RectifiedFlowConfig, parse_config
from cmrsynth.training.program import train
from cmrsynth.training.rectified_flow import FlowObjective, RectifiedFlow, held_out_loss

TINY = Path(__file__).resolve().parents[2] / "training" / "configs" / "tiny.yaml"
STEPS = 24
ARGUMENTS = (
    "--max-train-steps",
    str(STEPS),
    "--sample-steps",
    "0",
    "--checkpoint-steps",
    "4",
    "--validation-steps",
    "9",
)


def train_here(run: Path, data: Path, *arguments: str) -> None:
    """What `launch` does with one process, without the seconds that a program takes to start."""
    given = ["--config", str(TINY), "--data", str(data), "--output", str(run), *ARGUMENTS, *arguments]
    train(parse_config(RectifiedFlowConfig, given), RectifiedFlow)


def weights(run: Path) -> dict[str, torch.Tensor]:
    parts = {p.parent.name: load_file(p) for p in (run / "pipeline").glob("*/*.safetensors")}
    return {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


def assert_same(run: Path, other: Path, **tolerance: float) -> None:
    ours, theirs = weights(run), weights(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], **(tolerance or {"rtol": 0, "atol": 0}))


def weights_at(run: Path, step: int) -> torch.Tensor:
    network = load_file(run / f"checkpoint-{step:08d}" / "denoiser.safetensors")
    return torch.cat([network[name].flatten() for name in sorted(network)])


def held_out(run: Path, data: Path) -> float:
    pipeline = RectifiedFlowPipeline.from_pretrained(run / "pipeline")
    slices = load_slices(data, "test")
    encoder = pipeline.condition_encoder
    data = TrainingSlices.from_slices(slices, encoder.encode(len(slices), vendor=slices.vendor.tolist()), encoder)
    return held_out_loss(
        FlowObjective(torch.nn.ModuleDict({"unet": pipeline.unet, "condition_encoder": encoder})), data
    )


def kill_when(run: Path, process, *, files: int, delay: float) -> None:
    """SIGKILL the whole process group `delay` seconds after `files` things have appeared in the run folder."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if len(list(run.glob("checkpoint-*"))) >= files:
            time.sleep(delay)
            break
        time.sleep(0.002)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    process.stdout.close()


@pytest.mark.dist
def test_a_killed_run_reaches_the_same_weights(tmp_path: Path, toy_folder: Path, launch) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    train_here(straight, toy_folder)
    process = launch(broken, *ARGUMENTS, wait=False)
    kill_when(broken, process, files=2, delay=0.01)  # around its second checkpoint
    assert process.returncode == -signal.SIGKILL
    train_here(broken, toy_folder)
    assert_same(straight, broken)


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.parametrize("seed", range(6))
def test_killed_at_random_times(tmp_path: Path, launch, seed: int) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    arguments = (
        *ARGUMENTS,
        "--max-train-steps",
        "120",
        "--checkpoint-steps",
        "5",
        "--gradient-accumulation-steps",
        "2",
    )
    assert launch(straight, *arguments).returncode == 0
    moments = random.Random(seed)
    for _ in range(3):
        process = launch(broken, *arguments, wait=False)
        kill_when(broken, process, files=1, delay=moments.uniform(0, 0.5))
    assert launch(broken, *arguments).returncode == 0
    assert_same(straight, broken)


@pytest.mark.slow  # the SPADE GAN's two processes, of which more must agree, are compared in every run of the tests
@pytest.mark.dist
def test_two_processes_train_as_one_with_twice_the_batch(tmp_path: Path, toy_folder: Path, launch) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    kept = ("--checkpoints-kept", "99")
    train_here(one, toy_folder, *kept, "--batch-size", "8")
    process = launch(two, *ARGUMENTS, *kept, "--batch-size", "4", processes=2)
    assert process.returncode == 0, process.output
    assert json.loads((two / "checkpoint-00000024" / "state.json").read_text())["processes"] == 2
    # sums are rounded in another order, which Adam amplifies where gradients are near zero: compare what is learned
    begin = weights_at(one, 4)
    moved = (weights_at(one, STEPS) - begin).norm()
    assert (weights_at(one, STEPS) - weights_at(two, STEPS)).norm() < 0.01 * moved
    losses = [held_out(run, toy_folder) for run in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_process_that_does_not_know_of_the_others_is_refused(
    tmp_path: Path, toy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="do not know of each other"):
        train_here(tmp_path / "run", toy_folder)
    assert not list(tmp_path.glob("run/checkpoint-*"))


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.skipif(torch.cuda.is_available(), reason="the launch that goes wrong is one without a GPU")
def test_two_independent_jobs_in_one_folder_are_refused(tmp_path: Path, launch) -> None:
    process = launch(tmp_path / "run", *ARGUMENTS, processes=2, use_cpu=False)
    assert process.returncode != 0
    assert "do not know of each other" in process.output
    assert not list(tmp_path.glob("run/checkpoint-*"))


def test_a_continuation_with_other_settings_is_refused_and_a_longer_one_is_not(
    tmp_path: Path, toy_folder: Path, capsys
) -> None:
    run = tmp_path / "run"

    def go_on(*arguments: str) -> None:
        train_here(run, toy_folder, *arguments)

    go_on("--max-train-steps", "4")
    card = run / "pipeline" / "README.md"
    card.write_text("with the figures of an evaluation")
    go_on("--max-train-steps", "4")
    assert "finished before" in capsys.readouterr().out
    assert card.read_text() == "with the figures of an evaluation"
    with pytest.raises(InputError, match=re.escape("'batch_size': (4, 2)")):
        go_on("--batch-size", "2")
    go_on("--max-train-steps", "8")
    assert json.loads((run / "pipeline" / "training.json").read_text())["steps"] == 8
