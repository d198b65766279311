from __future__ import annotations

import pytest

from cmrsynth.certification.ground import toy_ground


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """Toy hearts, with a network trained once a session."""
    return toy_ground(tmp_path_factory.mktemp("models"))
