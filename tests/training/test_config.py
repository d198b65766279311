from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from cmrsynth.errors import InputError
from cmrsynth.training.autoencoder_config import AutoencoderConfig
from cmrsynth.training.config import CLOCKS, RectifiedFlowConfig, parse_config
from cmrsynth.training.controlnet_config import ControlNetConfig
from cmrsynth.training.diffusion_config import DiffusionConfig
from cmrsynth.training.few_step_config import FewStepConfig
from cmrsynth.training.gan_config import GanConfig
from cmrsynth.training.latent_config import LatentFlowConfig
from cmrsynth.training.mask_generator_config import MaskGeneratorConfig
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


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "training" / "configs").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_published_configuration_parses(path: Path) -> None:
    config_class = next(found for part, found in PROGRAMS.items() if part in path.stem)
    values = yaml.safe_load(path.read_text())
    extra = [] if "data" in values else list(NEEDED[:4])
    budget = {"max_train_steps", "max_train_minutes"} & set(values)
    extra += [] if budget else ["--max-train-minutes", "1"]
    assert parse_config(config_class, ["--config", str(path), *extra]).output


def test_the_processor_clock_does_not_count_waiting() -> None:
    began = CLOCKS["wall"](), CLOCKS["cpu"]()
    time.sleep(0.2)
    assert CLOCKS["wall"]() - began[0] > 0.19
    assert CLOCKS["cpu"]() - began[1] < 0.1
