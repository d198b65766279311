"""Train a variational autoencoder of slices, conditioned on masks and attributes or unconditional.

    accelerate launch training/train_vae.py --config training/configs/sunnybrook_64_vae.yaml
    accelerate launch training/train_vae.py --data data/acdc --output runs/acdc-vae --max-train-minutes 30

Every setting of the YAML file can be given on the command line, which wins; `--help` lists them. To resume after
an interruption, run the same command again. The finished pipeline is `<output>/pipeline`.
"""

from __future__ import annotations

from cmrsynth.training.program import main
from cmrsynth.training.vae import ConditionalVae
from cmrsynth.training.vae_config import VaeConfig

if __name__ == "__main__":
    main(VaeConfig, ConditionalVae)
