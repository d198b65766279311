"""Networks that ship with pipelines, one self-contained file each."""

from cmrsynth.models.condition_encoder import ConditionEncoder
from cmrsynth.models.unet_mask import MaskUNet

MODELS = {"ConditionEncoder": ConditionEncoder, "MaskUNet": MaskUNet}
