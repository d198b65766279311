"""What the training tests share: toy data on disk, and the program started as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "training" / "train_rectified_flow.py"
TINY = ROOT / "training" / "configs" / "tiny.yaml"


@pytest.fixture
def launch(toy_folder: Path):
    """Start the program; `processes=2` uses gloo on the CPU."""

    def start(
        output: Path, *arguments: str, processes: int = 1, wait: bool = True, use_cpu: bool = True
    ) -> subprocess.Popen:
        command = [sys.executable]  # one process needs no launcher: `accelerate launch` only starts it and waits
        if processes > 1:
            command += ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1"]
            command += ["--num_processes", str(processes), "--main_process_port", "0"]
            command += ["--mixed_precision", "no", "--dynamo_backend", "no"]
        command += [str(PROGRAM), "--config", str(TINY), "--data", str(toy_folder), "--output", str(output), *arguments]
        environment = {**os.environ, "ACCELERATE_USE_CPU": str(use_cpu).lower(), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        if wait:
            process.output = process.communicate(timeout=200)[0]
        return process

    return start
