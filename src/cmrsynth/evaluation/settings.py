"""What a person may choose about an evaluation; everything else is fixed so that evaluations can be compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cmrsynth.errors import InputError
from cmrsynth.evaluation.networks import Architecture, architecture
from cmrsynth.provenance import portable_path


@dataclass(frozen=True)
class ExtractorSpec:
    """A user's own feature extractor, reported beside the cardiac encoder.

    Args:
        name: what the report calls it, e.g. "inception" or "radimagenet".
        path: a TorchScript file (`torch.jit.save`). It is called with float32 images (N, 3, H, W) in [0, 1], or
            (N, 1, H, W) if its first convolution takes one channel, and returns (N, d) features or an
            (N, d, h, w) map, which is averaged over space. Resizing and normalisation belong inside it.
    """

    name: str
    path: Path

    @classmethod
    def parse(cls, text: str) -> ExtractorSpec:
        """Return the extractor written as `NAME=PATH` on the command line.

        >>> ExtractorSpec.parse("inception=weights/inception.pt").name
        'inception'
        """
        name, equals, path = text.partition("=")
        if not equals or not name.isidentifier() or not path:
            raise InputError(
                text, "not an extractor", "write --extractor NAME=PATH, as in inception=weights/inception.pt"
            )
        return cls(name, Path(path))


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
        membership_draws: noise draws at each time in the membership attack.
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
    extractors: tuple[ExtractorSpec, ...] = ()

    @property
    def segmenter_kind(self) -> Architecture:
        """The segmentation network."""
        return architecture(self.segmenter, self.segmenter_filters)

    def __post_init__(self) -> None:
        architecture(self.segmenter, self.segmenter_filters)
        for name in ("segmenter_updates", "segmenter_batch", "segmenter_seeds", "floor_draws", "membership_draws"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"--{name.replace('_', '-')}", f"is {getattr(self, name)}", "give a number of at least 1"
                )
        if self.resamples < 20:
            raise InputError("--bootstrap", f"{self.resamples} resamples say nothing", "give at least 20")

    def as_json(self) -> dict[str, Any]:
        """Return the settings as JSON-able values."""
        extractors = [{"name": e.name, "path": portable_path(str(e.path))} for e in self.extractors]
        return {**asdict(self), "extractors": extractors}
