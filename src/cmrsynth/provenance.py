"""What made a result: command, versions, hardware, commit. Holds no user name and no path of the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = ("cmrsynth", "torch", "diffusers", "accelerate", "datasets", "monai", "numpy", "scipy", "scikit-learn")


def provenance() -> dict[str, Any]:
    """Return the command line, package versions, hardware and git commit of this process."""
    return {"command": command_line(), "versions": versions(), "hardware": hardware(), "git": git_commit()}


def command_line() -> str:
    """Return the command as the user typed it, without the machine's own paths."""
    program = Path(sys.argv[0])
    name = program.name if program.suffix != ".py" else f"{program.parent.name}/{program.name}"
    if name == "cmrsynth/cli.py":
        name = "cmrsynth"
    return shlex.join([name, *map(portable_path, sys.argv[1:])])


def portable_path(text: str) -> str:
    """Return an absolute path relative to the working folder, or as `.../name` if it lies elsewhere.

    Folder names of a hospital's machine can name people or studies; they do not belong in a published file.

    >>> portable_path("/mnt/trial-17/data:test"), portable_path("data/acdc"), portable_path("64")
    ('.../data:test', 'data/acdc', '64')
    >>> portable_path("--data=/mnt/trial-17/data"), portable_path("../trial-17/data")
    ('--data=.../data', '.../data')
    >>> portable_path("torchhub:/home/alice/repo:model")
    'torchhub:.../repo:model'
    """
    name, equals, value = text.partition("=")
    if equals and "/" not in name:
        return f"{name}={portable_path(value)}"
    scheme, colon, rest = text.partition(":")
    if colon and "/" not in scheme and rest.startswith("/"):
        return f"{scheme}:{portable_path(rest)}"
    path = Path(text)
    if not path.is_absolute() and ".." not in path.parts:
        return text
    here, path = Path.cwd(), Path(os.path.abspath(path))
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else f".../{path.name}"


def versions() -> dict[str, str]:
    """Return the installed versions of Python and the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def hardware() -> str:
    """Return the processor or accelerator in words."""
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return f"{os.cpu_count()} CPU cores ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"


def git_commit() -> str | None:
    """Return the commit of the checkout the package runs from ("+changes" if it differs), or None."""
    folder = Path(__file__).resolve().parent
    run = lambda *a: subprocess.run(["git", "-C", str(folder), *a], capture_output=True, text=True)  # noqa: E731
    try:
        head, status = run("rev-parse", "--short", "HEAD"), run("status", "--porcelain", "--untracked-files=no", "..")
    except FileNotFoundError:
        return None
    if head.returncode:
        return None
    return head.stdout.strip() + ("+changes" if status.stdout.strip() else "")
