"""Train a ControlNet: it gives the mask to a flow or diffusion that was trained without one.

    accelerate launch training/train_rectified_flow.py --config training/configs/sunnybrook_64_controlnet_base.yaml
    accelerate launch training/train_controlnet.py --config training/configs/sunnybrook_64_controlnet.yaml

Every setting of the YAML file can be given on the command line, which wins; `--help` lists them. To resume after
an interruption, run the same command again. The finished pipeline, base included, is `<output>/pipeline`.
"""

from __future__ import annotations

from cmrsynth.training.controlnet import ControlNet
from cmrsynth.training.controlnet_config import ControlNetConfig
from cmrsynth.training.program import main

if __name__ == "__main__":
    main(ControlNetConfig, ControlNet)
