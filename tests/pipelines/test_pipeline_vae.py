"""The VAE's pipeline: seeds, batches, conditions, reconstructions, refusals, and the folder that loads without us."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from cmrsynth.hub.export import export_pipeline
from cmrsynth.hub.load import load_pipeline, pipeline_hash
from cmrsynth.labels import one_hot
from cmrsynth.models import CardiacVAE, ConditionEncoder
from cmrsynth.pipelines import VaePipeline


def tiny_vae(**settings: int) -> VaePipeline:
    vae = CardiacVAE(**{"sample_size": 16, "latent_dim": 6, "block_out_channels": (8, 8, 16), **settings})
    encoder = ConditionEncoder(vae.embedding_dim, vocabularies={"vendor": ["A", "B"], "phase": ["ED", "ES"]})
    generator = torch.Generator().manual_seed(0)
    for parameter in [*vae.parameters(), *encoder.parameters()]:  # zero-initialised layers would hide conditions
        torch.nn.init.normal_(parameter, std=0.15, generator=generator)
    return VaePipeline(vae.eval(), encoder.eval(), condition_dropout=0.1, pixel_spacing_mm=2.0)


@pytest.fixture
def pipeline() -> VaePipeline:
    return tiny_vae()


@pytest.fixture
def mask() -> torch.Tensor:
    return one_hot(torch.randint(0, 4, (3, 16, 16), generator=torch.Generator().manual_seed(0)))


def seeds(*values: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(value) for value in values]


def normals(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def test_an_image_does_not_depend_on_its_batch(pipeline, mask) -> None:
    together = pipeline(mask, vendor=["A", "B", None], generator=seeds(1, 2, 3)).images
    alone = pipeline(mask[1:2], vendor="B", generator=seeds(2)).images
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


def test_output_types_agree_and_a_tuple_equals_the_dataclass(pipeline, mask) -> None:
    tensor = pipeline(mask, generator=seeds(1, 2, 3)).images
    array = pipeline(mask, generator=seeds(1, 2, 3), output_type="np", return_dict=False)[0]
    pictures = pipeline(mask, generator=seeds(1, 2, 3), output_type="pil").images
    assert tensor.shape == (3, 1, 16, 16)
    assert tensor.min() >= 0
    assert tensor.max() <= 1
    np.testing.assert_array_equal(tensor.permute(0, 2, 3, 1).numpy(), array)
    assert [p.mode for p in pictures] == ["L"] * 3


def test_conditions_seed_and_temperature_change_the_image(pipeline, mask) -> None:
    def sample(given_mask=mask, seed=1, **options) -> torch.Tensor:
        return pipeline(given_mask, generator=seeds(seed, seed, seed), **options).images

    plain = sample()
    assert not torch.allclose(plain, sample(vendor="A"), atol=1e-4)
    assert not torch.allclose(plain, sample(mask.flip(1)), atol=1e-4)
    assert not torch.allclose(plain, sample(seed=2), atol=1e-4)
    assert not torch.allclose(plain, sample(temperature=0.3), atol=1e-4)
    assert torch.equal(sample(temperature=0.0), sample(temperature=0.0, seed=2))
    assert torch.equal(plain, sample(vendor=None, phase=[None, "unknown", None]))


def test_an_absent_mask_is_not_an_empty_heart(pipeline) -> None:
    background = one_hot(torch.zeros(1, 16, 16, dtype=torch.long))
    images = [pipeline(mask, generator=seeds(1)).images for mask in (None, background, torch.zeros_like(background))]
    assert not torch.allclose(images[0], images[1], atol=1e-4)
    assert torch.equal(images[0], images[2])


def test_a_model_without_masks_samples_without_one() -> None:
    images = tiny_vae(mask_channels=0)(batch_size=2, generator=seeds(1, 2)).images
    assert images.shape == (2, 1, 16, 16)


def test_the_audits_see_what_reconstruct_returns(pipeline, mask) -> None:
    image = normals(3, 1, 16, 16).clamp(-1, 1)
    made = pipeline.reconstruct(image, mask, vendor="A")
    error = pipeline.reconstruction_error(image, mask, vendor="A")
    torch.testing.assert_close(error, (made - image).square().mean(dim=(1, 2, 3)))
    bound = pipeline.negative_evidence_bound(image, normals(3, 6), mask, vendor="A")
    alone = pipeline.negative_evidence_bound(image[:1], normals(3, 6)[:1], mask[:1], vendor="A")
    torch.testing.assert_close(bound[:1], alone)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(2, 16, 16), r"of shape \(B, 1, H, W\)"),
        (torch.zeros(2, 1, 32, 32), "16x16 only"),
        (torch.full((2, 1, 16, 16), 255.0), r"lie in \[-1, 1\]"),
    ],
)
def test_images_that_cannot_be_reconstructed_are_refused(pipeline, image, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pipeline.reconstruct(image)


def test_the_evidence_bound_is_the_textbook_one(pipeline) -> None:
    """For a decoder that ignores its vector the bound is the likelihood alone, at the prior as posterior."""
    vae = pipeline.vae
    with torch.no_grad():
        for layer in (vae.to_posterior, vae.conv_out):
            layer.weight.zero_(), layer.bias.zero_()
        vae.log_deviation.zero_()
        likelihood, divergence = vae(torch.full((1, 1, 16, 16), 0.5), normals(1, 6))
    expected = -torch.distributions.Normal(0.0, 1.0).log_prob(torch.tensor(0.5)).item()
    assert likelihood.item() == pytest.approx(expected)
    assert divergence.item() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask": torch.zeros(2, 3, 16, 16)}, "one-hot of shape"),
        ({"mask": torch.ones(2, 4, 16, 16) / 4}, "at most one channel"),
        ({"mask": one_hot(torch.zeros(1, 32, 32))}, "16x16 only"),
        ({"vendor": "C"}, "unknown vendor 'C'"),
        ({"num_inference_steps": 10}, r"not conditioned on \['num_inference_steps'\]"),
        ({"temperature": -1.0}, "at least 0"),
        ({"prompt": "end-diastole"}, "trained without prompts"),
        ({"output_type": "latent"}, "output_type must be"),
        ({"generator": seeds(1, 2)}, "2 generators for 1 images"),
    ],
)
def test_wrong_use_is_refused_with_the_reason(pipeline, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        pipeline(**arguments)


def test_a_size_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be halved 2 times"):
        CardiacVAE(sample_size=18, block_out_channels=(8, 8, 8))


def test_gradients_reach_every_parameter(pipeline, mask) -> None:
    vae, encoder = pipeline.vae.train(), pipeline.condition_encoder.train()
    condition = encoder(encoder.encode(3, vendor=["A", "B", None], phase=["ED", "ES", None]))
    sum(term.sum() for term in vae(normals(3, 1, 16, 16), normals(3, 6), mask, condition)).backward()
    for network in (vae, encoder):
        assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_the_exported_folder_loads_everywhere(pipeline, mask, tmp_path: Path) -> None:
    folder = export_pipeline(pipeline, tmp_path / "repo")
    expected = pipeline(mask, vendor="A", generator=seeds(1, 2, 3)).images
    again, other = load_pipeline(folder), DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    assert (type(again), type(again.vae)) == (VaePipeline, CardiacVAE)
    assert type(other) is not VaePipeline
    second = export_pipeline(other, tmp_path / "again")
    for pipe in (again, other, VaePipeline.from_pretrained(second)):
        torch.testing.assert_close(pipe(mask, vendor="A", generator=seeds(1, 2, 3)).images, expected)
    assert pipeline_hash(folder) == pipeline_hash(second)


def test_bf16_and_channels_last_samples_are_finite(pipeline, mask) -> None:
    pipeline.vae.to(memory_format=torch.channels_last)
    assert pipeline.to(dtype=torch.bfloat16)(mask).images.isfinite().all()
