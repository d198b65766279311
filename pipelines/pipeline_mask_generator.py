"""Draw label masks of hearts under conditions, and refuse those whose anatomy real masks do not show.

The file travels with the weights to the Hub, so it imports only torch, numpy, PIL and diffusers.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL.Image import Image
from torch import Tensor

Condition = str | float | Sequence[str | float | None] | None
LV, MYO, RV = 1, 2, 3
STRUCTURES = {"lv": LV, "myo": MYO, "rv": RV}
ANY_LEVEL = "any"  # the anatomy of masks whose slice level is not given


@dataclass
class MaskGeneratorOutput(BaseOutput):
    """Drawn masks.

    Args:
        masks: (B, H, W) uint8: 0 background, 1 LV cavity, 2 LV myocardium, 3 RV cavity.
        images: the same to look at: (B, 1, H, W) or (B, H, W, 1) in [0, 1], or a list of B PIL images.
        rejected: per mask, how often a draw was refused before it for each fault; see `MaskGeneratorPipeline.faults`.
    """

    masks: Tensor | np.ndarray
    images: Tensor | np.ndarray | list[Image]
    rejected: list[dict[str, int]]


class MaskGeneratorPipeline(DiffusionPipeline):
    """Decode random vectors to label masks, and draw again where the anatomy is not that of real masks.

    Args:
        vae: see `MaskVAE`.
        condition_encoder: embeds attributes and scalars; see `ConditionEncoder`.
        condition_dropout: share of training examples whose conditions were all withheld.
        pixel_spacing_mm: in-plane spacing of the training masks (0 = not stated).
        anatomy: what real masks show: {"labels": annotated labels, "levels": {slice level or "any": {"present": sets
            of structures seen together, "tolerated": faults that real masks have too, "least_enclosed": share of the
            cavity's border that must face myocardium, "least_pixels": of each structure that is there}}}. Without
            it, nothing is refused but scattered structures, holes and an open cavity.

    Source: Kingma and Welling 2014, arXiv:1312.6114.
    """

    model_cpu_offload_seq = "condition_encoder->vae"

    def __init__(
        self,
        vae: torch.nn.Module,
        condition_encoder: torch.nn.Module,
        condition_dropout: float = 0.0,
        pixel_spacing_mm: float = 0.0,
        anatomy: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(vae=vae, condition_encoder=condition_encoder)
        self.register_to_config(
            condition_dropout=condition_dropout, pixel_spacing_mm=pixel_spacing_mm, anatomy=dict(anatomy or {})
        )
        self.image_processor = VaeImageProcessor(vae_scale_factor=1, do_convert_grayscale=True)

    @property
    def sample_size(self) -> int:
        """Height and width of the masks, in pixels."""
        return self.vae.config.sample_size

    @property
    def mask_channels(self) -> int:
        """0: this model makes masks and takes none."""
        return 0

    @property
    def annotated_labels(self) -> list[int]:
        """The labels that the training masks annotate, and so may be present."""
        return list(self.config.anatomy.get("labels", STRUCTURES.values()))

    def check_inputs(
        self,
        mask: Tensor | None = None,
        *,
        temperature: float = 1.0,
        max_draws: int = 100,
        reject: bool = True,
        output_type: str = "pt",
    ) -> None:
        """Raise ValueError, saying what was expected and how to mend it, for arguments that cannot work."""
        if mask is not None:
            raise ValueError("this model makes masks and takes none; give batch_size and conditions")
        if temperature < 0:
            raise ValueError(f"temperature must be at least 0, got {temperature}; 0 is the most typical mask")
        if max_draws < 1:
            raise ValueError(f"max_draws must be at least 1, got {max_draws}")
        if reject and temperature == 0 and max_draws > 1:
            raise ValueError("at temperature 0 every draw is the same mask; use max_draws=1, or a higher temperature")
        if output_type not in ("pt", "np", "pil"):
            raise ValueError(f"output_type must be 'pt', 'np' or 'pil', got {output_type!r}")

    def faults(self, labels: np.ndarray, slice_level: str | None = None) -> list[str]:
        """Return what is wrong with the anatomy of a mask, [] if nothing.

        Args:
            labels: (H, W) integer label map.
            slice_level: "basal", "mid" or "apical"; other or None compares with real masks of all levels.

        Returns:
            Of "absent" (a set of structures that real masks of this level do not show), "lv_pieces", "myo_pieces",
            "rv_pieces" (more than one 8-connected region), "hole" (background within the left ventricle), "sliver"
            (a structure of fewer pixels than in real masks), and "lv_open" (less of the cavity's border faces
            myocardium than in real masks).
        """
        levels = self.config.anatomy.get("levels", {})
        real = levels.get(slice_level, levels.get(ANY_LEVEL, {}))
        found = topology(labels)
        wrong = [name for name in found["faults"] if name not in real.get("tolerated", ())]
        if found["present"] not in real.get("present", [found["present"]]):
            wrong.append("absent")
        least = real.get("least_pixels", {})
        if any(count < least.get(label, 0) for label, count in found["pixels"].items()):
            wrong.append("sliver")
        if found["lv_enclosed"] < real.get("least_enclosed", 1.0):
            wrong.append("lv_open")
        return wrong

    @torch.no_grad()
    def reconstruction_error(self, distances: Tensor, mask: None = None, **conditions: Condition) -> Tensor:
        """Return the (B,) mean squared error of decoding the mean of the posterior of real masks, for audits.

        Args:
            distances: (B, K, H, W) in [-1, 1], signed distances to the border of every label, see `MaskVAE`.
            mask: None; for the sake of the other pipelines' signature.
            conditions: values as in `__call__`.
        """
        embedding = self._embedding(len(distances), conditions)
        distances = distances.to(self.vae.device, self.vae.dtype)
        mean, _ = self.vae.encode(distances, embedding)
        decoded = self.vae.decode(mean.to(self.vae.dtype), embedding).clamp(-1, 1)
        return (decoded.float() - distances.float()).square().mean(dim=(1, 2, 3))

    @torch.no_grad()
    def negative_evidence_bound(
        self, distances: Tensor, noise: Tensor, mask: None = None, **conditions: Condition
    ) -> Tensor:
        """Return the (B,) bound on the negative log-likelihood in nats per distance, for audits.

        Args:
            distances: (B, K, H, W) as in `reconstruction_error`.
            noise: (B, latent_dim), standard normal, for the draw from the posterior.
            mask: None.
            conditions: values as in `__call__`.
        """
        embedding = self._embedding(len(distances), conditions)
        vae = self.vae
        return sum(vae(distances.to(vae.device, vae.dtype), noise.to(vae.device), embedding))

    def _embedding(self, batch_size: int, conditions: Mapping[str, Condition]) -> Tensor:
        return self.condition_encoder(self.condition_encoder.encode(batch_size, **conditions).to(self.vae.device))

    @torch.no_grad()
    def __call__(
        self,
        mask: None = None,
        *,
        batch_size: int = 1,
        temperature: float = 1.0,
        max_draws: int = 100,
        reject: bool = True,
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pt",
        return_dict: bool = True,
        **conditions: Condition,
    ) -> MaskGeneratorOutput | tuple:
        """Draw masks.

        Args:
            mask: None; for the sake of the other pipelines' signature.
            batch_size: B, number of masks.
            temperature: deviation of the random vector; below 1 masks are more typical and less varied.
            max_draws: draws of one mask before giving up.
            reject: False returns the first draw, whatever its anatomy.
            generator: one, or one per mask: then a mask does not depend on the batch it is drawn in.
            output_type: of `images`, the masks to look at: "pt" (B, 1, H, W) or "np" (B, H, W, 1), both in [0, 1], or
                "pil"; `masks` is a tensor for "pt", else an array.
            return_dict: False returns a tuple.
            conditions: attributes and scalars the model knows (`condition_encoder.names`), such as pathology="DCM" or
                phase=["ED", None]: one value, or one per mask; None leaves it open.

        Raises:
            ValueError: an argument cannot work, or `max_draws` draws of a mask were all refused.
        """
        self.check_inputs(
            mask, temperature=temperature, max_draws=max_draws, reject=reject, output_type=output_type
        )  # fmt: skip
        if isinstance(generator, list) and len(generator) != batch_size:
            raise ValueError(f"{len(generator)} generators for {batch_size} masks; give one, or one per mask")
        encoder = self.condition_encoder
        rows = encoder.encode(batch_size, **conditions)
        level = conditions.get("slice_level")
        levels = [level] * batch_size if level is None or isinstance(level, str) else list(level)
        masks, rejected = [], []
        for number in range(batch_size):
            own = generator[number] if isinstance(generator, list) else generator
            embedding = encoder(rows[number : number + 1].to(self.vae.device))
            drawn, refused = self._draw(embedding, levels[number], own, temperature, max_draws if reject else 0)
            masks.append(drawn)
            rejected.append(refused)
        masks = torch.stack(masks)
        images = masks[:, None].float() / max(STRUCTURES.values())
        if output_type != "pt":
            masks, images = masks.numpy(), images.permute(0, 2, 3, 1).numpy()
        if output_type == "pil":
            images = self.image_processor.numpy_to_pil(images)
        output = MaskGeneratorOutput(masks=masks, images=images, rejected=rejected)
        return output if return_dict else output.to_tuple()

    def _draw(
        self, embedding: Tensor, level: str | None, generator: torch.Generator | None, temperature: float, draws: int
    ) -> tuple[Tensor, dict[str, int]]:
        """Return one (H, W) mask, and the faults of those refused before it; `draws` 0 takes the first.

        Masks are decoded one by one: a refusal turns the rounding differences between batches into other masks.
        """
        refused: Counter[str] = Counter()
        shape = (1, self.vae.config.latent_dim)
        for _ in range(max(draws, 1)):
            latent = randn_tensor(shape, generator=generator, device=self._execution_device, dtype=self.vae.dtype)
            labels = self.vae.to_labels(self.vae.decode(temperature * latent, embedding))[0].cpu()
            wrong = self.faults(labels.numpy(), level) if draws else []
            if not wrong:
                return labels, dict(refused)
            refused.update(wrong)
        raise ValueError(
            f"{draws} draws of a mask (slice level: {level or 'not given'}) were all refused, for {dict(refused)}; "
            "train the mask generator longer, lower the temperature, or raise max_draws"
        )


def topology(labels: np.ndarray) -> dict[str, Any]:
    """Return what the regions of a mask are like.

    Args:
        labels: (H, W) integer label map.

    Returns:
        `present`: the labels that are there, as a text such as "123"; `faults`: of "lv_pieces", "myo_pieces",
        "rv_pieces" (more than one 8-connected region) and "hole" (background enclosed by the left ventricle);
        `pixels`: how many each label has that is there; `lv_enclosed`: share of the cavity's border that faces
        myocardium, 1 where either is absent.

    >>> ring = np.pad(np.array([[LV]]), 1, constant_values=MYO)
    >>> topology(np.pad(ring, 1))
    {'present': '12', 'faults': [], 'pixels': {'1': 1, '2': 8}, 'lv_enclosed': 1.0}
    """
    labels = np.pad(np.asarray(labels), 1)  # what leaves the image is not enclosed
    present = [label for label in STRUCTURES.values() if (labels == label).any()]
    wrong = [f"{name}_pieces" for name, label in STRUCTURES.items() if not _in_one_piece(labels == label, 8)]
    outside = ~np.isin(labels, (LV, MYO))
    enclosed = 1.0
    if not _in_one_piece(outside, 4):
        wrong.append("hole")
    if {LV, MYO} <= set(present):
        beyond = [(labels == LV, np.roll(labels, step, axis)) for axis in (0, 1) for step in (1, -1)]
        border = sum(int((cavity & (near != LV)).sum()) for cavity, near in beyond)
        enclosed = sum(int((cavity & (near == MYO)).sum()) for cavity, near in beyond) / border
    pixels = {str(label): int((labels == label).sum()) for label in present}  # texts, as keys in JSON are
    return {"present": "".join(map(str, present)), "faults": wrong, "pixels": pixels, "lv_enclosed": enclosed}


def _in_one_piece(region: np.ndarray, neighbours: int) -> bool:
    """Tell whether a region (H, W) is connected over 4 or 8 neighbours; nothing is."""
    if not region.any():
        return True
    reached = np.zeros_like(region)
    reached.flat[region.argmax()] = True
    count = 0
    while count < (count := int(reached.sum())):
        padded = np.pad(reached, 1)
        grown = padded[1:-1, :-2] | padded[1:-1, 2:] | reached
        if neighbours == 8:
            padded = np.pad(grown, 1)
        grown = grown | padded[:-2, 1:-1] | padded[2:, 1:-1]
        reached = grown & region
    return count == int(region.sum())
