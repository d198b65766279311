"""Train a generator of label masks on the masks of a built data set, conditioned on attributes.

    accelerate launch training/train_mask_generator.py --config training/configs/sunnybrook_64_mask_generator.yaml
    accelerate launch training/train_mask_generator.py --data data/acdc --output runs/masks --max-train-minutes 10

Every setting of the YAML file can be given on the command line, which wins; `--help` lists them. To resume after
an interruption, run the same command again. The finished pipeline is `<output>/pipeline`; its `training.json` says
how many masks are refused and whether they are copies. `cmrsynth generate --masks generated` draws from it.
"""

from __future__ import annotations

from cmrsynth.training.mask_generator import MaskGenerator
from cmrsynth.training.mask_generator_config import MaskGeneratorConfig
from cmrsynth.training.program import main

if __name__ == "__main__":
    main(MaskGeneratorConfig, MaskGenerator)
