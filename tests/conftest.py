"""Point every Hugging Face library at a loopback hub before any of them is imported; nothing leaves this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("fakehub", Path(__file__).parent / "hub" / "fakehub.py")
_fakehub = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fakehub)
_root = Path(tempfile.mkdtemp(prefix="cmrsynth-tests-"))
_server = _fakehub.FakeHub(_root / "hub")
os.environ.update(
    HF_ENDPOINT=_server.url,
    HF_HOME=str(_root / "home"),
    HF_TOKEN="hf_test",
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_UPDATE_DOWNLOAD_COUNTS="0",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    MPLBACKEND="Agg",
)
for _name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_DATASETS_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE"):
    os.environ.pop(_name, None)
# Tests use tiny tensors, for which a second thread costs more than it brings; programs they start inherit this.
# (Read when torch is first imported, so that tests without torch need not pay for `torch.set_num_threads`.)
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_unconfigure() -> None:
    _server.close()
    shutil.rmtree(_root, ignore_errors=True)


@pytest.fixture
def hub() -> Path:
    """Folder behind the loopback hub: models/<owner>/<name>, datasets/<owner>/<name>, spaces/<owner>/<name>."""
    return _root / "hub"


@pytest.fixture
def hub_server() -> _fakehub.FakeHub:
    """The loopback hub itself: `requests` it answered and the `private` flag of each repository."""
    return _server
