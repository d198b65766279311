"""The GAN and VAE programs as a user runs them: two processes train what one trains, and a kill costs nothing."""

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


def run_program(command: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def start(data: Path, output: Path, *arguments: str, processes: int = 1) -> subprocess.Popen:
    launcher = [] if processes == 1 else [*MULTIPLE, str(processes)]
    command = [sys.executable, *launcher, str(PROGRAM), "--config", str(TINY), "--data", str(data)]
    return run_program([*command, "--output", str(output), *arguments])


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


VAE = ("--block-out-channels", "8", "8", "16", "--latent-dim", "6", "--kl-warmup-steps", "30", "--batch-size", "4")


@pytest.mark.slow
@pytest.mark.parametrize("program", ["gan", "vae"])
def test_a_killed_run_continues_to_the_same_weights_and_exports(program: str, toy_folder: Path, tmp_path: Path) -> None:
    arguments = ("--max-train-steps", "40", "--checkpoint-steps", "4", "--sample-steps", "0")
    settings = ("--config", str(TINY)) if program == "gan" else (*VAE, "--mixed-precision", "no", "--cpu-threads", "1")
    command = [sys.executable, str(PROGRAM.with_name(f"train_{program}.py")), *settings, "--data", str(toy_folder)]

    def begin(name: str) -> subprocess.Popen:
        return run_program([*command, "--output", str(tmp_path / name), *arguments])

    whole, killed = begin("whole"), begin("killed")
    while killed.poll() is None and not list((tmp_path / "killed").glob("checkpoint-*[0-9]")):
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    killed.stdout.close()
    assert not (tmp_path / "killed" / "pipeline").exists()
    finish(begin("killed"))
    finish(whole)
    last = [tmp_path / run / "checkpoint-00000040" for run in ("killed", "whole")]
    files = sorted(path.name for path in last[1].glob("*.safetensors") if not path.name.startswith("random"))
    expected = {"gan": ["discriminator", "generator"], "vae": ["vae"]}[program]
    assert files == sorted([*(f"{n}.safetensors" for n in expected), *(f"{n}-optimizer.safetensors" for n in expected),
                            "ema.safetensors"])  # fmt: skip
    for file in files:  # networks, the moments of every optimiser, averages
        ours, theirs = (load_file(folder / file) for folder in last)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), file
    states = [json.loads((folder / "state.json").read_text())["family"] for folder in last]
    assert states[0] == states[1] != {}  # the probability of augmentation, the weight of the divergence
    pipelines = [load_pipeline(tmp_path / run / "pipeline") for run in ("killed", "whole")]
    images = [p(batch_size=2, generator=torch.Generator().manual_seed(0)).images for p in pipelines]
    assert torch.equal(*images)
