"""The GAN pipelines' contract: seeds, batches, styles, refusals, and the folder that loads without us."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from cmrsynth.hub.export import export_pipeline
from cmrsynth.hub.load import load_pipeline, pipeline_hash
from cmrsynth.labels import one_hot
from cmrsynth.models import ConditionEncoder, DcganGenerator, ResidualGenerator, SpadeGenerator, StyleEncoder
from cmrsynth.pipelines import GanPipeline, SpadeGanPipeline

VOCABULARIES = {"vendor": ["A", "B"], "phase": ["ED", "ES"]}
WIDTHS = (8, 8, 16)


def tiny(name: str) -> SpadeGanPipeline | GanPipeline:
    """A small pipeline whose weights are all random, so that nothing is hidden."""
    parts = {"condition_encoder": ConditionEncoder(8, vocabularies=VOCABULARIES)}
    if name == "spade":
        parts["generator"] = SpadeGenerator(16, style_dim=8, block_out_channels=WIDTHS, layout_channels=8)
        parts["style_encoder"] = StyleEncoder(8, (8, 16))
    else:
        network = {"dcgan": DcganGenerator, "r3gan": ResidualGenerator}[name]
        parts["generator"] = network(16, latent_dim=8, embedding_dim=8, block_out_channels=WIDTHS)
    generator = torch.Generator().manual_seed(0)
    for part in parts.values():
        for parameter in part.eval().parameters():
            torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    pipeline_class = SpadeGanPipeline if name == "spade" else GanPipeline
    return pipeline_class(**parts, condition_dropout=0.1, pixel_spacing_mm=2.0)


@pytest.fixture(params=["spade", "dcgan", "r3gan"])
def pipeline(request) -> SpadeGanPipeline | GanPipeline:
    return tiny(request.param)


@pytest.fixture
def spade() -> SpadeGanPipeline:
    return tiny("spade")


@pytest.fixture
def mask() -> torch.Tensor:
    return one_hot(torch.randint(0, 4, (3, 16, 16), generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def look() -> torch.Tensor:
    return torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(4))


def seeds(*values: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(value) for value in values]


def sample(pipeline, mask: torch.Tensor, **arguments) -> torch.Tensor:
    """Three images, or as many as the mask has, of any of the pipelines."""
    given = {} if pipeline.mask_channels else {"batch_size": len(mask)}
    return pipeline(mask if pipeline.mask_channels else None, **given, **arguments).images


def test_an_image_does_not_depend_on_its_batch(pipeline, mask) -> None:
    together = sample(pipeline, mask, vendor=["A", "B", None], generator=seeds(1, 2, 3))
    alone = sample(pipeline, mask[1:2], vendor="B", generator=seeds(2))
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)
    assert together.shape == (3, 1, 16, 16)
    assert together.min() >= 0
    assert together.max() <= 1
    assert pipeline.sample_size == 16


def test_output_types_agree_and_a_tuple_equals_the_dataclass(pipeline, mask) -> None:
    tensor = sample(pipeline, mask, generator=seeds(1, 2, 3))
    array = sample(pipeline, mask, generator=seeds(1, 2, 3), output_type="np")
    pictures = sample(pipeline, mask, generator=seeds(1, 2, 3), output_type="pil")
    np.testing.assert_array_equal(tensor.permute(0, 2, 3, 1).numpy(), array)
    assert [p.mode for p in pictures] == ["L"] * 3
    assert isinstance(pipeline(batch_size=2, return_dict=False), tuple)


def test_conditions_seeds_and_temperature_change_the_image(pipeline, mask) -> None:
    plain = sample(pipeline, mask, generator=seeds(1, 2, 3))
    assert not torch.allclose(plain, sample(pipeline, mask, generator=seeds(4, 5, 6)), atol=1e-4)
    assert not torch.allclose(plain, sample(pipeline, mask, generator=seeds(1, 2, 3), vendor="B"), atol=1e-4)
    unknown = sample(pipeline, mask, generator=seeds(1, 2, 3), vendor="unknown", phase=[None, None, None])
    assert torch.equal(plain, unknown)
    typical = [sample(pipeline, mask, generator=seeds(*s), temperature=0.0) for s in ((1, 2, 3), (4, 5, 6))]
    assert torch.equal(*typical)


def test_the_mask_counts_and_an_absent_one_is_not_an_empty_heart(spade, mask) -> None:
    background = one_hot(torch.zeros(3, 16, 16, dtype=torch.long))
    images = [spade(m, batch_size=3, generator=seeds(1, 2, 3)).images for m in (mask, background, None)]
    assert not torch.allclose(images[0], images[1], atol=1e-4)
    assert not torch.allclose(images[1], images[2], atol=1e-4)


def test_a_reference_image_decides_the_style_and_the_conditions_then_do_not(spade, mask, look) -> None:
    styled = spade(mask, style_image=look, generator=seeds(1, 2, 3)).images
    assert not torch.allclose(styled, spade(mask, generator=seeds(1, 2, 3)).images, atol=1e-4)
    assert torch.equal(styled, spade(mask, style_image=look, vendor="B", generator=seeds(1, 2, 3)).images)
    one = spade(mask, style_image=look[:1], temperature=0.0).images
    torch.testing.assert_close(one[:1], spade(mask[:1], style_image=look[:1], temperature=0.0).images)
    mean, deviation = spade.expected_style(3, look[:1])
    assert mean.shape == deviation.shape == (3, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vendor": "C"}, "unknown vendor 'C'"),
        ({"pathology": "normal"}, "not conditioned on"),
        ({"vendor": ["A", "B"]}, "2 values for a batch of 1"),
        ({"prompt": "end-diastole"}, "trained without prompts"),
        ({"temperature": -1.0}, "temperature must be"),
        ({"num_inference_steps": 10}, r"not conditioned on \['num_inference_steps'\]"),
        ({"output_type": "latent"}, "output_type must be"),
        ({"generator": seeds(1, 2)}, "2 generators for 1 images"),
    ],
)
def test_wrong_use_is_refused_with_the_reason(pipeline, arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pipeline(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask": torch.zeros(2, 3, 16, 16)}, "one-hot of shape"),
        ({"mask": torch.ones(2, 4, 16, 16)}, "at most one channel"),
        ({"mask": torch.zeros(2, 4, 32, 32)}, "must be 16"),
        ({"style_image": torch.zeros(1, 16, 16)}, "of shape"),
        ({"style_image": torch.full((1, 1, 16, 16), -1.0)}, r"in \[0, 1\]"),
        ({"style_image": torch.zeros(2, 1, 16, 16)}, "2 style images for 1 images"),
    ],
)
def test_masks_and_styles_that_cannot_work_are_refused(spade, arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spade(**arguments)


@pytest.mark.parametrize("network", [SpadeGenerator, DcganGenerator, ResidualGenerator])
def test_a_size_that_its_levels_cannot_make_is_refused(network) -> None:
    with pytest.raises(ValueError, match="cannot be halved"):
        network(18, block_out_channels=WIDTHS)


def test_a_mask_is_refused_by_a_model_that_takes_none(mask) -> None:
    with pytest.raises(ValueError, match="takes no mask"):
        tiny("r3gan")(mask)


def test_the_exported_folder_loads_everywhere(pipeline, mask, tmp_path: Path) -> None:
    folder = export_pipeline(pipeline, tmp_path / "repo")
    expected = sample(pipeline, mask, vendor="A", generator=seeds(1, 2, 3))
    again = type(pipeline).from_pretrained(folder)
    assert again.config.pixel_spacing_mm == 2.0
    assert type(load_pipeline(folder)) is type(pipeline)
    other = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    assert type(other) is not type(pipeline)
    second = export_pipeline(other, tmp_path / "again")
    for pipe in (again, other, type(pipeline).from_pretrained(second)):
        torch.testing.assert_close(sample(pipe, mask, vendor="A", generator=seeds(1, 2, 3)), expected)
    assert pipeline_hash(folder) == pipeline_hash(second)


def test_incomplete_weights_are_refused(pipeline, tmp_path: Path) -> None:
    folder = export_pipeline(pipeline, tmp_path / "repo")
    path = folder / "generator" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    lost = sorted(tensors)[0]
    tensors.pop(lost)
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=lost.replace(".", r"\.")):
        type(pipeline).from_pretrained(folder)


def test_bf16_and_channels_last_work(pipeline, mask) -> None:
    expected = sample(pipeline, mask, generator=seeds(1, 2, 3))
    pipeline.generator.to(memory_format=torch.channels_last)
    torch.testing.assert_close(sample(pipeline, mask, generator=seeds(1, 2, 3)), expected, rtol=1e-4, atol=1e-5)
    assert sample(pipeline.to(dtype=torch.bfloat16), mask, vendor="A").isfinite().all()
