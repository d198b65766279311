"""A plan of tiny networks on toy hearts, and trainings that run in this process."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import yaml

from cmrsynth.comparison.plan import Plan
from cmrsynth.comparison.programs import module_of, settings_of
from cmrsynth.comparison.trainings import log_of

TINY = {
    "clock": "cpu",
    "cpu_threads": 1,
    "mixed_precision": "no",
    "batch_size": 4,
    "warmup_steps": 2,
    "validation_split": "",
    "sample_steps": 0,
    "block_out_channels": [8, 8],
}
MINUTES = 0.004


@pytest.fixture(scope="session")
def write_plan_to(toy_folder: Path):
    """A function that writes a plan into a folder, with what is given in the place of its usual parts."""

    def write(folder: Path, **changes) -> Path:
        plan = {
            "data": str(toy_folder),
            "output": str(folder / "compared"),
            "shared": TINY,
            "trainings": {
                "flow": {"program": "rectified_flow", "minutes": MINUTES, "attention_levels": [1]},
                "vae": {"program": "vae", "minutes": MINUTES, "latent_dim": 4},
                "blind": {
                    **{"program": "rectified_flow", "minutes": MINUTES, "attention_levels": [1]},
                    **{"conditioning": "none", "mask_dropout": 0.0},
                },
            },
            "sampling": {"steps": [1, 4], "utility_steps": 4, "batch_size": 9},
            "scoring": {"segmenter_updates": 4, "resamples": 20, "floor_draws": 1},
            "sweeps": {
                "guidance": {
                    **{"families": ["flow", "vae"], "option": "mask_guidance_scale"},
                    **{"values": [1, 2], "steps": 2},
                }
            },
            **changes,
        }
        path = folder / "plan.yaml"
        kept = {key: value for key, value in plan.items() if value is not None}
        path.write_text(yaml.safe_dump(kept, sort_keys=False))
        return path

    return write


@pytest.fixture
def write_plan(write_plan_to, tmp_path: Path):
    """The same for the test's own folder."""
    return lambda **changes: write_plan_to(tmp_path, **changes)


class InThisProcess:
    """A training that runs where it is started: no second interpreter has to load torch."""

    started: list[str] = []  # noqa: RUF012 (of the whole test)

    def __init__(self, plan: Plan, name: str) -> None:
        self.started.append(name)
        config = log_of(plan, name).with_suffix(".yaml")
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(yaml.safe_dump(settings_of(plan, plan.trainings[name])))
        arguments, sys.argv = sys.argv, [f"train_{name}.py", "--config", str(config)]
        try:
            runpy.run_module(module_of(plan.trainings[name].program), run_name="__main__")
            self.code = 0
        except SystemExit as error:
            log_of(plan, name).write_text(str(error))
            self.code = 1
        finally:
            sys.argv = arguments

    def poll(self) -> int:
        return self.code

    def terminate(self) -> None:
        raise AssertionError("it has ended before it could be asked to")


@pytest.fixture(scope="session")
def in_this_process() -> type[InThisProcess]:
    """What starts a training here; `started` holds the names."""
    return InThisProcess
