"""Measure training and sampling speed of the rectified flow beside a stock `UNet2DModel` of the same size.

    python training/benchmark_throughput.py --size 64 --rounds 8

Both networks get the noisy image and the one-hot mask, the same batch and the same optimiser. They take turns in
one process, so that a machine that slows down slows both; the median of the rounds is printed, with the ratio.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from accelerate.utils import set_seed
from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DModel
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cmrsynth.flow.rectified import interpolate, velocity_loss
from cmrsynth.labels import NUM_LABELS, one_hot
from cmrsynth.models import ConditionEncoder, MaskUNet
from cmrsynth.pipelines import RectifiedFlowPipeline
from cmrsynth.provenance import hardware
from cmrsynth.timing import in_turns
from cmrsynth.training.config import RectifiedFlowConfig
from cmrsynth.training.family import parameter_count
from cmrsynth.training.precision import resolve_precision


def stock_network(size: int, parameters: int, *, attention: bool) -> UNet2DModel:
    """Return a `UNet2DModel` as wide as brings it nearest to a number of weights.

    In its default form it has self-attention at three of four levels, which is most of its cost; without attention
    it is the fairer measure of what the layout of `MaskUNet` brings.
    """
    blocks = {} if attention else {"down_block_types": ("DownBlock2D",) * 4, "up_block_types": ("UpBlock2D",) * 4}

    def make(width: int) -> UNet2DModel:
        return UNet2DModel(
            sample_size=size,
            in_channels=1 + NUM_LABELS,
            out_channels=1,
            block_out_channels=tuple(width * k for k in (1, 2, 3, 4)),
            norm_num_groups=8,
            **blocks,
        )

    widths = range(8, 72, 8)
    return make(min(widths, key=lambda width: abs(parameter_count(make(width)) - parameters)))


def training_step(network: torch.nn.Module, concatenate: bool, batch: dict, precision: str) -> Callable[[], None]:
    """Return a function that does one optimiser step."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step() -> None:
        noisy = interpolate(batch["image"], batch["noise"], batch["t"])
        with torch.autocast(noisy.device.type, torch.bfloat16, enabled=precision == "bf16"):
            if concatenate:
                velocity = network(torch.cat([noisy, batch["mask"]], dim=1), 1000 * batch["t"]).sample
            else:
                velocity = network(noisy, 1000 * batch["t"], batch["mask"]).sample
        velocity_loss(velocity, batch["image"], batch["noise"]).mean().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def sampling_step(network: MaskUNet, batch: dict, *, steps: int, solver: str) -> Callable[[], None]:
    """Return a function that samples one batch."""
    encoder = ConditionEncoder(network.embedding_dim)
    pipeline = RectifiedFlowPipeline(network, encoder, FlowMatchEulerDiscreteScheduler())
    pipeline.set_progress_bar_config(disable=True)
    return lambda: pipeline(batch["mask"], num_inference_steps=steps, solver=solver)


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="height and width in pixels")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=8, help="measured turns of each candidate")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    set_seed(0)
    shape = (arguments.batch_size, 1, arguments.size, arguments.size)
    batch = {
        "image": torch.rand(shape) * 2 - 1,
        "noise": torch.randn(shape),
        "t": torch.rand(arguments.batch_size),
        "mask": one_hot(torch.randint(0, NUM_LABELS, (shape[0], *shape[2:]))),
    }
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    defaults = RectifiedFlowConfig(data="-", output="-", max_train_steps=1)
    ours = MaskUNet(
        sample_size=arguments.size,
        block_out_channels=tuple(defaults.block_out_channels),
        layers_per_block=defaults.layers_per_block,
        attention_levels=tuple(defaults.attention_levels),
    ).to(device)
    stock = {
        "default": stock_network(arguments.size, parameter_count(ours), attention=True).to(device),
        "without attention": stock_network(arguments.size, parameter_count(ours), attention=False).to(device),
    }
    precision = resolve_precision("auto")
    candidates = {
        f"train MaskUNet, {parameter_count(ours) / 1e6:.2f} M weights, fp32": training_step(ours, False, batch, "no"),
        **{
            f"train UNet2DModel ({name}), {parameter_count(network) / 1e6:.2f} M weights, fp32": training_step(
                network, True, batch, "no"
            )
            for name, network in stock.items()
        },
        "sample, Heun, 10 steps (default)": sampling_step(ours, batch, steps=10, solver="heun"),
        "sample, Euler, 10 steps": sampling_step(ours, batch, steps=10, solver="euler"),
    }
    if precision != "no":
        candidates[f"train MaskUNet, {precision} (what auto chooses here)"] = training_step(
            ours, False, batch, precision
        )
    rounds = track(range(arguments.rounds + 1), description="measuring")
    wait = torch.cuda.synchronize if device.type == "cuda" else None
    seconds = in_turns(candidates, rounds, warm_up=1, finish=wait)
    speeds = {name: [arguments.batch_size / each for each in taken] for name, taken in seconds.items()}
    show(speeds, arguments.size)


def show(speeds: dict[str, list[float]], size: int) -> None:
    """Print medians, ranges, and the median over rounds of the ratio to the stock networks."""
    table = Table("what", "images/s (median)", "lowest to highest", title=f"{size}x{size}, {hardware()}")
    for name, values in speeds.items():
        table.add_row(name, f"{statistics.median(values):.1f}", f"{min(values):.1f} to {max(values):.1f}")
    console = Console()
    console.print(table)
    for name, values in speeds.items():
        for other, reference in speeds.items():
            if name.startswith("train MaskUNet") and "UNet2DModel" in other:
                ratio = statistics.median(a / b for a, b in zip(values, reference, strict=True))
                console.print(f"{name}: {ratio:.2f} times {other}")


if __name__ == "__main__":
    main()
