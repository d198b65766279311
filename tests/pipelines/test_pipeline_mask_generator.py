"""The mask generator's pipeline: anatomy refused with its reason, the same mask in any batch, loads everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from cmrsynth.hub.export import export_pipeline
from cmrsynth.hub.load import load_pipeline
from cmrsynth.labels import LV, MYO, RV
from cmrsynth.metrics.anatomy import measure
from cmrsynth.models import ConditionEncoder, MaskVAE
from cmrsynth.pipelines import MaskGeneratorPipeline
from cmrsynth.pipelines.pipeline_mask_generator import topology
from cmrsynth.training.family import seeded_weights

FREE = {"reject": False}


def seeds(*numbers: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(number) for number in numbers]


@pytest.fixture
def pipeline() -> MaskGeneratorPipeline:
    """Random weights: blobs of every label."""
    with seeded_weights(0):
        vae = MaskVAE(sample_size=16, latent_dim=6, block_out_channels=(8, 8, 16)).eval()
        words = {"phase": ["ED", "ES"], "slice_level": ["apical", "basal", "mid"]}
        encoder = ConditionEncoder(vae.embedding_dim, vocabularies=words).eval()
        for table in encoder.tables.values():
            torch.nn.init.normal_(table.weight)
    anatomy = {"labels": [1, 2, 3], "levels": {"any": {"present": ["123"], "tolerated": [], "least_enclosed": 1.0}}}
    pipe = MaskGeneratorPipeline(vae, encoder, condition_dropout=0.1, pixel_spacing_mm=2.0, anatomy=anatomy)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def heart() -> np.ndarray:
    """A valid mask (16, 16)."""
    labels = np.zeros((16, 16), np.uint8)
    labels[5:12, 5:12], labels[7:10, 7:10], labels[6:11, 2:5] = MYO, LV, RV
    return labels


def changed(where: tuple, label: int) -> np.ndarray:
    labels = heart()
    labels[where] = label
    return labels


@pytest.mark.parametrize(
    ("labels", "faults"),
    [
        (heart(), []),
        (changed((0, 0), LV), ["lv_pieces", "lv_open"]),
        (changed((0, 0), RV), ["rv_pieces"]),
        (changed((15, 15), MYO), ["myo_pieces"]),
        (changed((6, 6), 0), ["hole"]),
        (changed((slice(5, 7), 8), 0), ["lv_open"]),
        (changed((slice(None), slice(0, 5)), 0), ["absent"]),
        (changed((4, 1), RV), ["rv_pieces"]),  # two pixels away
        (changed((5, 1), RV), []),  # by a corner: still one region
        (np.zeros((16, 16), np.uint8), ["absent"]),
    ],
    ids=["valid", "lv", "rv", "myo", "hole", "open", "no-rv", "apart", "corner", "empty"],
)
def test_faults_are_named(pipeline, labels: np.ndarray, faults: list[str]) -> None:
    assert pipeline.faults(labels) == faults


def test_a_structure_smaller_than_real_ones_is_a_sliver(pipeline) -> None:
    pixels = int((heart() == RV).sum())
    for least, faults in ((pixels, []), (pixels + 1, ["sliver"])):
        any_level = {**pipeline.config.anatomy["levels"]["any"], "least_pixels": {"1": 1, "2": 1, "3": least}}
        pipeline.register_to_config(anatomy={"labels": [1, 2, 3], "levels": {"any": any_level}})
        assert pipeline.faults(heart()) == faults


def test_a_slice_level_has_the_allowance_of_its_real_masks(pipeline) -> None:
    levels = {
        **pipeline.config.anatomy["levels"],
        "basal": {"present": ["12", "123"], "tolerated": ["rv_pieces"], "least_enclosed": 0.8},
    }
    pipeline.register_to_config(anatomy={"labels": [1, 2, 3], "levels": levels})
    gap = changed((slice(5, 7), 8), 0)
    gap[0, 0] = RV
    assert pipeline.faults(gap, "basal") == []
    assert pipeline.faults(gap, "mid") == pipeline.faults(gap) == ["rv_pieces", "lv_open"]


def test_regions_agree_with_the_metrics_of_evaluation() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        labels = (rng.integers(0, 4, (12, 12)) * (rng.random((12, 12)) < rng.uniform(0.2, 1))).astype(np.uint8)
        known, found = measure(labels, (1.0, 1.0)), topology(labels)
        pieces = [f"{name}_pieces" for name in ("lv", "myo", "rv") if known[f"{name}_components"] > 1]
        assert [name for name in found["faults"] if name != "hole"] == pieces
        assert found["lv_enclosed"] == pytest.approx(1.0 if np.isnan(known["lv_enclosed"]) else known["lv_enclosed"])


def test_shapes_types_and_pictures(pipeline) -> None:
    drawn = pipeline(batch_size=3, generator=seeds(1, 2, 3), **FREE)
    assert drawn.masks.shape == (3, 16, 16)
    assert drawn.masks.dtype == torch.uint8
    assert drawn.images.shape == (3, 1, 16, 16)
    assert set(drawn.images.unique().tolist()) <= {0.0, *(torch.tensor([1.0, 2.0, 3.0]) / 3).tolist()}
    assert drawn.rejected == [{}, {}, {}]
    arrays = pipeline(batch_size=2, output_type="np", **FREE)
    assert arrays.masks.dtype == np.uint8
    assert arrays.images.shape == (2, 16, 16, 1)
    assert pipeline(output_type="pil", **FREE).images[0].size == (16, 16)
    assert (pipeline.sample_size, pipeline.mask_channels, pipeline.annotated_labels) == (16, 0, [1, 2, 3])


def test_a_mask_depends_on_its_generator_and_conditions_alone(pipeline) -> None:
    together = pipeline(batch_size=3, phase=["ED", "ES", None], generator=seeds(1, 2, 3), **FREE).masks
    for number, phase in enumerate(["ED", "ES", None]):
        alone = pipeline(phase=phase, generator=seeds(number + 1), **FREE).masks[0]
        assert torch.equal(together[number], alone)
    assert len(torch.unique(together, dim=0)) == 3
    assert not torch.equal(together[:1], pipeline(phase="ES", generator=seeds(1), **FREE).masks)


def test_refused_draws_are_counted_and_drawn_again(pipeline, monkeypatch) -> None:
    verdicts = iter([["lv_open"], ["lv_open", "absent"], [], []])
    monkeypatch.setattr(type(pipeline), "faults", lambda self, labels, level=None: next(verdicts))
    drawn = pipeline(batch_size=2, generator=seeds(4, 5))
    assert drawn.rejected == [{"lv_open": 2, "absent": 1}, {}]
    third = seeds(4)[0]
    torch.randn(2, 6, generator=third)  # the two refused vectors
    monkeypatch.undo()
    assert torch.equal(drawn.masks[:1], pipeline(generator=[third], **FREE).masks)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask": torch.zeros(1, 4, 16, 16)}, "makes masks and takes none"),
        ({"temperature": -1}, "at least 0"),
        ({"temperature": 0}, "every draw is the same"),
        ({"max_draws": 0}, "max_draws must be at least 1"),
        ({"output_type": "latent"}, "output_type must be"),
        ({"phase": "systole"}, "unknown phase 'systole'"),
        ({"vendor": "A"}, "not conditioned on"),
        ({"generator": seeds(1, 2)}, "2 generators for 1 masks"),
        ({"max_draws": 3, "slice_level": "mid"}, r"3 draws of a mask \(slice level: mid\) were all refused, for"),
    ],
)
def test_wrong_use_is_refused_with_the_reason(pipeline, arguments, message) -> None:
    pipeline.register_to_config(anatomy={"levels": {"any": {"present": []}}})  # nothing is right
    with pytest.raises(ValueError, match=message):
        pipeline(**arguments)


def test_gradients_reach_every_parameter(pipeline) -> None:
    vae, encoder = pipeline.vae.train(), pipeline.condition_encoder.train()
    words = {"phase": ["ED", "ES", None], "slice_level": ["apical", "mid", "basal"]}
    condition = encoder(encoder.encode(3, **words))
    sum(vae(torch.rand(3, 4, 16, 16), torch.randn(3, 6), condition)).sum().backward()
    for network in (vae, encoder):
        assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_the_exported_folder_loads_with_and_without_cmrsynth(pipeline, tmp_path: Path) -> None:
    folder = export_pipeline(pipeline, tmp_path / "repo")
    expected = pipeline(batch_size=2, phase="ED", generator=seeds(1, 2), **FREE).masks
    again = load_pipeline(folder)
    assert type(again) is MaskGeneratorPipeline
    assert again.config.anatomy == pipeline.config.anatomy
    assert torch.equal(again(batch_size=2, phase="ED", generator=seeds(1, 2), **FREE).masks, expected)
    other = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    assert other.faults(heart()) == []
    export_pipeline(other, tmp_path / "second")
    program = f"""
import sys
for name in ("cmrsynth", "accelerate", "transformers", "datasets", "monai", "evaluate", "scipy"):
    sys.modules[name] = None  # a process that has only torch, diffusers and safetensors
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file
pipe = DiffusionPipeline.from_pretrained({str(tmp_path / "second")!r}, trust_remote_code=True)
generators = [torch.Generator().manual_seed(s) for s in (1, 2)]
masks = pipe(batch_size=2, phase="ED", generator=generators, reject=False).masks
save_file({{"masks": masks.contiguous()}}, {str(tmp_path / "masks.safetensors")!r})
"""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home")}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    assert torch.equal(load_file(tmp_path / "masks.safetensors")["masks"], expected)
