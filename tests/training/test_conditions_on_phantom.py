"""A flow trained on the phantom: asked for another ejection fraction or pathology, it shows another heart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV

from cmrsynth.data.loading import load_slices
from cmrsynth.data.phantom_source import patients
from cmrsynth.data.preprocessing import slice_levels
from cmrsynth.data.shards import study_rows
from cmrsynth.data.study import Study, Volume
from cmrsynth.labels import LV
from cmrsynth.schema import features
from cmrsynth.training.config import RectifiedFlowConfig
from cmrsynth.training.rectified_flow import RectifiedFlow
from cmrsynth.training.run import Run

SIDE, TRAIN_STEPS, SAMPLES = 24, 2500, 32
SYSTOLE = {"phase": "ES"}  # where a weak heart is a large one


def rings(images: np.ndarray) -> np.ndarray:
    """Mean brightness at every distance from the centre, which the crop puts on the heart: (N, H, W) to (N, 10)."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    ring = np.minimum(np.hypot(y, x), 9.5).astype(int)
    return np.stack([images[:, ring == number].mean(1) for number in range(10)], axis=1)


def cropped(study: Study) -> Study:
    """The study around its LV, in [0, 1]."""
    cavity = study.volumes[0].mask == LV
    row, column = (int(np.average(places)) - SIDE // 2 for places in np.nonzero(cavity)[1:])
    window = (slice(None), slice(row, row + SIDE), slice(column, column + SIDE))
    brightest = np.quantile(study.volumes[0].image[window], 0.99)

    def cut(volume: Volume) -> Volume:
        image = np.clip(volume.image[window] / brightest, 0, 1)
        return replace(volume, image=image, mask=volume.mask[window])

    return replace(study, volumes=tuple(cut(volume) for volume in study.volumes))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 patients of one vendor, 24x24 pixels of 5 to 6 mm, the last 15 for the test."""
    folder = tmp_path_factory.mktemp("phantom")
    (folder / "data").mkdir()
    found: dict[str, list[dict]] = {"train": [], "test": []}
    for number, entry in enumerate(patients(num_patients=60, vendors=("A",), size=64)):
        study = entry.load()
        rows = study_rows(cropped(study), patient_id=study.patient_id, levels=slice_levels(study))
        found["train" if number < 45 else "test"] += [row for row in rows if row["slice_level"] == "mid"]
    for split, rows in found.items():
        table = datasets.Dataset.from_list(rows, features=features())
        table.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_scalar_and_a_prompt_change_the_heart(phantom: Path, text_model: Path, tmp_path: Path) -> None:
    config = RectifiedFlowConfig(
        str(phantom), str(tmp_path / "run"), validation_split="", conditioning="none", block_out_channels=[16, 32, 32],
        attention_levels=[2], scalars=["ejection_fraction"], text_encoder=str(text_model), max_train_steps=TRAIN_STEPS,
        attribute_dropout=0.25, augment_shift=1, ema_decay=0.99, warmup_steps=50, learning_rate=2e-3, sample_steps=0,
        mixed_precision="no", cpu_threads=1,
    )  # fmt: skip
    run = Run(config, RectifiedFlow)
    while run.progress < 1:
        run.train_step()
    pipeline = run.pipeline()
    pipeline.set_progress_bar_config(disable=True)

    def read(split: str) -> tuple[np.ndarray, np.ndarray]:
        slices = load_slices(phantom, split)
        shown = slices.select(slices.phase == "ES")
        return rings(shown.images), shown.ejection_fraction

    probe = RidgeCV(np.logspace(-4, 2, 13)).fit(*read("train"))
    held_out, true = read("test")
    assert np.corrcoef(probe.predict(held_out), true)[0, 1] > 0.8  # the probe reads ejection fractions off images

    def asked(**conditions: object) -> float:
        generators = [torch.Generator().manual_seed(seed) for seed in range(SAMPLES)]
        images = pipeline(batch_size=SAMPLES, num_inference_steps=5, generator=generators, **conditions).images
        return float(probe.predict(rings(images[:, 0].numpy())).mean())

    by_scalar = [asked(**SYSTOLE, ejection_fraction=value) for value in (25.0, 45.0, 65.0)]
    by_pathology = [asked(**SYSTOLE, pathology=value) for value in ("dilated", "hypertrophic")]
    opening = "short-axis cine cardiac MRI, mid-ventricular slice, end-systole"
    by_prompt = [
        asked(prompt=f"{opening}, {disease}")
        for disease in ("dilated cardiomyopathy", "myocardial infarction", "hypertrophic cardiomyopathy")
    ]
    print({"scalar": by_scalar, "pathology": by_pathology, "prompt": by_prompt})
    assert by_scalar[0] + 8 < by_scalar[1] < by_scalar[2] - 3
    assert by_scalar[2] - by_scalar[0] > 20
    assert by_pathology[1] - by_pathology[0] > 20
    # of 39 between real hearts; the text model is random, so that what it says of a prompt is faint
    assert by_prompt[0] < by_prompt[1] < by_prompt[2]
    assert by_prompt[2] - by_prompt[0] > 12
