"""Train a diffusion model on a built data set, conditioned on masks and attributes or unconditional.

    accelerate launch training/train_diffusion.py --config training/configs/sunnybrook_64_diffusion.yaml
    accelerate launch training/train_diffusion.py --data data/acdc --output runs/ddpm --max-train-minutes 30

Settings, resuming and several processes are as in `train_rectified_flow.py`; the finished pipeline is
`<output>/pipeline`. It samples by DDIM, and by DDPM, DPM-Solver or UniPC with `--solver` of `cmrsynth generate`.
"""

from __future__ import annotations

from cmrsynth.training.diffusion import Diffusion
from cmrsynth.training.diffusion_config import DiffusionConfig
from cmrsynth.training.program import main

if __name__ == "__main__":
    main(DiffusionConfig, Diffusion)
