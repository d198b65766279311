"""The GAN program as a user runs it: two processes train what one trains, and a kill costs nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cmrsynth.hub.load import load_pipeline

ROOT = Path(__file__).resolve().parents[2]
PROGRAM, TINY = ROOT / "training" / "train_gan.py", ROOT / "training" / "configs" / "tiny_gan.yaml"
MULTIPLE = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1", "--main_process_port", "0",
            "--mixed_precision", "no", "--dynamo_backend", "no", "--num_processes")  # fmt: skip


def start(data: Path, output: Path, *arguments: str, processes: int = 1) -> subprocess.Popen:
    launcher = [] if processes == 1 else [*MULTIPLE, str(processes)]
    command = [sys.executable, *launcher, str(PROGRAM), "--config", str(TINY), "--data", str(data)]
    return subprocess.Popen(
        [*command, "--output", str(output), *arguments],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> None:
    output = process.communicate(timeout=250)[0]
    assert process.returncode == 0, output


def weights(run: Path, step: int) -> torch.Tensor:
    """Every weight of both networks at a step, as one vector."""
    names = ("discriminator", "generator")
    networks = [load_file(run / f"checkpoint-{step:08d}" / f"{name}.safetensors") for name in names]
    return torch.cat([network[key].flatten() for network in networks for key in sorted(network)])


@pytest.mark.dist
@pytest.mark.parametrize("architecture", ["spade", pytest.param("r3gan", marks=pytest.mark.slow)])
def test_two_processes_train_what_one_trains(architecture: str, toy_folder: Path, tmp_path: Path) -> None:
    shared = ("--architecture", architecture, "--max-train-steps", "4", "--sample-steps", "0")
    runs = [
        start(toy_folder, tmp_path / "one", *shared, "--batch-size", "4"),
        start(toy_folder, tmp_path / "two", *shared, "--batch-size", "2", processes=2),
    ]
    for process in runs:
        finish(process)
    # sums are rounded in another order, which Adam amplifies where gradients are near zero: compare what is learned
    moved = (weights(tmp_path / "one", 4) - weights(tmp_path / "one", 2)).norm()
    assert (weights(tmp_path / "one", 4) - weights(tmp_path / "two", 4)).norm() < 0.01 * moved
    states = [json.loads((tmp_path / n / "checkpoint-00000004" / "state.json").read_text()) for n in ("one", "two")]
    assert states[0]["family"] == states[1]["family"]


@pytest.mark.slow
def test_a_killed_run_continues_to_the_same_weights_and_exports(toy_folder: Path, tmp_path: Path) -> None:
    arguments = ("--max-train-steps", "40", "--checkpoint-steps", "4", "--sample-steps", "0")
    whole = start(toy_folder, tmp_path / "whole", *arguments)
    killed = start(toy_folder, tmp_path / "killed", *arguments)
    while killed.poll() is None and not list((tmp_path / "killed").glob("checkpoint-*[0-9]")):
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "pipeline").exists()
    finish(start(toy_folder, tmp_path / "killed", *arguments))
    finish(whole)
    assert torch.equal(weights(tmp_path / "killed", 40), weights(tmp_path / "whole", 40))
    pipelines = [load_pipeline(tmp_path / run / "pipeline") for run in ("killed", "whole")]
    images = [p(batch_size=2, generator=torch.Generator().manual_seed(0)).images for p in pipelines]
    assert torch.equal(*images)
