"""The project's diffusers pipelines, importable as `cmrsynth.pipelines`.

Each file is also what travels to the Hub beside the weights. Imported from here, `from_pretrained` uses the
installed classes and runs no code from the folder or the Hub.
"""

from cmrsynth.hub.load import local_loading
from cmrsynth.pipelines.pipeline_mask_diffusion import MaskDiffusionPipeline
from cmrsynth.pipelines.pipeline_rectified_flow import RectifiedFlowPipeline

__all__ = ["MaskDiffusionPipeline", "RectifiedFlowPipeline"]

RectifiedFlowPipeline = local_loading(RectifiedFlowPipeline)
MaskDiffusionPipeline = local_loading(MaskDiffusionPipeline)
