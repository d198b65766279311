"""Train a rectified flow in the latent space of a trained autoencoder.

    accelerate launch training/train_latent_flow.py --config training/configs/sunnybrook_64_latent_flow.yaml

Every setting of the YAML file can be given on the command line, which wins; `--help` lists them. To resume after
an interruption, run the same command again. The finished pipeline is `<output>/pipeline`.
"""

from __future__ import annotations

from cmrsynth.training.latent import LatentFlow
from cmrsynth.training.latent_config import LatentFlowConfig
from cmrsynth.training.program import main

if __name__ == "__main__":
    main(LatentFlowConfig, LatentFlow)
