"""Every combination of a denoiser pipeline's optional parts samples, minds its batch, and comes back from disk."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, FlowMatchEulerDiscreteScheduler

from cmrsynth.hub.load import load_pipeline
from cmrsynth.labels import one_hot
from cmrsynth.models import ConditionEncoder, MaskControlNet, MaskUNet
from cmrsynth.pipelines import MaskDiffusionPipeline, RectifiedFlowPipeline
from cmrsynth.training.family import seeded_weights

PIPELINES = {
    "flow": (RectifiedFlowPipeline, FlowMatchEulerDiscreteScheduler()),
    "diffusion": (MaskDiffusionPipeline, DDIMScheduler(clip_sample=False)),
}
PARTS = ("vae", "controlnet", "text")


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """A CLIP-type text model of a few thousand random weights, whose tokens are single characters."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1}
    config = CLIPTextConfig(vocab_size=len(words), **sizes, **ends, max_position_embeddings=16, projection_dim=6)
    with seeded_weights(0):
        return {"text_encoder": CLIPTextModelWithProjection(config).eval(), "tokenizer": tokenizer}


def pipeline(kind: str, parts: set[str], language: dict[str, object]):
    vae = None
    with seeded_weights(0):
        if "vae" in parts:
            blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
            widths = {"latent_channels": 4, "block_out_channels": (8, 8), "norm_num_groups": 4, "sample_size": 16}
            vae = AutoencoderKL(in_channels=1, out_channels=1, scaling_factor=1.5, shift_factor=0.1, **widths, **blocks)
        shape = {"sample_size": 8, "in_channels": 4} if vae else {"sample_size": 16}
        masks = 0 if "controlnet" in parts else 4
        unet = MaskUNet(**shape, mask_channels=masks, block_out_channels=(8, 16), attention_levels=(1,))
        encoder = ConditionEncoder(unet.embedding_dim, {"vendor": ["A", "B"]}, text_dim=6 if "text" in parts else 0)
        controlnet = MaskControlNet.from_unet(unet) if "controlnet" in parts else None
        for network in filter(None, (unet, encoder, controlnet)):  # zero-initialised layers would hide conditions
            for parameter in network.eval().parameters():
                torch.nn.init.normal_(parameter, std=0.15)
    pipeline_class, scheduler = PIPELINES[kind]
    given = language if "text" in parts else {}
    made = pipeline_class(unet, encoder, scheduler, controlnet, vae and vae.eval(), **given, condition_dropout=0.1)
    made.set_progress_bar_config(disable=True)
    return made


def sample(pipe, mask: torch.Tensor, seeds: list[int], **conditions) -> torch.Tensor:
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return pipe(mask, generator=generators, num_inference_steps=2, mask_guidance_scale=1.5, **conditions).images


@pytest.mark.parametrize("kind", list(PIPELINES))
@pytest.mark.parametrize(
    "parts",
    [frozenset(p for p, there in zip(PARTS, choice, strict=True) if there) for choice in product((0, 1), repeat=3)],
    ids=lambda parts: "+".join(sorted(parts)) or "none",
)
def test_a_combination_samples_and_comes_back(kind: str, parts: frozenset[str], language, tmp_path: Path) -> None:
    pipe = pipeline(kind, set(parts), language)
    labels = torch.randint(0, 4, (3, 16, 16), generator=torch.Generator().manual_seed(0))
    mask, told = one_hot(labels), {"vendor": ["A", "B", None]}
    told |= {"prompt": ["dilated", "normal", "thick walls"]} if "text" in parts else {}
    images = sample(pipe, mask, [1, 2, 3], **told)
    assert images.shape == (3, 1, 16, 16)
    second = {name: values[1] for name, values in told.items()}
    torch.testing.assert_close(sample(pipe, mask[1:2], [2], **second), images[1:2], rtol=1e-3, atol=1e-4)
    others = [sample(pipe, mask.flip(2), [1, 2, 3], **told), sample(pipe, mask, [1, 2, 3], **{**told, "vendor": "B"})]
    others += [sample(pipe, mask, [1, 2, 3], **{**told, "prompt": "other"})] if "text" in parts else []
    assert all((images - other).abs().max() > 1e-4 for other in others)
    pipe.save_pretrained(tmp_path / "repo")
    foreign = DiffusionPipeline.from_pretrained(tmp_path / "repo", trust_remote_code=True)
    assert type(foreign) is not type(pipe)
    for again in (load_pipeline(tmp_path / "repo"), foreign):
        again.set_progress_bar_config(disable=True)
        torch.testing.assert_close(sample(again, mask, [1, 2, 3], **told), images)
