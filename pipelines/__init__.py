"""The project's diffusers pipelines, importable as `cmrsynth.pipelines`.

Each file is also what travels to the Hub beside the weights. Imported from here, `from_pretrained` uses the
installed classes and runs no code from the folder or the Hub; `save_pretrained` and `push_to_hub` put the code there
for those who have nothing installed.
"""

from cmrsynth.hub.export import portable_saving
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

RectifiedFlowPipeline = local_loading(portable_saving(RectifiedFlowPipeline))
MaskDiffusionPipeline = local_loading(portable_saving(MaskDiffusionPipeline))
VaePipeline = local_loading(portable_saving(VaePipeline))
GanPipeline = local_loading(portable_saving(GanPipeline))
SpadeGanPipeline = local_loading(portable_saving(SpadeGanPipeline))
AutoencoderPipeline = local_loading(portable_saving(AutoencoderPipeline))
MaskGeneratorPipeline = local_loading(portable_saving(MaskGeneratorPipeline))
