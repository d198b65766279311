"""Networks that ship with pipelines, one self-contained file each."""

from cmrsynth.models.condition_encoder import ConditionEncoder
from cmrsynth.models.controlnet_mask import MaskControlNet
from cmrsynth.models.dit_mask import MaskDiT
from cmrsynth.models.duration_encoder import DurationEncoder
from cmrsynth.models.generator_dcgan import DcganGenerator
from cmrsynth.models.generator_residual import ResidualGenerator
from cmrsynth.models.generator_spade import SpadeGenerator
from cmrsynth.models.style_encoder import StyleEncoder
from cmrsynth.models.unet_mask import MaskUNet
from cmrsynth.models.unet_spade import SpadeUNet
from cmrsynth.models.vae_cardiac import CardiacVAE
from cmrsynth.models.vae_mask import MaskVAE

MODELS = {
    "ConditionEncoder": ConditionEncoder,
    "DurationEncoder": DurationEncoder,
    "MaskUNet": MaskUNet,
    "SpadeUNet": SpadeUNet,
    "MaskDiT": MaskDiT,
    "MaskControlNet": MaskControlNet,
    "SpadeGenerator": SpadeGenerator,
    "StyleEncoder": StyleEncoder,
    "DcganGenerator": DcganGenerator,
    "ResidualGenerator": ResidualGenerator,
    "CardiacVAE": CardiacVAE,
    "MaskVAE": MaskVAE,
}
