"""What a card says of the family a pipeline belongs to: its name, how it works, and whom to cite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Method:
    """A family of generators in the words of a card.

    Args:
        tag: of the Hub, also the beginning of the model's name.
        title: of the card.
        how: completes "A pipeline that makes slices: ..."; {steps} stands for the steps a flow map has learned.
        citation: BibTeX of the method.
        guided: it takes a guidance scale.
        template: in `model_cards/`.
    """

    tag: str
    title: str
    how: str
    citation: str
    guided: bool = False
    template: str = "generator.md"


def _entry(key: str, title: str, authors: str, year: int, arxiv: str) -> str:
    return (
        f"@misc{{{key},\n  title  = {{{title}}},\n  author = {{{authors}}},\n  year   = {{{year}}},\n"
        f"  note   = {{arXiv:{arxiv}}}\n}}"
    )


_FLOW = _entry(
    *("liu2022flow", "Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow"),
    *("Liu, Xingchao and Gong, Chengyue and Liu, Qiang", 2022, "2209.03003"),
)
_DIFFUSION = _entry(
    *("ho2020ddpm", "Denoising Diffusion Probabilistic Models"),
    *("Ho, Jonathan and Jain, Ajay and Abbeel, Pieter", 2020, "2006.11239"),
)
_SPADE = _entry(
    *("park2019spade", "Semantic Image Synthesis with Spatially-Adaptive Normalization"),
    *("Park, Taesung and Liu, Ming-Yu and Wang, Ting-Chun and Zhu, Jun-Yan", 2019, "1903.07291"),
)
_GAN = _entry(
    *("radford2015dcgan", "Unsupervised Representation Learning with Deep Convolutional GANs"),
    *("Radford, Alec and Metz, Luke and Chintala, Soumith", 2015, "1511.06434"),
)
_R3GAN = _entry(
    *("huang2024r3gan", "The GAN is dead; long live the GAN! A Modern GAN Baseline"),
    *("Huang, Yiwen and Gokaslan, Aaron and Kuleshov, Volodymyr and Tompkin, James", 2024, "2501.05441"),
)
_VAE = _entry(
    *("kingma2013vae", "Auto-Encoding Variational Bayes", "Kingma, Diederik P. and Welling, Max", 2013, "1312.6114"),
)
_SHORTCUT = _entry(
    *("frans2024shortcut", "One Step Diffusion via Shortcut Models"),
    *("Frans, Kevin and Hafner, Danijar and Levine, Sergey and Abbeel, Pieter", 2024, "2410.12557"),
)
FLOW_MAP = Method(
    "flow-map",
    "Few-step rectified flow",
    "a rectified flow (Liu et al. 2022, arXiv:2209.03003) distilled to {steps} steps of `num_inference_steps` "
    "(Frans et al. 2024, arXiv:2410.12557)",
    f"{_FLOW}\n\n{_SHORTCUT}",
    guided=True,
)
METHODS = {
    "RectifiedFlowPipeline": Method(
        "rectified-flow", "Rectified flow", "a rectified flow (Liu et al. 2022, arXiv:2209.03003)", _FLOW, guided=True
    ),
    "MaskDiffusionPipeline": Method(
        "diffusion", "Diffusion model", "a diffusion model (Ho et al. 2020, arXiv:2006.11239)", _DIFFUSION, guided=True
    ),
    "SpadeGanPipeline": Method(
        "spade-gan", "SPADE GAN", "a GAN with spatially-adaptive normalisation (Park et al. 2019, arXiv:1903.07291)",
        _SPADE,
    ),
    "GanPipeline": Method(
        "gan", "GAN", "a GAN (Radford et al. 2015, arXiv:1511.06434, or Huang et al. 2024, arXiv:2501.05441)",
        f"{_GAN}\n\n{_R3GAN}",
    ),
    "VaePipeline": Method(
        "vae", "Variational autoencoder", "a variational autoencoder (Kingma and Welling 2013, arXiv:1312.6114)", _VAE
    ),
    "AutoencoderPipeline": Method(
        "autoencoder", "Autoencoder", "an autoencoder (Kingma and Welling 2013, arXiv:1312.6114)", _VAE,
        template="autoencoder.md",
    ),
    "MaskGeneratorPipeline": Method(
        "mask-generator", "Mask generator",
        "a variational autoencoder (Kingma and Welling 2013, arXiv:1312.6114) of signed distances", _VAE,
        template="mask_generator.md",
    ),
}  # fmt: skip


def method_of(index: Mapping[str, Any]) -> Method:
    """Return the method of a pipeline from its `model_index.json`, whose `_class_name` is among `METHODS`.

    >>> method_of({"_class_name": "RectifiedFlowPipeline", "duration_encoder": ["duration_encoder", "D"]}).tag
    'flow-map'
    """
    distilled = (index.get("duration_encoder") or [None])[0] is not None
    return FLOW_MAP if distilled else METHODS[index["_class_name"]]
