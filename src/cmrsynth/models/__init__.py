"""Networks that ship with pipelines, one self-contained file each."""

from cmrsynth.models.condition_encoder import ConditionEncoder
from cmrsynth.models.dit_mask import MaskDiT
from cmrsynth.models.unet_mask import MaskUNet
from cmrsynth.models.unet_spade import SpadeUNet

MODELS = {"ConditionEncoder": ConditionEncoder, "MaskUNet": MaskUNet, "SpadeUNet": SpadeUNet, "MaskDiT": MaskDiT}
