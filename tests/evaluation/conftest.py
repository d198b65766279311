from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def _module(name: str):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).resolve().parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def toy_set():
    """The function `toy_set(name, patients, seed=...)` of `tests/evaluation/toy_hearts.py`."""
    return _module("toy_hearts").toy_set


@pytest.fixture(scope="session")
def stacked():
    """`tests/evaluation/stacked_hearts.py`: whole stacks, and what stands in for networks on them."""
    return _module("stacked_hearts")
