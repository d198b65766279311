from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def toy_set():
    """The function `toy_set(name, patients, seed=...)` of `tests/evaluation/toy_hearts.py`."""
    path = Path(__file__).resolve().parents[1] / "evaluation" / "toy_hearts.py"
    spec = importlib.util.spec_from_file_location("toy_hearts", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.toy_set
