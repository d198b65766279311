"""Fixtures for tests of the data package."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def raw() -> ModuleType:
    """The module `raw_fixtures`: writers of tiny raw data sets in the layout of each source."""
    spec = importlib.util.spec_from_file_location("raw_fixtures", Path(__file__).with_name("raw_fixtures.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
