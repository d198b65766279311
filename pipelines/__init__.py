"""The project's diffusers pipelines, importable as `cmrsynth.pipelines`.

Each file is also what travels to the Hub beside the weights. Imported from here, `from_pretrained` uses the
installed classes and runs no code from the folder or the Hub.
"""

from cmrsynth.hub.load import local_loading
from cmrsynth.pipelines.pipeline_autoencoder import AutoencoderPipeline
from cmrsynth.pipelines.pipeline_gan import GanPipeline
from cmrsynth.pipelines.pipeline_mask_diffusion import MaskDiffusionPipeline
from cmrsynth.pipelines.pipeline_mask_generator import MaskGeneratorPipeline
from cmrsynth.pipelines.pipeline_rectified_flow import RectifiedFlowPipeline
from cmrsynth.pipelines.pipeline_spade_gan import SpadeGanPipeline
from cmrsynth.pipelines.pipeline_vae import VaePipeline

__all__ = [
    "AutoencoderPipeline",
    "GanPipeline",
    "MaskDiffusionPipeline",
    "MaskGeneratorPipeline",
    "RectifiedFlowPipeline",
    "SpadeGanPipeline",
    "VaePipeline",
]

RectifiedFlowPipeline = local_loading(RectifiedFlowPipeline)
MaskDiffusionPipeline = local_loading(MaskDiffusionPipeline)
VaePipeline = local_loading(VaePipeline)
GanPipeline = local_loading(GanPipeline)
SpadeGanPipeline = local_loading(SpadeGanPipeline)
AutoencoderPipeline = local_loading(AutoencoderPipeline)
MaskGeneratorPipeline = local_loading(MaskGeneratorPipeline)
