"""Feature extractors that a user brings: FID's Inception, models of transformers, TorchScript files, torch.hub.

Their features stay as they are, neither standardised nor reduced, so that FID and CMMD mean what they mean elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cmrsynth.errors import InputError
from cmrsynth.evaluation.encoder import Encoder
from cmrsynth.evaluation.networks import best_device
from cmrsynth.evaluation.settings import TORCH_HUB, ExtractorSpec

if TYPE_CHECKING:
    import torch

INCEPTION = "inception"
INCEPTION_URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HUB_SIDE = 224
BATCH = 32


@dataclass(frozen=True)
class Network:
    """A loaded network with the way it is fed.

    Args:
        module: the network, in evaluation mode.
        features: a batch (B, 1, H, W) in [0, 1] to (B, D), (B, D, h, w) or (B, tokens, D).
        sha256: hash of its weights.
        source: what it is and how it is fed, for the report.
        kind: as in `Encoder`.
    """

    module: torch.nn.Module
    features: Callable[[torch.Tensor], torch.Tensor]
    sha256: str
    source: str
    kind: str = "other"


def load_extractor(spec: ExtractorSpec, real: np.ndarray) -> Encoder:
    """Return the `Encoder` of a user's extractor; `ExtractorSpec` says what its source may be.

    Args:
        spec: name and source.
        real: (N, H, W) in [0, 1]; two of them are encoded to see that it works.

    Raises:
        InputError: the source cannot be found or loaded, its weights are pickled or incomplete, or it does not
            turn these images into finite feature vectors.
    """
    network = _load(spec)
    raw = _runner(network)
    try:
        trial = raw(real[:2])
    except (RuntimeError, ValueError, IndexError) as error:
        size = "x".join(map(str, real.shape[1:]))
        raise InputError(
            spec.source, f"the extractor fails on {size} images: {_first_line(error)}", "check what it takes"
        ) from error
    if trial.ndim != 2 or len(trial) != len(real[:2]) or not np.isfinite(trial).all():
        raise InputError(
            spec.source,
            f"the extractor does not return finite features (N, d) but shape {trial.shape}",
            "see `cmrsynth evaluate --help`",
        )
    return Encoder(
        name=spec.name,
        sha256=network.sha256,
        raw=raw,
        dimensions=trial.shape[1],
        source=network.source,
        kind=network.kind,
    )


def _load(spec: ExtractorSpec) -> Network:
    path = Path(spec.source)
    if spec.source == INCEPTION:
        return _torchscript(_inception_file())
    if spec.source.startswith(TORCH_HUB):
        return _torch_hub(spec)
    if path.is_file():
        return _torchscript(path)
    if path.is_dir() or _is_hub_id(spec.source):
        # its own file, because it needs transformers and knows how their processors prepare images
        from cmrsynth.evaluation.image_models import load_image_model

        module, features, source, kind = load_image_model(spec.source)
        return Network(module, features, state_hash(module), source, kind)
    raise InputError(
        spec.source,
        f"no file for the extractor {spec.name!r}",
        "give `inception`, a TorchScript file, a transformers model (folder or Hub id), or torchhub:OWNER/REPO:MODEL",
    )


def _is_hub_id(source: str) -> bool:
    """Whether it can only be OWNER/NAME on the Hub; a misspelt path to weights is none."""
    owner, slash, name = source.partition("/")
    weights = (".pt", ".pth", ".ts", ".jit", ".torchscript", ".safetensors", ".bin")
    return bool(owner.strip(".~") and slash and name and "/" not in name) and not name.endswith(weights)


def _torchscript(path: Path) -> Network:
    """A TorchScript file; one whose `forward` takes `return_features` is called as FID's Inception is."""
    import torch

    try:
        module = torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError as error:
        raise InputError(path, "not a TorchScript file", "save it with torch.jit.save") from error
    digest = sha256(path.read_bytes()).hexdigest()
    if "return_features" in {argument.name for argument in module.forward.schema.arguments}:
        return _inception(module, digest)
    channels = next((p.shape[1] for p in module.parameters() if p.ndim == 4), 3)

    def features(batch: torch.Tensor) -> torch.Tensor:
        return module(batch.expand(-1, channels, -1, -1))

    return Network(module, features, digest, f"TorchScript, {channels} channels in [0, 1]")


def _inception(module: torch.nn.Module, digest: str) -> Network:
    """FID's Inception-v3 in TorchScript: bytes in, which it scales and resizes to 299 x 299 itself."""
    import torch

    def features(batch: torch.Tensor) -> torch.Tensor:
        as_bytes = (batch * 255).round().clamp(0, 255).to(torch.uint8)
        return module(as_bytes.expand(-1, 3, -1, -1), return_features=True)

    return Network(module, features, digest, "FID's Inception-v3, 8-bit images, resized by the network", "inception")


def _inception_file() -> Path:
    """Return FID's Inception in the torch.hub cache, downloaded on first use; a broken download leaves no file."""
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(INCEPTION_URL).name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(INCEPTION_URL, str(path))
        except OSError as error:  # URLError is one
            raise InputError(
                INCEPTION_URL,
                f"cannot be downloaded ({error})",
                f"download it elsewhere and give NAME=PATH, or put it at {path}",
            ) from error
    return path


def _torch_hub(spec: ExtractorSpec) -> Network:
    """A model of a torch.hub repository, whose Python code is run: nothing loads one unless a user names it."""
    import torch

    repository, _, model = spec.source.removeprefix(TORCH_HUB).rpartition(":")
    local = Path(repository).is_dir()
    try:
        module = torch.hub.load(
            repository, model, source="local" if local else "github", trust_repo=True, verbose=False
        ).eval()
    except Exception as error:  # a stranger's code may raise anything
        raise InputError(
            spec.source, f"torch.hub cannot load it: {_first_line(error)}", "check repository, model and network"
        ) from error
    radimagenet = model.startswith("radimagenet")

    def features(batch: torch.Tensor) -> torch.Tensor:
        import torch.nn.functional as F

        mean, deviation = (torch.tensor(v, device=batch.device)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
        if radimagenet:  # trained on BGR images less the mean, at any size; grey channels are equal
            return module(batch - mean.flip(0))
        resized = F.interpolate(batch, (HUB_SIDE, HUB_SIDE), mode="bilinear", antialias=True)
        return module((resized - mean) / deviation)

    fed = "less ImageNet's mean" if radimagenet else f"ImageNet's mean and deviation, {HUB_SIDE} x {HUB_SIDE}"
    where = Path(repository).name if local else repository
    return Network(module, features, state_hash(module), f"torch.hub {where}, {model}, {fed}")


def _runner(network: Network) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from (N, H, W) images in [0, 1] to (N, D) features, in batches on the best device."""

    def run(images: np.ndarray) -> np.ndarray:
        import torch
        from rich.progress import track

        device = best_device()
        network.module.to(device)
        starts, parts = range(0, len(images), BATCH), []
        with torch.inference_mode():
            for start in track(starts, description="Encoding", transient=True, disable=len(starts) < 10):
                batch = torch.from_numpy(images[start : start + BATCH].astype(np.float32))[:, None].to(device)
                found = network.features(batch)
                parts.append((found.mean((2, 3)) if found.ndim == 4 else found).float().cpu().numpy())
        network.module.to("cpu")
        return np.concatenate(parts)

    return run


def state_hash(module: torch.nn.Module) -> str:
    """Return the sha256 of all weights of a network: names, shapes, types and values."""
    import torch

    digest = sha256()
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
