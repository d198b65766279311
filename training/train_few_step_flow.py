"""Train a rectified flow that needs few steps, from one that needs many: by shortcuts, or by reflow.

    accelerate launch training/train_rectified_flow.py --config training/configs/sunnybrook_64.yaml
    accelerate launch training/train_few_step_flow.py --config training/configs/sunnybrook_64_few_step.yaml

Every setting of the YAML file can be given on the command line, which wins; `--help` lists them. To resume after
an interruption, run the same command again. The finished pipeline is `<output>/pipeline`; sample it with
`--steps 1`, `2` or `4` of `cmrsynth generate`.
"""

from __future__ import annotations

from cmrsynth.training.few_step import build_few_step
from cmrsynth.training.few_step_config import FewStepConfig
from cmrsynth.training.program import main

if __name__ == "__main__":
    main(FewStepConfig, build_few_step)
