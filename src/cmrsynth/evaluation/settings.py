"""What a person may choose about an evaluation; everything else is fixed so that evaluations can be compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cmrsynth.attacks.panel import ATTACKS, QUICK
from cmrsynth.errors import InputError
from cmrsynth.evaluation.networks import Architecture, architecture
from cmrsynth.provenance import portable_path

TORCH_HUB = "torchhub:"


@dataclass(frozen=True)
class ExtractorSpec:
    """A user's own feature extractor, reported beside the cardiac encoder.

    Args:
        name: what the report calls it, e.g. "inception" or "radimagenet".
        source: one of

            - "inception": FID's Inception-v3, downloaded once;
            - a TorchScript file (`torch.jit.save`). It is called with float32 images (N, 3, H, W) in [0, 1], or
              (N, 1, H, W) if its first convolution takes one channel, and returns (N, d) features or an
              (N, d, h, w) map, which is averaged over space; resizing and normalisation belong inside it. One whose
              `forward` takes `return_features` is FID's Inception and is called with bytes;
            - a folder or Hub id of an image model of transformers with safetensors weights, such as
              "facebook/dinov2-base" or "openai/clip-vit-large-patch14-336";
            - "torchhub:OWNER/REPO:MODEL", which runs the Python code of that repository, such as
              "torchhub:Warvito/radimagenet-models:radimagenet_resnet50".
    """

    name: str
    source: str

    @classmethod
    def parse(cls, text: str) -> ExtractorSpec:
        """Return the extractor written as `NAME=SOURCE` on the command line.

        >>> ExtractorSpec.parse("dinov2=facebook/dinov2-base").source
        'facebook/dinov2-base'
        """
        name, equals, source = text.partition("=")
        if not equals or not name.isidentifier() or not source:
            raise InputError(
                text, "not an extractor", "write --extractor NAME=SOURCE, as in dinov2=facebook/dinov2-base"
            )
        repository, colon, model = source.removeprefix(TORCH_HUB).rpartition(":")
        if source.startswith(TORCH_HUB) and not (repository and colon and model):
            raise InputError(text, "names no model of a torch.hub repository", "write torchhub:OWNER/REPO:MODEL")
        return cls(name, source)

    def as_json(self) -> dict[str, str]:
        """Return name and source, without the machine's own paths.

        >>> ExtractorSpec("fid", "/mnt/trial-17/inception.pt").as_json()
        {'name': 'fid', 'source': '.../inception.pt'}
        """
        path = self.source.removeprefix(TORCH_HUB)
        return {"name": self.name, "source": self.source[: -len(path)] + portable_path(path)}


def attack_names(text: str) -> tuple[str, ...]:
    """Return the attacks of a comma-separated list.

    >>> attack_names("pia, sima")
    ('pia', 'sima')
    """
    return tuple(ATTACKS) if text == "all" else tuple(name.strip() for name in text.split(",") if name.strip())


@dataclass(frozen=True)
class EvaluationSettings:
    """How much work an evaluation does.

    Args:
        segmenter_updates: optimiser updates of every segmentation network, the same for real, synthetic and both.
        segmenter_batch: images in one update.
        segmenter_seeds: networks trained for each of real, synthetic and both; 3 to publish, 1 to look.
        segmenter: "unet" (small, also the base of the cardiac encoder) or "dynunet" (for the utility protocol).
        segmenter_filters: feature maps of each stage; the network's own where empty.
        seed: names every random draw.
        resamples: bootstrap resamples over patients; the costly texture figure uses a twentieth of them.
        floor_draws: real patient draws behind every floor.
        membership_draws: noise draws at each time in the membership attack on flow and diffusion; posterior draws in
            that on autoencoders.
        membership_samples: samples a GAN makes of each record's mask in the attacks on it; without masks, records of
            equal conditions share 64 times as many. A generator of masks at 64 pixels costs 10 to 20 ms of a core each.
        search_steps: gradient steps of the search of a GAN's latents for each record; 0 leaves it out.
        membership_attacks: on flow and diffusion; names in `cmrsynth.attacks.panel.ATTACKS`, beside "velocity", which
            always runs; `tuple(ATTACKS)` runs all, at about ten times the cost of the quick ones. Against the other
            families every attack runs.
        extractors: further feature extractors.
    """

    segmenter_updates: int = 800
    segmenter_batch: int = 16
    segmenter_seeds: int = 1
    segmenter: str = "unet"
    segmenter_filters: tuple[int, ...] = ()
    seed: int = 0
    resamples: int = 1000
    floor_draws: int = 5
    membership_draws: int = 4
    membership_samples: int = 4
    search_steps: int = 3
    membership_attacks: tuple[str, ...] = QUICK
    extractors: tuple[ExtractorSpec, ...] = ()

    @property
    def segmenter_kind(self) -> Architecture:
        """The segmentation network."""
        return architecture(self.segmenter, self.segmenter_filters)

    def __post_init__(self) -> None:
        architecture(self.segmenter, self.segmenter_filters)
        counts = ("segmenter_updates", "segmenter_batch", "segmenter_seeds", "floor_draws")
        for name in (*counts, "membership_draws", "membership_samples"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"--{name.replace('_', '-')}", f"is {getattr(self, name)}", "give a number of at least 1"
                )
        if unknown := sorted(set(self.membership_attacks) - set(ATTACKS)):
            raise InputError("--membership-attacks", f"there is no attack {unknown}", f"choose from {sorted(ATTACKS)}")
        if self.search_steps < 0:
            raise InputError("--search-steps", f"is {self.search_steps}", "give 0 or more")
        if self.resamples < 20:
            raise InputError("--bootstrap", f"{self.resamples} resamples say nothing", "give at least 20")

    def as_json(self) -> dict[str, Any]:
        """Return the settings as JSON-able values."""
        return {**asdict(self), "extractors": [extractor.as_json() for extractor in self.extractors]}
