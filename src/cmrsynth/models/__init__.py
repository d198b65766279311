"""Networks that ship with pipelines, one self-contained file each."""

from cmrsynth.models.unet_mask import MaskUNet

MODELS = {"MaskUNet": MaskUNet}
