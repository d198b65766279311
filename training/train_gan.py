r"""Train a GAN on a built data set: from masks (SPADE), or without (DCGAN, R3GAN).

    accelerate launch training/train_gan.py --config training/configs/sunnybrook_64_gan_spade.yaml
    accelerate launch training/train_gan.py --architecture r3gan --data data/acdc --output runs/acdc_r3gan \
        --max-train-minutes 30

Every setting of the YAML file can be given on the command line, which wins; `--help` lists them. To resume after
an interruption, run the same command again. The finished pipeline is `<output>/pipeline`; the discriminator stays in
the checkpoints.
"""

from __future__ import annotations

from cmrsynth.training.gan import build_gan
from cmrsynth.training.gan_config import GanConfig
from cmrsynth.training.program import main

if __name__ == "__main__":
    main(GanConfig, build_gan)
