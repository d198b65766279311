"""Every family learns attributes, scalars and prompts, and runs with any subset; its folder loads without us."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from cmrsynth.data.loading import load_slices
from cmrsynth.hub.export import export_pipeline
from cmrsynth.hub.load import load_pipeline
from cmrsynth.labels import one_hot
from cmrsynth.training.autoencoder import Autoencoder
from cmrsynth.training.autoencoder_config import AutoencoderConfig
from cmrsynth.training.config import RectifiedFlowConfig
from cmrsynth.training.controlnet import ControlNet
from cmrsynth.training.controlnet_config import ControlNetConfig
from cmrsynth.training.diffusion import Diffusion
from cmrsynth.training.diffusion_config import DiffusionConfig
from cmrsynth.training.gan import build_gan
from cmrsynth.training.gan_config import GanConfig
from cmrsynth.training.latent import LatentFlow
from cmrsynth.training.latent_config import LatentFlowConfig
from cmrsynth.training.mask_generator import MaskGenerator
from cmrsynth.training.mask_generator_config import MaskGeneratorConfig
from cmrsynth.training.rectified_flow import RectifiedFlow
from cmrsynth.training.run import Run
from cmrsynth.training.vae import ConditionalVae
from cmrsynth.training.vae_config import VaeConfig

TINY = {"block_out_channels": [8, 8], "batch_size": 4, "mixed_precision": "no", "cpu_threads": 1, "sample_steps": 0}
UNET = {"attention_levels": []}
EF = {"scalars": ["ejection_fraction"]}
FAMILIES = {  # how each family is configured, and the class that is trained
    "flow": (RectifiedFlowConfig, RectifiedFlow, UNET),
    "flow without masks": (RectifiedFlowConfig, RectifiedFlow, {**UNET, "conditioning": "none"}),
    "spade": (RectifiedFlowConfig, RectifiedFlow, {**UNET, "conditioning": "spade"}),
    "transformer": (RectifiedFlowConfig, RectifiedFlow, {"backbone": "dit", "transformer_layers": 1}),
    "diffusion": (DiffusionConfig, Diffusion, UNET),
    "latent": (LatentFlowConfig, LatentFlow, UNET),
    "controlnet": (ControlNetConfig, ControlNet, {}),
    "gan": (GanConfig, build_gan, {"latent_dim": 8, "discriminator_channels": [8], "discriminator_scales": 1}),
    "dcgan": (GanConfig, build_gan, {"architecture": "dcgan", "latent_dim": 8}),
    "r3gan": (GanConfig, build_gan, {"architecture": "r3gan", "latent_dim": 8}),
    "vae": (VaeConfig, ConditionalVae, {"latent_dim": 8}),
    "masks": (MaskGeneratorConfig, MaskGenerator, {"latent_dim": 8, "audited_masks": 4}),
}
SUBSETS = {
    "nothing": {},
    "one attribute": {"vendor": "B"},
    "all attributes": {"vendor": "B", "phase": "ES", "pathology": "normal", "slice_level": "mid"},
    "one scalar": {"ejection_fraction": 35.0},
    "a prompt": {"prompt": "end-systole, ejection fraction 35 %"},
    "all": {"vendor": ["B", None], "ejection_fraction": [None, 60.0], "prompt": ["end-systole", ""]},
}


def trained(family: str, data: Path, output: Path, steps: int = 1, **more: object) -> Run:
    """A run of a family after a few steps."""
    config_class, family_class, settings = FAMILIES[family]
    # what a run that continues another may change is `max_train_steps` alone
    config = config_class(str(data), str(output), max_train_steps=steps, **{**TINY, **settings, **more})
    run = Run(config, family_class)
    run.resume()
    while run.progress < 1:
        run.train_step()
    return run


def prerequisites(family: str, data: Path, folder: Path, text_model: Path) -> dict[str, object]:
    """The conditions of a family, and the model it is built on."""
    conditions = {**EF, "text_encoder": str(text_model)}
    if family == "masks":
        return EF
    if family == "latent":
        config = AutoencoderConfig(
            str(data), str(folder / "vae"), max_train_steps=1, **TINY, norm_groups=4, adversarial_weight=0.0,
            feature_weight=0.0, discriminator_channels=[8], discriminator_scales=1,
        )  # fmt: skip
        return {**conditions, "vae": str(export_pipeline(Run(config, Autoencoder).pipeline(), folder / "autoencoder"))}
    if family == "controlnet":
        base = trained("flow without masks", data, folder / "base", **conditions)
        return {"base": str(export_pipeline(base.pipeline(), folder / "base_pipeline"))}
    return conditions


def randomise(pipeline: DiffusionPipeline) -> None:
    """Make every weight random: layers that begin at zero would hide conditions."""
    generator = torch.Generator().manual_seed(0)
    for name, part in pipeline.components.items():
        if isinstance(part, torch.nn.Module) and name != "text_encoder":
            for parameter in part.parameters():
                torch.nn.init.normal_(parameter, std=0.3, generator=generator)


def sample(pipeline: DiffusionPipeline, mask: torch.Tensor | None, **conditions: object) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 2} if hasattr(pipeline, "scheduler") else {}
    options |= {"reject": False} if type(pipeline).__name__ == "MaskGeneratorPipeline" else {}
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    return pipeline(mask, batch_size=2, generator=generators, **options, **conditions).images


@pytest.mark.parametrize("family", FAMILIES)
def test_any_subset_of_conditions_runs_and_each_condition_counts(
    family: str, toy_folder: Path, text_model: Path, tmp_path: Path
) -> None:
    run = trained(family, toy_folder, tmp_path / "run", **prerequisites(family, toy_folder, tmp_path, text_model))
    made = run.pipeline()
    randomise(made)
    folder = export_pipeline(made, tmp_path / "pipeline")
    pipeline, remote = load_pipeline(folder), DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    assert pipeline.condition_encoder.config.scalars["ejection_fraction"][1] > 0
    mask = one_hot(torch.from_numpy(load_slices(toy_folder, "test").masks[:2])) if pipeline.mask_channels else None
    images = {}
    for given in (None, mask) if mask is not None and family != "gan" else (mask,):
        for name, conditions in SUBSETS.items():
            if family == "masks":
                conditions = {key: value for key, value in conditions.items() if key != "prompt"}
            images[given is None, name] = sample(pipeline, given, **conditions)
    assert all(torch.isfinite(image).all() for image in images.values())
    for without, name in images:
        if name != "nothing" and (family, name) != ("masks", "a prompt"):
            assert not torch.allclose(images[without, name], images[without, "nothing"], atol=1e-5), (without, name)
    told = SUBSETS["one scalar" if family == "masks" else "all"]
    torch.testing.assert_close(sample(remote, mask, **told), sample(pipeline, mask, **told))
    assert str(tmp_path) not in "".join(path.read_text() for path in folder.rglob("*.json"))


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"masks", "controlnet"}))
def test_gradients_reach_the_scalar_and_the_prompt_and_not_the_text_model(
    family: str, toy_folder: Path, text_model: Path, tmp_path: Path
) -> None:
    prepared = prerequisites(family, toy_folder, tmp_path, text_model)
    run = trained(family, toy_folder, tmp_path / "run", steps=1, **prepared)
    before = {name: weight.clone() for name, weight in run.family.encoder.named_parameters()}
    text = {name: weight.clone() for name, weight in run.family.text_model.text_encoder.named_parameters()}
    for _ in range(3):
        run.train_step()
    now = dict(run.family.encoder.named_parameters())
    for name in ("scalar_projections.ejection_fraction.weight", "text_projection.weight"):
        assert not torch.equal(before[name], now[name]), name
    after = dict(run.family.text_model.text_encoder.named_parameters())
    assert all(torch.equal(text[name], after[name]) for name in text)
