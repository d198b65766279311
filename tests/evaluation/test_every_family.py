"""Every pipeline of the project under the audits: untrained, none of them betrays anybody, and every figure answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, FlowMatchEulerDiscreteScheduler

from cmrsynth import pipelines
from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.attack_scores import Attacked, attack_generator
from cmrsynth.evaluation.figure import DO_NOT_SHARE, NOT_COMPUTED
from cmrsynth.evaluation.generator_attacks import generator_figures
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.models import (
    CardiacVAE,
    ConditionEncoder,
    DcganGenerator,
    MaskControlNet,
    MaskDiT,
    MaskUNet,
    MaskVAE,
    ResidualGenerator,
    SpadeGenerator,
    SpadeUNet,
    StyleEncoder,
)
from cmrsynth.training.family import seeded_weights

SIDE, PATIENTS, WIDTHS = 16, 12, (8, 8)
WORDS = {"vendor": ["A", "B"], "phase": ["ED", "ES"]}
SETTINGS = EvaluationSettings(resamples=20, membership_draws=1, membership_samples=4, search_steps=2)
STYLES = ("nearest_sample", "monte_carlo", "style_reconstruction", "latent_search")


def autoencoder() -> AutoencoderKL:
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    sizes = {"block_out_channels": (8, 8), "latent_channels": 2, "norm_num_groups": 4, "sample_size": SIDE}
    return AutoencoderKL(1, 1, **blocks, **sizes, mid_block_add_attention=False, shift_factor=0.1).eval()


def denoising(network: str, *, flow: bool = True, latent: bool = False, control: bool = False) -> DiffusionPipeline:
    shape = {"sample_size": SIDE // (2 if latent else 1), "in_channels": 2 if latent else 1, "mask_channels": 4}
    shape["mask_channels"] = 0 if network == "none" or control else 4
    if network == "dit":
        unet = MaskDiT(**shape, block_out_channels=(8, 16), num_layers=1)
    else:
        unet_class = SpadeUNet if network == "spade" else MaskUNet
        unet = unet_class(**shape, block_out_channels=WIDTHS, attention_levels=())
    parts = {"unet": unet, "condition_encoder": ConditionEncoder(unet.embedding_dim, vocabularies=WORDS)}
    if control:
        parts["controlnet"] = MaskControlNet.from_unet(unet, mask_channels=4)
    if latent:
        parts["vae"] = autoencoder()
    if flow:
        return pipelines.RectifiedFlowPipeline(**parts, scheduler=FlowMatchEulerDiscreteScheduler())
    return pipelines.MaskDiffusionPipeline(**parts, scheduler=DDIMScheduler(prediction_type="v_prediction"))


def gan(name: str) -> DiffusionPipeline:
    parts = {"condition_encoder": ConditionEncoder(8, vocabularies=WORDS)}
    if name == "spade":
        generator = SpadeGenerator(SIDE, style_dim=8, block_out_channels=WIDTHS, layout_channels=8)
        return pipelines.SpadeGanPipeline(generator, StyleEncoder(8, (8, 16)), **parts)
    network = {"dcgan": DcganGenerator, "r3gan": ResidualGenerator}[name]
    return pipelines.GanPipeline(network(SIDE, latent_dim=8, embedding_dim=8, block_out_channels=WIDTHS), **parts)


def vae(mask_channels: int = 4) -> DiffusionPipeline:
    network = CardiacVAE(SIDE, mask_channels, latent_dim=6, block_out_channels=WIDTHS)
    return pipelines.VaePipeline(network, ConditionEncoder(network.embedding_dim, vocabularies=WORDS))


def masks() -> DiffusionPipeline:
    network = MaskVAE(SIDE, latent_dim=6, block_out_channels=WIDTHS)
    return pipelines.MaskGeneratorPipeline(network, ConditionEncoder(network.embedding_dim, vocabularies=WORDS))


FAMILIES: dict[str, Callable[[], DiffusionPipeline]] = {
    "flow": lambda: denoising("concat"),
    "flow, SPADE": lambda: denoising("spade"),
    "flow without masks": lambda: denoising("none"),
    "flow, transformer": lambda: denoising("dit"),
    "latent flow": lambda: denoising("concat", latent=True),
    "flow with ControlNet": lambda: denoising("concat", control=True),
    "diffusion": lambda: denoising("concat", flow=False),
    "latent diffusion": lambda: denoising("concat", flow=False, latent=True),
    "diffusion with ControlNet": lambda: denoising("concat", flow=False, control=True),
    "SPADE GAN": lambda: gan("spade"),
    "DCGAN": lambda: gan("dcgan"),
    "R3GAN": lambda: gan("r3gan"),
    "VAE": vae,
    "VAE without masks": lambda: vae(0),
    "autoencoder": lambda: pipelines.AutoencoderPipeline(autoencoder()),
    "mask generator": masks,
}
ATTACKS = {
    "flow": ("velocity", "pia", "sima"),
    "latent flow": ("velocity", "pia", "sima", "autoencoder"),
    "SPADE GAN": STYLES,
    "DCGAN": ("nearest_sample", "monte_carlo", "latent_search"),
    "VAE": ("reconstruction", "evidence_bound"),
    "autoencoder": ("reconstruction", "evidence_bound"),
    "mask generator": ("reconstruction", "evidence_bound"),
}


@pytest.fixture(scope="module")
def sets(toy_set) -> tuple[SliceSet, SliceSet]:
    def of(name: str, seed: int) -> SliceSet:
        part = toy_set(name, PATIENTS, seed=seed, slices=2)
        vendor = np.repeat(np.resize(["A", "B"], PATIENTS), 2)
        return replace(part, images=part.images[:, ::2, ::2], masks=part.masks[:, ::2, ::2], vendor=vendor)

    return of("train", 1), of("holdout", 2)


def made(family: str) -> DiffusionPipeline:
    with seeded_weights(1):
        return FAMILIES[family]()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_figure_of_an_untrained_generator_is_near_chance_or_says_why_it_has_no_value(family: str, sets) -> None:
    figures = {figure.name: figure for figure in generator_figures(made(family), *sets, SETTINGS)}
    chance = np.sqrt((2 * PATIENTS + 1) / (12 * PATIENTS**2))
    assert abs(figures["membership_auc"].value - 0.5) < 3 * chance
    assert figures["membership_auc"].planted > 0.9
    assert figures["overfitting_gap"].value is not None
    for figure in figures.values():
        assert figure.verdict != DO_NOT_SHARE, figure.reading
        assert (figure.value is None) == (figure.verdict == NOT_COMPUTED)
        assert len(figure.reading) > 40
    latent = getattr(made(family), "encode_image", None) is not None and "latent" in family
    assert (figures["membership_autoencoder_auc"].value is not None) == latent
    told = "attribute_inference_vendor" in figures
    assert told == (family != "autoencoder")  # which knows no attributes
    assert not told or figures["attribute_inference_vendor"].value is not None


@pytest.mark.parametrize("family", ATTACKS)
def test_the_attacks_are_those_of_the_family_and_their_seed_decides(family: str, sets) -> None:
    first, again = (attack_generator(made(family), *sets, SETTINGS) for _ in range(2))
    assert isinstance(first, Attacked)
    assert set(first.attacks) == set(ATTACKS[family])
    for name, scored in first.attacks.items():
        assert len(first.made_with[name]) > 15
        assert np.isfinite(scored.features).all()
        np.testing.assert_array_equal(scored.features, again.attacks[name].features)


def test_every_pipeline_of_the_project_is_audited() -> None:
    assert {type(make()).__name__ for make in FAMILIES.values()} == set(pipelines.__all__)
