"""Train a rectified flow on a built data set, conditioned on masks and attributes or unconditional.

    accelerate launch training/train_rectified_flow.py --config training/configs/sunnybrook_64.yaml
    accelerate launch training/train_rectified_flow.py --data data/acdc --output runs/acdc --max-train-minutes 30

Every setting of the YAML file can be given on the command line, which wins; `--help` lists them. To resume after
an interruption, run the same command again. The finished pipeline is `<output>/pipeline`.

Several GPUs: `accelerate launch --multi_gpu --num_processes 4 ...`. Two processes on a CPU:
`ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 --num_machines 1 ...`.
"""

from __future__ import annotations

from cmrsynth.training.config import RectifiedFlowConfig
from cmrsynth.training.program import main
from cmrsynth.training.rectified_flow import RectifiedFlow

if __name__ == "__main__":
    main(RectifiedFlowConfig, RectifiedFlow)
