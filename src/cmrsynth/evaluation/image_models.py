"""Image models of transformers as feature extractors: DINOv2, CLIP, ViT, ResNet, ...

The processor's settings are read from `preprocessor_config.json` and applied here, because the processors themselves
need torchvision.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmrsynth.errors import InputError

if TYPE_CHECKING:
    import torch

CONFIG = "preprocessor_config.json"
_FILTERS = {2: "bilinear", 3: "bicubic"}  # numbers of PIL
_TOKEN_NAMES = ("cls_token", "class_embedding")  # parameters of models whose first token stands for the image


@dataclass(frozen=True)
class Preprocessing:
    """What a model's processor does to an image.

    Args:
        size: (height, width) after resizing, or one number for the shorter side; None leaves images as they are.
        crop: (height, width) cut from the centre, or None.
        interpolation: "bilinear" or "bicubic".
        factor: what an image in [0, 1] is multiplied by.
        mean, deviation: per channel, after that.
    """

    size: tuple[int, int] | int | None
    crop: tuple[int, int] | None
    interpolation: str
    factor: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def read(cls, source: str, config: dict[str, Any]) -> Preprocessing:
        """Return the settings of a `preprocessor_config.json`.

        Raises:
            InputError: it asks for something that is not done here; guessing would give other features.
        """
        if "crop_pct" in config or int(config.get("resample", 2)) not in _FILTERS:
            raise InputError(
                source, f"{CONFIG} asks for crop_pct or a rare filter", "use a model with bilinear or bicubic resizing"
            )
        normalise = config.get("do_normalize", True)
        try:
            return cls(
                size=_size(config["size"]) if config.get("do_resize", True) else None,
                crop=_pair(config["crop_size"]) if config.get("do_center_crop", False) else None,
                interpolation=_FILTERS[int(config.get("resample", 2))],
                factor=255 * float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 255.0,
                mean=tuple(config["image_mean"]) if normalise else (0.0,),
                deviation=tuple(config["image_std"]) if normalise else (1.0,),
            )
        except (KeyError, TypeError) as error:
            raise InputError(
                source, f"{CONFIG} has no usable {error}", "use a model whose processor is complete"
            ) from None

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Return (B, 1, H, W) images in [0, 1] as the model wants them, (B, 3, H', W')."""
        import torch
        import torch.nn.functional as F

        if self.size is not None:
            size = self.size if isinstance(self.size, tuple) else _shorter(batch.shape[-2:], self.size)
            batch = F.interpolate(batch, size, mode=self.interpolation, antialias=True).clamp(0, 1)
        if self.crop is not None:
            top, left = ((have - want) // 2 for have, want in zip(batch.shape[-2:], self.crop, strict=True))
            if min(top, left) < 0:
                raise ValueError(f"a crop of {self.crop} does not fit images of {tuple(batch.shape[-2:])}")
            batch = batch[..., top : top + self.crop[0], left : left + self.crop[1]]
        mean, deviation = (torch.tensor(v, device=batch.device)[:, None, None] for v in (self.mean, self.deviation))
        return ((batch * self.factor).expand(-1, 3, -1, -1) - mean) / deviation

    def __str__(self) -> str:
        """What the report says of it."""
        size = self.size if isinstance(self.size, int) or self.size is None else "x".join(map(str, self.size))
        crop = "" if self.crop is None else ", centre {}x{}".format(*self.crop)
        return "images as they are" if size is None else f"{self.interpolation} to {size}{crop}"


def load_image_model(source: str) -> tuple[torch.nn.Module, Callable[[torch.Tensor], torch.Tensor], str, str]:
    """Return a model of a folder or the Hub, its features of a batch, what it is, and its kind.

    CLIP gives its projected image embedding. Other models give their class token where they have one, else the mean
    over tokens or space; never the pooler, which many checkpoints lack.

    Args:
        source: a folder with `config.json`, `model.safetensors` and `preprocessor_config.json`, or a Hub id.

    Raises:
        InputError: there is no such model, it has no safetensors weights or not all of them, or takes no images.
    """
    config = _read(source)
    module, clip = _module(source)
    preprocessing = Preprocessing.read(source, config)
    has_token = any(name.endswith(_TOKEN_NAMES) for name, _ in module.named_parameters())

    def features(batch: torch.Tensor) -> torch.Tensor:
        output = module(pixel_values=preprocessing(batch))
        if clip:
            return output.image_embeds
        hidden = output.last_hidden_state
        if hidden.ndim == 3:
            return hidden[:, 0] if has_token else hidden.mean(1)
        return hidden

    taken = "image embedding" if clip else "class token" if has_token else "mean over the image"
    where = Path(source).name if Path(source).is_dir() else source
    return module, features, f"{where}, {taken}, {preprocessing}", "clip" if clip else "other"


def _module(source: str) -> tuple[torch.nn.Module, bool]:
    import torch
    from transformers import AutoConfig, AutoModel, CLIPVisionModelWithProjection

    try:
        clip = AutoConfig.from_pretrained(source).model_type in ("clip", "clip_vision_model")
        family = CLIPVisionModelWithProjection if clip else AutoModel
        module, loaded = family.from_pretrained(
            source, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, ImportError) as error:
        said = next(iter(str(error).strip().splitlines()), "")
        raise InputError(
            source, f"transformers cannot load it ({said})", "give a model with safetensors weights, and check the name"
        ) from error
    missing = sorted(key for key in loaded["missing_keys"] if "pooler" not in key)
    if missing:
        raise InputError(
            source,
            f"{len(missing)} weights are missing ({missing[0]}, ...) and would be random",
            "give a checkpoint that holds the whole image model",
        )
    if module.main_input_name != "pixel_values":
        raise InputError(source, f"takes {module.main_input_name}, not images alone", "give an image model")
    return module.eval(), clip


def _read(source: str) -> dict[str, Any]:
    from transformers.utils import cached_file

    try:
        return json.loads(Path(cached_file(source, CONFIG)).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            source,
            f"no readable {CONFIG}: no such model, no network, or no image model",
            "check the name or the folder",
        ) from error


def _size(size: Any) -> tuple[int, int] | int:
    if isinstance(size, int):
        return size
    return int(size["shortest_edge"]) if "shortest_edge" in size else _pair(size)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size["height"]), int(size["width"]))


def _shorter(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    height, width = shape
    return (side, int(side * width / height)) if height <= width else (int(side * height / width), side)
