from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml

from cmrsynth.errors import InputError
from cmrsynth.hub.export import export_pipeline
from cmrsynth.training.autoencoder import Autoencoder
from cmrsynth.training.autoencoder_config import AutoencoderConfig
from cmrsynth.training.config import CLOCKS, RectifiedFlowConfig, parse_config
from cmrsynth.training.controlnet import ControlNet
from cmrsynth.training.controlnet_config import ControlNetConfig
from cmrsynth.training.diffusion import Diffusion
from cmrsynth.training.diffusion_config import DiffusionConfig
from cmrsynth.training.few_step import build_few_step
from cmrsynth.training.few_step_config import FewStepConfig
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

NEEDED = ("--data", "d", "--output", "o", "--max-train-steps", "5")


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("learning_rate: 0.001\nbatch_size: 2\n")
    config = parse_config(RectifiedFlowConfig, ["--config", str(path), *NEEDED, "--batch-size", "3"])
    assert (config.learning_rate, config.batch_size) == (0.001, 3)


def test_an_unknown_setting_in_the_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("learning_rat: 0.001\n")
    with pytest.raises(InputError, match="learning_rat"):
        parse_config(RectifiedFlowConfig, ["--config", str(path), *NEEDED])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--data", "d", "--output", "o"),
        (*NEEDED, "--max-train-minutes", "3"),
        (*NEEDED, "--condition-dropout", "1.5"),
        (*NEEDED, "--mixed-precision", "fp8"),
        (*NEEDED, "--batch-size", "0"),
        (*NEEDED, "--clock", "sun"),
        (*NEEDED, "--attributes", "age"),
    ],
)
def test_settings_that_cannot_work_are_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        parse_config(RectifiedFlowConfig, arguments)


# which program a published configuration is for, by a part of its name; the first that fits
PROGRAMS = {
    "controlnet_base": RectifiedFlowConfig,
    "controlnet": ControlNetConfig,
    "latent_flow": LatentFlowConfig,
    "mask_generator": MaskGeneratorConfig,
    "diffusion": DiffusionConfig,
    "autoencoder": AutoencoderConfig,
    "vae": VaeConfig,
    "gan": GanConfig,
    "few_step": FewStepConfig,
    "": RectifiedFlowConfig,
}
BUILD = {
    RectifiedFlowConfig: RectifiedFlow,
    ControlNetConfig: ControlNet,
    LatentFlowConfig: LatentFlow,
    MaskGeneratorConfig: MaskGenerator,
    DiffusionConfig: Diffusion,
    FewStepConfig: build_few_step,
    AutoencoderConfig: Autoencoder,
    VaeConfig: ConditionalVae,
    GanConfig: build_gan,
}


CONFIGS = Path(__file__).parents[2] / "training" / "configs"


def parsed(path: Path):
    """The configuration of a file, with what the file leaves to the command line."""
    config_class = next(found for part, found in PROGRAMS.items() if part in path.stem)
    values = yaml.safe_load(path.read_text())
    extra = [] if "data" in values else list(NEEDED[:4])
    budget = {"max_train_steps", "max_train_minutes"} & set(values)
    extra += [] if budget else ["--max-train-minutes", "1"]
    return parse_config(config_class, ["--config", str(path), *extra])


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_published_configuration_parses(path: Path) -> None:
    assert parsed(path).output


def narrow(config, **changes):
    """The same configuration with the same levels, of networks with a few channels and for one small step."""
    widths = {n: [8] * len(getattr(config, n)) for n in ("block_out_channels", "discriminator_channels")
              if hasattr(config, n)}  # fmt: skip
    batch = 4 if isinstance(config, FewStepConfig) else 1
    pairs = {"pairs": batch} if isinstance(config, FewStepConfig) else {}
    one_step = {**pairs, "batch_size": batch, "max_train_steps": 1, "max_train_minutes": 0.0, "mixed_precision": "no"}
    return replace(config, **widths, **one_step, cpu_threads=1, validation_split="", **changes)


SIZED = sorted(p for p in CONFIGS.glob("*_*.yaml") if p.stem.split("_")[1] in ("64", "128", "256"))


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=pytest.mark.slow) if "256" in p.stem else p for p in SIZED],
    ids=lambda p: p.stem,
)
def test_every_published_configuration_trains_and_samples_at_its_size(path: Path, toy_data, tmp_path: Path) -> None:
    size = int(path.stem.split("_")[1])
    data = toy_data.write_toy_data(tmp_path / "data", patients={"train": range(2)}, slices=1, size=size)
    config = parsed(path)
    changes = {"data": str(data), "output": str(tmp_path / "run")}
    for setting in ("vae", "base", "teacher"):  # what it stands on has a configuration too
        if location := getattr(config, setting, ""):
            first = next(p for p in SIZED if f"{parsed(p).output}/pipeline" == location)
            below = narrow(parsed(first), data=str(data), output=str(tmp_path / "first"))
            changes[setting] = str(
                export_pipeline(Run(below, BUILD[type(below)]).pipeline(), tmp_path / "first" / "pipeline")
            )
    run = Run(narrow(config, **changes), BUILD[type(config)])
    assert all(loss.isfinite() for loss in run.train_step().values())
    pipeline = run.pipeline()
    pipeline.set_progress_bar_config(disable=True)
    if isinstance(config, AutoencoderConfig):
        images = pipeline(torch.rand(1, 1, size, size)).images
    else:
        steps = {"num_inference_steps": 1} if hasattr(pipeline, "scheduler") else {}
        images = pipeline(**steps, **({"reject": False} if isinstance(config, MaskGeneratorConfig) else {})).images
    assert images.shape == (1, 1, size, size)
    assert images.isfinite().all()


def test_the_processor_clock_does_not_count_waiting() -> None:
    began = CLOCKS["wall"](), CLOCKS["cpu"]()
    time.sleep(0.2)
    assert CLOCKS["wall"]() - began[0] > 0.19
    assert CLOCKS["cpu"]() - began[1] < 0.1


def test_a_gan_begun_before_the_norm_could_be_chosen_is_at_a_norm_of_one() -> None:
    config = parse_config(GanConfig, NEEDED)
    saved = {name: value for name, value in asdict(config).items() if name != "discriminator_norm"}
    assert config.differences(saved) == {"discriminator_norm": (1.0, 2.0)}
