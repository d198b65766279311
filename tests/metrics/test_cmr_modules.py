"""What all `evaluate` modules share: how they load, what they say about themselves, what they take and return."""

from __future__ import annotations

import ast
import json
import time
from pathlib import Path

import numpy as np
import pytest

from cmrsynth.hub.metric_space import METRICS, check_closure, metric_names, siblings

FEATURE_MODULES = ["cmr_fid", "cmr_kid", "cmr_cmmd", "cmr_prdc", "cmr_vendi"]
IMAGE_MODULES = ["cmr_sliced_wasserstein", "cmr_spectrum", "cmr_ms_ssim"]
pytestmark = pytest.mark.filterwarnings("ignore:.*real patients:UserWarning")


def load(name: str):
    import evaluate

    return evaluate.load(str(METRICS / f"{name}.py"))


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    is_real, patient_id = np.arange(120) < 60, np.arange(120) // 3
    rows = rng.normal(size=(120, 5)) + np.where(is_real, 0, 0.5)[:, None]
    return {"features": rows.astype(np.float32), "is_real": is_real, "patient_id": patient_id}


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    is_real, patient_id = np.arange(24) < 12, np.arange(24) // 2
    return {"images": rng.random((24, 24, 24), dtype=np.float32), "is_real": is_real, "patient_id": patient_id}


def test_every_asked_for_module_is_there():
    assert set(metric_names()) >= {
        *FEATURE_MODULES, *IMAGE_MODULES, "cmr_fid_infinity", "cmr_inception_score", "cmr_two_sample",
        "cmr_reconstruction", "cmr_overlap", "cmr_anatomy", "cmr_nearest_neighbours", "cmr_membership", "cmr_utility",
    }  # fmt: skip


@pytest.mark.parametrize("name", metric_names())
def test_a_module_loads_from_its_path_and_describes_itself(name):
    metric = load(name)
    assert metric.name == name
    assert metric.info.format == "numpy"
    assert "Formula: " in metric.description
    assert "How to read it: " in metric.description
    assert metric.citation.strip().startswith("@")
    assert metric.info.reference_urls
    for part in ("Args:", "Returns:", "Raises:", "Examples:", ">>> ", *metric.kinds):
        assert part in metric.inputs_description
    assert set(metric.features) == set(metric.kinds)
    assert "{" not in metric.inputs_description.split("Examples:")[0]  # no forgotten piece of a template


@pytest.mark.parametrize("name", metric_names())
def test_a_module_names_all_siblings_of_its_siblings_and_no_others(name):
    check_closure(name)
    tree = ast.parse((METRICS / f"{name}.py").read_text())
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= {b.id for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for b in node.bases if hasattr(b, "id")}
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]
    in_use = {n.module for n in imports if any(alias.name in used for alias in n.names)}
    needed = set().union(*(siblings(METRICS / f"{stem}.py") for stem in siblings(METRICS / f"{name}.py")), in_use)
    assert {n.module for n in imports} == needed


def test_a_missing_sibling_is_noticed(tmp_path, monkeypatch):
    for path in METRICS.glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text())
    module = tmp_path / "cmr_fid.py"
    module.write_text("\n".join(line for line in module.read_text().split("\n") if "from .intervals" not in line))
    monkeypatch.setattr("cmrsynth.hub.metric_space.METRICS", tmp_path)
    with pytest.raises(ValueError, match=r"\['intervals'\]"):
        check_closure("cmr_fid")


def test_class_names_are_unique():
    names = [
        node.name
        for path in METRICS.glob("cmr_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    ]
    assert len(names) == len(set(names)) == len(metric_names())


def test_the_package_module_and_the_loaded_one_agree_and_batches_add_up(features):
    from cmrsynth.metrics.cmr_fid import CmrFid

    expected = CmrFid().compute(**features, resamples=10)
    assert load("cmr_fid").compute(**features, resamples=10) == expected
    metric = load("cmr_fid")
    for start in range(0, 120, 50):
        metric.add_batch(**{name: column[start : start + 50] for name, column in features.items()})
    assert metric.compute(resamples=10) == expected
    for row in range(120):
        metric.add(**{name: column[row] for name, column in features.items()})
    assert metric.compute(resamples=10) == expected  # a metric can be used again


def test_results_are_plain_numbers_that_evaluate_can_save(features, images, tmp_path):
    import evaluate

    for name, columns in [(n, features) for n in FEATURE_MODULES] + [(n, images) for n in IMAGE_MODULES]:
        result = load(name).compute(**columns, resamples=4)
        assert {type(value) for value in result.values()} <= {float, int, str}, name
        json.dumps(result)
        value = next(iter(result))
        for ending in ("_low", "_high", "_floor", "_floor_low", "_floor_high", "_at_floor_size"):
            assert np.isfinite(result[value + ending]), (name, ending)
        assert result["n_synthetic"] == result["n_real"] == len(columns["is_real"]) // 2
        assert {"n_patients", "data_hash", "made_with"} <= set(result)
        evaluate.save(tmp_path, **result)


@pytest.mark.parametrize("kind", ["features", "images"])
def test_modules_with_the_same_columns_combine(kind, request):
    import evaluate

    columns = request.getfixturevalue(kind)
    names = {"features": FEATURE_MODULES, "images": IMAGE_MODULES}[kind]
    together = evaluate.combine([load(name) for name in names])
    half = len(columns["is_real"]) // 2
    for part in (slice(None, half), slice(half, None)):
        together.add_batch(**{name: column[part] for name, column in columns.items()})
    found = together.compute(resamples=4)
    for name in names:
        alone = load(name).compute(**columns, resamples=4)
        value = next(iter(alone))
        assert found[value] == alone[value]
        assert found[f"{value}_floor"] == alone[f"{value}_floor"]


def test_images_may_be_given_as_paths(images, tmp_path):
    pixels = (images["images"] * 255).astype(np.uint8)
    for number, image in enumerate(pixels):
        np.save(tmp_path / f"{number}.npy", image)
    paths = [tmp_path / f"{number}.npy" for number in range(len(pixels))]
    rest = {name: images[name] for name in ("is_real", "patient_id")}
    found, expected = (load("cmr_spectrum").compute(images=i, **rest, resamples=4) for i in (paths, pixels))
    assert found == expected
    import evaluate

    together = evaluate.combine([load("cmr_spectrum"), load("cmr_ms_ssim")])
    assert together.compute(images=paths, **rest, resamples=4)["spectrum_distance"] == expected["spectrum_distance"]


def test_batches_of_other_sizes_are_refused_in_words_and_the_next_set_may_have_any(images):
    metric = load("cmr_spectrum")
    metric.add_batch(**images)
    with pytest.raises(ValueError, match=r"rows have shape \(16, 16\), those before had \(24, 24\)"):
        metric.add_batch(**{**images, "images": images["images"][:, :16, :16]})
    metric.compute(resamples=0)
    result = metric.compute(**{**images, "images": images["images"][:, :16, :20]}, resamples=0)
    assert np.isfinite(result["spectrum_distance"])
    assert np.isnan(result["spectrum_distance_low"])


def test_forty_images_of_512_pixels_are_added_quickly_and_come_back_as_an_array(images, monkeypatch):
    metric = load("cmr_spectrum")
    pixels = np.random.default_rng(0).random((40, 512, 512), dtype=np.float32)
    columns = {"images": pixels, "is_real": np.arange(40) < 20, "patient_id": np.arange(40) // 2}
    start = time.perf_counter()
    metric.add_batch(**columns)
    assert time.perf_counter() - start < 1.5  # 0.15 s on an idle core; lists of numbers would take a minute
    seen = []
    monkeypatch.setattr(type(metric), "_compute", lambda self, **columns: seen.append(columns["images"]) or {})
    start = time.perf_counter()
    metric.compute()
    assert time.perf_counter() - start < 3
    assert isinstance(seen[0], np.ndarray)
    assert seen[0].dtype == np.float32
    np.testing.assert_array_equal(seen[0], pixels)


def test_a_module_says_what_is_missing(features):
    with pytest.raises(ValueError, match=r"missing \['patient_id'\]"):
        load("cmr_fid").add_batch(features=features["features"], is_real=features["is_real"])
    with pytest.raises(ValueError, match=r"unknown \['labels'\]"):
        load("cmr_fid").add_batch(**features, labels=features["is_real"])


def test_evaluate_is_not_imported_with_the_package():
    import subprocess
    import sys

    program = "import sys, cmrsynth.metrics, cmrsynth.hub.metric_space; print('evaluate' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_every_file_a_metric_needs_is_beside_it():
    for name in metric_names():
        assert all((METRICS / f"{stem}.py").is_file() for stem in siblings(METRICS / f"{name}.py"))
    assert Path(METRICS).is_dir()
