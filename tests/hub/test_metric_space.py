"""Spaces of metrics: what is exported loads without cmrsynth, says what it needs, and is published under its name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from cmrsynth.errors import InputError
from cmrsynth.hub.metric_space import (
    METRICS,
    check_repo_id,
    export_metric,
    metric_card,
    metric_names,
    publish_metric,
    requirements,
    siblings,
)

COLUMNS = """
rng = np.random.default_rng(0)
columns = dict(is_real=np.arange(80) < 40, patient_id=np.arange(80) // 2)
columns["features"] = rng.normal(size=(80, 4)).astype("float32") + (~columns["is_real"])[:, None]
"""
# cmrsynth cannot be imported in it, and a gradio stands in that only records
WITHOUT_CMRSYNTH = """
import json, sys, types
import numpy as np

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "cmrsynth":
            raise ImportError("cmrsynth is not to be imported here")

sys.meta_path.insert(0, Refuse())
"""


def run(program: str, folder: Path):
    command = [sys.executable, "-c", WITHOUT_CMRSYNTH + program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    return export_metric("cmr_fid", tmp_path_factory.mktemp("spaces") / "cmr_fid")


@pytest.fixture(scope="module")
def expected() -> dict:
    from cmrsynth.metrics.cmr_fid import CmrFid

    scope: dict = {"np": np}
    exec(COLUMNS, scope)
    return CmrFid().compute(**scope["columns"], resamples=10)


def test_a_space_holds_what_it_needs_and_no_more(exported):
    assert sorted(path.name for path in exported.iterdir()) == [
        "README.md", "app.py", "cmr_fid.py", "columns.py", "frechet.py", "intervals.py", "real_floor.py",
        "requirements.txt",
    ]  # fmt: skip
    assert not exported.with_name("cmr_fid.partial").exists()
    names = [re.split("[>=]", line)[0] for line in (exported / "requirements.txt").read_text().split()]
    assert names == ["datasets", "evaluate", "numpy", "pillow", "scipy"]
    for name in ("cmr_fid", *siblings(exported / "cmr_fid.py")):
        assert (exported / f"{name}.py").read_bytes() == (METRICS / f"{name}.py").read_bytes()


USE = """
import evaluate, importlib.util
from pathlib import Path

local = evaluate.load("cmr_fid.py").compute(**columns, resamples=10)
from_hub = evaluate.load("me/cmr_fid", revision="main").compute(**columns, resamples=10)

class Error(Exception):
    pass

gradio = types.ModuleType("gradio")
gradio.Error = Error
sys.modules["gradio"] = gradio
spec = importlib.util.spec_from_file_location("app", "app.py")
app = importlib.util.module_from_spec(spec)
spec.loader.exec_module(app)
np.savez(UPLOAD + ".npz", **columns)
header = "features_0,features_1,features_2,features_3,is_real,patient_id"
rest = zip(columns["features"].tolist(), columns["is_real"], columns["patient_id"])
lines = [",".join(map(str, [*row, real, patient])) for row, real, patient in rest]
Path(UPLOAD + ".csv").write_text(chr(10).join([header, *lines]))
uploads = [app.compute(UPLOAD + ending)["fid"] for ending in (".npz", ".csv")]
np.savez(UPLOAD + "-wrong.npz", features=columns["features"])
try:
    app.compute(UPLOAD + "-wrong.npz")
except Error as error:
    message = str(error)
print(json.dumps([local, from_hub, uploads, message]))
"""


def test_a_space_loads_from_folder_and_hub_and_its_app_runs_without_cmrsynth(exported, expected, hub, hub_server):
    assert publish_metric(exported, "me/cmr_fid").endswith("spaces/me/cmr_fid")
    assert hub_server.private["spaces/me/cmr_fid"] is True
    upload = f"UPLOAD = {str(exported.parent / 'upload')!r}\n"
    local, from_hub, uploads, message = run(upload + COLUMNS + USE, exported)
    assert local == from_hub == expected
    assert uploads == [expected["fid"]] * 2
    assert "missing ['is_real', 'patient_id']" in message


def test_code_that_an_earlier_version_left_in_a_space_is_removed(exported, hub):
    publish_metric(exported, "you/cmr_fid")
    (hub / "spaces/you/cmr_fid/stale.py").write_text("stale = True\n")
    publish_metric(exported, "you/cmr_fid")
    assert not (hub / "spaces/you/cmr_fid/stale.py").exists()


def test_what_must_not_be_published_is_refused(exported, hub, tmp_path):
    from huggingface_hub import HfApi

    for repo_id in ("me/fid", "cmr_fid", "me/cmr-fid", "a/b/cmr_fid"):
        with pytest.raises(InputError, match="would not find it"):
            check_repo_id("cmr_fid", repo_id)
    with pytest.raises(InputError, match="holds no cmr_kid"):
        publish_metric(exported, "me/cmr_kid")
    copy = export_metric("cmr_kid", tmp_path / "cmr_kid")
    (copy / "patients.txt").write_text("Jane Doe")
    with pytest.raises(InputError, match=r"do not belong there: patients\.txt"):
        publish_metric(copy, "me/cmr_kid")
    (copy / "patients.txt").unlink()
    HfApi().create_repo("me/cmr_kid", repo_type="space", space_sdk="gradio", private=False)
    with pytest.raises(InputError, match="public"):
        publish_metric(copy, "me/cmr_kid")
    publish_metric(copy, "me/cmr_kid", private=False)
    assert (hub / "spaces/me/cmr_kid/cmr_kid.py").exists()


def test_only_an_export_of_the_same_metric_is_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.md").write_text("years of work")
    with pytest.raises(InputError, match="holds something else"):
        export_metric("cmr_fid", tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.md").exists()
    with pytest.raises(InputError, match="no such metric"):
        export_metric("fid", tmp_path / "fid")
    folder = export_metric("cmr_spectrum", tmp_path / "space")
    (folder / "old.py").write_text("")
    assert not (export_metric("cmr_spectrum", folder) / "old.py").exists()


@pytest.mark.parametrize("name", metric_names())
def test_every_card_is_complete(name):
    card = metric_card(name, ["numpy>=1", "evaluate"], f"me/{name}")
    data, text = yaml.safe_load(card.split("---\n")[1]), card.split("---\n", 2)[2]
    assert data["title"] == name
    assert (data["sdk"], data["app_file"]) == ("gradio", "app.py")
    assert {"evaluate", "metric"} <= set(data["tags"])
    assert len(data["description"]) > 40
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    assert parts[1::2] == ["How to use", "Inputs and results", "Limits", "Citation"]
    assert all(len(part.strip()) > 80 for part in parts[::2])
    assert f'evaluate.load("me/{name}", revision="main")' in text
    for gap in ("{{", "{%", "See above", "More Information Needed"):
        assert gap not in text
    for part in ("Formula: ", "How to read it: ", "@", "Returns:"):
        assert part in text


def test_requirements_leave_out_the_optional_and_name_packages_as_pypi_does(tmp_path):
    source = tmp_path / "x.py"
    source.write_text(
        "import json\nfrom .y import z\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import monai\n"
        "try:\n    import torchvision\nexcept ImportError:\n    pass\n"
        "def f():\n    from sklearn.svm import SVC\n    import PIL.Image\n"
    )
    assert [re.split("[>=]", line)[0] for line in requirements([source])] == ["pillow", "scikit-learn"]


def test_the_command_exports_and_publishes(hub, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from cmrsynth.cli import app

    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["export-metric", "cmr_prdc", "--push", "lab/cmr_prdc", "--public"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "cmr_prdc" / "manifold.py").is_file()
    assert "lab/cmr_prdc" in (hub / "spaces/lab/cmr_prdc/README.md").read_text()
    wrong = CliRunner().invoke(app, ["export-metric", "cmr_prdc", "--public"])
    assert isinstance(wrong.exception, InputError)
