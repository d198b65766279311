"""Measure how long one slice takes with each family of generators, as multiples of the GAN's time.

    python training/benchmark_latency.py --size 128 --threads 2 --rounds 10

Every network has its program's default widths and random weights, and makes one slice from one mask. They take turns
in one process, so that a machine that slows down slows all; printed are medians, ranges, and the median over rounds
of the ratio to the GAN.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import set_seed
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cmrsynth.labels import NUM_LABELS, one_hot
from cmrsynth.models import (
    CardiacVAE,
    ConditionEncoder,
    DurationEncoder,
    MaskUNet,
    SpadeGenerator,
    SpadeUNet,
    StyleEncoder,
)
from cmrsynth.pipelines import MaskDiffusionPipeline, RectifiedFlowPipeline, SpadeGanPipeline, VaePipeline
from cmrsynth.processes import use_cores
from cmrsynth.provenance import hardware
from cmrsynth.timing import in_turns
from cmrsynth.training.autoencoder import build_autoencoder
from cmrsynth.training.autoencoder_config import AutoencoderConfig
from cmrsynth.training.config import RectifiedFlowConfig
from cmrsynth.training.family import parameter_count
from cmrsynth.training.gan_config import GanConfig
from cmrsynth.training.latent_config import LatentFlowConfig
from cmrsynth.training.vae_config import VaeConfig

GAN = "SPADE GAN"
UNTRAINED = {"data": "-", "output": "-", "max_train_steps": 1}
VOCABULARIES = {"vendor": ["A", "B"], "pathology": ["DCM", "HCM", "normal"], "phase": ["ED", "ES"]}


@dataclass(frozen=True)
class Contestant:
    """A pipeline and the options of its call."""

    pipeline: DiffusionPipeline
    options: dict[str, Any]

    @property
    def parameters(self) -> int:
        """Number of weights of all its networks."""
        networks = self.pipeline.components.values()
        return sum(parameter_count(part) for part in networks if isinstance(part, torch.nn.Module))


def denoiser(network: type, widths: Sequence[int], attention: Sequence[int], layers: int, **shape: int) -> dict:
    """Return {"unet", "condition_encoder"}."""
    unet = network(
        block_out_channels=tuple(widths), attention_levels=tuple(attention), layers_per_block=layers, **shape
    )
    return {"unet": unet, "condition_encoder": ConditionEncoder(unet.embedding_dim, vocabularies=VOCABULARIES)}


def pipelines(size: int) -> dict[str, DiffusionPipeline]:
    """Return the pipeline of each family at its default widths, for images of `size` x `size`."""
    flow, gan, vae = RectifiedFlowConfig(**UNTRAINED), GanConfig(**UNTRAINED), VaeConfig(**UNTRAINED)
    latent, coder = LatentFlowConfig(**UNTRAINED, vae="-"), AutoencoderConfig(**UNTRAINED)
    style = ConditionEncoder(gan.latent_dim, vocabularies=VOCABULARIES)
    widths = tuple(gan.block_out_channels)
    generator = SpadeGenerator(size, NUM_LABELS, gan.latent_dim, widths)
    decoder = CardiacVAE(size, NUM_LABELS, vae.latent_dim, tuple(vae.block_out_channels))
    shape = (flow.block_out_channels, flow.attention_levels, flow.layers_per_block)
    concat, spade = (denoiser(network, *shape, sample_size=size) for network in (MaskUNet, SpadeUNet))
    duration = DurationEncoder(concat["unet"].embedding_dim)
    autoencoder: AutoencoderKL = build_autoencoder(coder, size)
    factor = 2 ** (len(coder.block_out_channels) - 1)
    latents = denoiser(
        MaskUNet, latent.block_out_channels, latent.attention_levels, latent.layers_per_block,
        sample_size=size // factor, in_channels=coder.latent_channels,
    )  # fmt: skip
    euler = FlowMatchEulerDiscreteScheduler()
    diffusion = DDIMScheduler(beta_schedule="squaredcos_cap_v2", timestep_spacing="trailing")
    return {
        GAN: SpadeGanPipeline(generator, StyleEncoder(gan.latent_dim, widths), style),
        "VAE": VaePipeline(decoder, ConditionEncoder(decoder.embedding_dim, vocabularies=VOCABULARIES)),
        "flow, concatenation": RectifiedFlowPipeline(**concat, scheduler=euler),
        "flow, SPADE": RectifiedFlowPipeline(**spade, scheduler=euler),
        "few-step flow": RectifiedFlowPipeline(**concat, scheduler=euler, duration_encoder=duration),
        "latent flow": RectifiedFlowPipeline(**latents, scheduler=euler, vae=autoencoder.eval()),
        "diffusion": MaskDiffusionPipeline(**concat, scheduler=diffusion),
    }


def contestants(size: int) -> dict[str, Contestant]:
    """Return what is timed."""
    made = pipelines(size)
    found = {name: Contestant(made[name], {}) for name in (GAN, "VAE")}
    flows = {"flow, concatenation": (1, 4, 10), "flow, SPADE": (1, 4, 10), "few-step flow": (1, 4)}
    for name, counts in {**flows, "latent flow": (4, 10)}.items():
        for steps in counts:
            options = {"num_inference_steps": steps, "solver": "euler"}
            found[f"{name}, {steps} Euler step{'s' * (steps > 1)}"] = Contestant(made[name], options)
    for solver in ("ddim", "ddpm"):
        options = {"num_inference_steps": 50, "solver": solver}
        found[f"diffusion, 50 {solver.upper()} steps"] = Contestant(made["diffusion"], options)
    return found


def prepared(pipeline: DiffusionPipeline, arguments: argparse.Namespace, device: torch.device) -> DiffusionPipeline:
    """Return the pipeline in the asked precision and memory format."""
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
            if arguments.bf16:
                part.to(torch.bfloat16)
            if arguments.channels_last:
                part.to(memory_format=torch.channels_last)
            if arguments.compile and not isinstance(part, ConditionEncoder | StyleEncoder | AutoencoderKL):
                part.compile()
    return pipeline


def slice_maker(contestant: Contestant, mask: torch.Tensor) -> Callable[[], None]:
    """Return a function that makes one slice, as a user asks for it."""
    return lambda: contestant.pipeline(mask, vendor="A", phase="ED", **contestant.options)


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="height and width in pixels")
    parser.add_argument("--rounds", type=int, default=10, help="measured turns of each candidate")
    parser.add_argument("--threads", type=int, default=0, help="threads on a CPU; 0: one per core")
    parser.add_argument("--bf16", action="store_true", help="sample in bfloat16")
    parser.add_argument("--channels-last", action="store_true", help="keep channels next to each other in memory")
    parser.add_argument("--compile", action="store_true", help="compile the generators and denoisers first")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    use_cores(1, arguments.threads)
    set_seed(0)
    made = contestants(arguments.size)
    for pipeline in {id(each.pipeline): each.pipeline for each in made.values()}.values():
        prepared(pipeline, arguments, device)
    mask = one_hot(torch.randint(0, NUM_LABELS, (1, arguments.size, arguments.size))).to(device)
    rounds = track(range(arguments.rounds + 1), description="measuring")
    wait = torch.cuda.synchronize if device.type == "cuda" else None
    work = {name: slice_maker(each, mask) for name, each in made.items()}
    show(made, in_turns(work, rounds, warm_up=1, finish=wait), arguments)


def show(made: dict[str, Contestant], seconds: dict[str, list[float]], arguments: argparse.Namespace) -> None:
    """Print medians, ranges, and the median over rounds of the ratio to the GAN."""
    precision = "bf16" if arguments.bf16 else "fp32"
    title = f"one {arguments.size}x{arguments.size} slice, {precision}, {torch.get_num_threads()} threads, {hardware()}"
    columns = ("what", "weights", "ms (median)", "lowest to highest", "times the GAN (lowest to highest)")
    table = Table(*columns, title=title)
    for name, taken in seconds.items():
        ratios = [mine / gans for mine, gans in zip(taken, seconds[GAN], strict=True)]
        spread = f"{1000 * min(taken):.1f} to {1000 * max(taken):.1f}"
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        weights = f"{made[name].parameters / 1e6:.2f} M"
        table.add_row(name, weights, f"{1000 * statistics.median(taken):.1f}", spread, ratio)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
