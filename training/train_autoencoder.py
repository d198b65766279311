"""Train an autoencoder whose latents a flow or diffusion can live in.

    accelerate launch training/train_autoencoder.py --config training/configs/sunnybrook_64_autoencoder.yaml

Every setting of the YAML file can be given on the command line, which wins; `--help` lists them. To resume after
an interruption, run the same command again. The finished pipeline is `<output>/pipeline`.
"""

from __future__ import annotations

from cmrsynth.training.autoencoder import Autoencoder
from cmrsynth.training.autoencoder_config import AutoencoderConfig
from cmrsynth.training.program import main

if __name__ == "__main__":
    main(AutoencoderConfig, Autoencoder)
