"""Correction of the slowly varying brightness that surface coils leave behind."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cmrsynth.data.intensity import otsu
from cmrsynth.data.study import Study, Volume
from cmrsynth.errors import InputError


@dataclass(frozen=True)
class BiasFieldCorrection:
    """N4 on each volume: estimate a smooth gain field and divide by it.

    The field is estimated on a grid shrunk in the slice plane and over the foreground, never over the mask.
    Foreground is what exceeds half of Otsu's threshold: muscle belongs to it, lung and air do not. The cine is
    left alone: the localiser looks at changes over time. Needs SimpleITK (`pip install "cmrsynth[n4]"`).

    Source: Tustison et al. 2010, IEEE Trans. Med. Imaging 29(6).

    Args:
        shrink: the field is estimated on every `shrink`-th row and column.
        iterations: at each of the fitting levels.
    """

    shrink: int = 4
    iterations: tuple[int, ...] = (50, 50, 30)

    def __post_init__(self) -> None:
        if self.shrink < 1 or not self.iterations or min(self.iterations) < 1:
            raise InputError(
                "bias field", f"shrink {self.shrink}, iterations {self.iterations}", "use positive numbers"
            )

    def __call__(self, study: Study) -> Study:
        """Return the study with corrected images.

        Raises:
            InputError: SimpleITK is not installed.
        """
        return replace(study, volumes=tuple(self._correct(volume, study) for volume in study.volumes))

    def _correct(self, volume: Volume, study: Study) -> Volume:
        itk = _simple_itk()
        # N4 works on logarithms, so no voxel may be zero; a gain multiplies, so zero must stay (nearly) zero.
        floor = min(0.0, float(volume.image.min()))
        lifted = volume.image - floor + 1e-3 * max(float(np.ptp(volume.image)), 1e-6)
        image = itk.GetImageFromArray(lifted.astype(np.float32))
        image.SetSpacing((study.pixel_spacing[1], study.pixel_spacing[0], study.slice_spacing or 10.0))
        if len(lifted) == 1:
            image = image[:, :, 0]
        foreground = itk.BinaryThreshold(image, otsu(lifted) / 2, float(lifted.max()), 1, 0)
        factors = [self.shrink, self.shrink, 1][: image.GetDimension()]
        correction = itk.N4BiasFieldCorrectionImageFilter()
        correction.SetMaximumNumberOfIterations(list(self.iterations))
        # N4 fits cubic splines and needs at least 4 control points per axis.
        correction.SetNumberOfControlPoints([4] * image.GetDimension())
        correction.Execute(itk.Shrink(image, factors), itk.Shrink(foreground, factors))
        gain = np.exp(itk.GetArrayFromImage(correction.GetLogBiasFieldAsImage(image))).reshape(lifted.shape)
        return replace(volume, image=(lifted / gain).astype(np.float32))

    def describe(self) -> dict:
        """Return what is recorded in the card."""
        from importlib.metadata import version

        return {
            "step": "bias_field_correction",
            "method": f"N4, SimpleITK {version('SimpleITK')}",
            "shrink": self.shrink,
            "iterations": list(self.iterations),
        }


def _simple_itk():
    try:
        import SimpleITK
    except ImportError as error:
        raise InputError(
            "--bias-field", "SimpleITK is not installed", 'pip install "cmrsynth[n4]", or use --no-bias-field'
        ) from error
    # One thread: the result must not depend on the machine, and patients are small.
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    return SimpleITK
