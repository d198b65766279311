"""What an autoencoder loses: the ceiling of everything that is generated in its latent space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cmrsynth.errors import InputError
from cmrsynth.evaluation.encoder import Encoder
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, Figure
from cmrsynth.evaluation.floors import Interval, Measured, cut, finite
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.texture import few_patients
from cmrsynth.evaluation.verdict import Judgement
from cmrsynth.metrics.frechet import frechet_distance
from cmrsynth.metrics.intervals import bootstrap_patients, paired_bootstrap
from cmrsynth.metrics.paired import LPIPS_SMALLEST, WINDOW, lpips, ms_ssim, ms_ssim_scales, psnr, ssim
from cmrsynth.seeds import derive_seed

QUANTISED_DB = float(10 * np.log10(12 * 255**2))  # PSNR of rounding to 8 bits; a closer match cannot be seen
FREE, COSTLY = 0.1, 0.5  # rFID, as a share of the distance between halves of the real patients


@dataclass(frozen=True)
class Similarity:
    """A figure of image pairs: key, title, unit, what a perfect copy reaches, and from where it is called good.

    That limit is a convention, not evidence about hearts; so these figures never say more than "look closer", and
    rFID, which is held against real patients, leads.
    """

    name: str
    title: str
    unit: str
    perfect: float
    good: float

    @property
    def falls(self) -> bool:
        """Whether smaller is closer."""
        return self.perfect < self.good


PSNR = Similarity("reconstruction_psnr", "Reconstruction: PSNR", "dB", QUANTISED_DB, 30.0)
SSIM = Similarity("reconstruction_ssim", "Reconstruction: SSIM", "", 1.0, 0.9)
HEART_SSIM = Similarity("reconstruction_ssim_heart", "Reconstruction: SSIM in the heart", "", 1.0, 0.9)
MS_SSIM = Similarity("reconstruction_ms_ssim", "Reconstruction: MS-SSIM", "", 1.0, 0.95)
LPIPS = Similarity("reconstruction_lpips", "Reconstruction: LPIPS (AlexNet)", "", 0.0, 0.1)


def reconstruction_figures(
    images: np.ndarray,
    reconstructions: np.ndarray,
    patient_id: np.ndarray,
    masks: np.ndarray,
    encoder: Encoder,
    settings: EvaluationSettings,
) -> list[Figure]:
    """Return rFID, PSNR, SSIM (whole image and heart), MS-SSIM and LPIPS of an autoencoder's reconstructions.

    Every interval is over patients. The floor of the pairwise figures is a perfect copy; that of rFID, whose perfect
    value is 0, is the distance between two halves of the real patients.

    Args:
        images: (N, H, W) float in [0, 1], of patients the autoencoder was not trained on.
        reconstructions: (N, H, W) float in [0, 1]; image i is the reconstruction of image i.
        patient_id: (N,) the patient of each.
        masks: (N, H, W) labels, 0 is background.
        encoder: what makes the features for rFID.
        settings: seed and resamples.

    Raises:
        InputError: the sets do not belong together or hold values outside [0, 1].
    """
    _check(images, reconstructions, patient_id, masks)
    n = {"images": len(images), "patients": len(np.unique(patient_id))}
    figures = [_rfid(encoder(images), encoder(reconstructions), patient_id, encoder, settings, n)]
    window, scales = f"Gaussian window of {WINDOW} pixels", ms_ssim_scales(*images.shape[1:])
    for kind, values, made_with in (
        (PSNR, np.minimum(psnr(images, reconstructions), QUANTISED_DB), "peak 1, at most that of 8-bit rounding"),
        (SSIM, ssim(images, reconstructions), window),
        (HEART_SSIM, ssim(images, reconstructions, roi=masks > 0), f"{window}, averaged inside the mask"),
        (MS_SSIM, ms_ssim(images, reconstructions), f"{scales} scales, weights scaled to sum to 1"),
    ):
        figures.append(_paired(kind, values, patient_id, settings, made_with))
    return [*figures, _perceptual(images, reconstructions, patient_id, settings)]


def _perceptual(
    images: np.ndarray, reconstructions: np.ndarray, patient_id: np.ndarray, settings: EvaluationSettings
) -> Figure:
    n = {"images": len(images), "patients": len(np.unique(patient_id))}
    if min(images.shape[1:]) < LPIPS_SMALLEST:
        why = f"The network needs images of {LPIPS_SMALLEST} pixels; these are smaller."
        return not_computed("fidelity", LPIPS.name, LPIPS.title, why, n, "")
    try:
        values = lpips(images, reconstructions)
    except (ImportError, OSError) as error:  # OSError: the weights cannot be downloaded
        return not_computed("fidelity", LPIPS.name, LPIPS.title, f"Not available here: {error}.", n, "")
    return _paired(LPIPS, values, patient_id, settings, "AlexNet of torchvision, trained on photographs")


def _paired(
    kind: Similarity,
    values: np.ndarray,
    patient_id: np.ndarray,
    settings: EvaluationSettings,
    made_with: str,
) -> Figure:
    defined = np.isfinite(values)  # NaN where a slice shows no heart
    shown = np.unique(patient_id[defined])
    by_patient = np.array([values[defined & (patient_id == patient)].mean() for patient in shown])
    n = {"images": int(defined.sum()), "patients": len(shown)}
    if not len(shown):
        return not_computed("fidelity", kind.name, kind.title, "No slice shows a heart in its mask.", n, made_with)
    value = float(by_patient.mean())
    interval = finite(paired_bootstrap(by_patient, resamples=settings.resamples, seed=settings.seed))
    bounds = (kind.perfect, np.inf) if kind.falls else (-np.inf, kind.perfect)
    measured = Measured(value, cut(interval, bounds), kind.perfect, None)
    amount = f"{value:.1f} dB" if kind.unit else f"{value:.3f}"
    return judged(
        "fidelity",
        kind.name,
        kind.title,
        measured,
        _judge_similarity(kind, measured),
        f"Reconstructions reach {amount}; a perfect copy reaches {kind.perfect:.4g}. Nothing generated through this "
        f"autoencoder can be sharper.{few_patients(len(shown))}",
        n=n,
        made_with=made_with,
        unit=kind.unit,
        better="lower" if kind.falls else "higher",
        details={"worst_5_percent": float(np.quantile(values[defined], 0.95 if kind.falls else 0.05))},
    )


def _rfid(
    real: np.ndarray,
    rebuilt: np.ndarray,
    patient_id: np.ndarray,
    encoder: Encoder,
    settings: EvaluationSettings,
    n: dict[str, int],
) -> Figure:
    def of_pairs(rows: np.ndarray) -> float:  # both members of a pair come and go together
        return frechet_distance(rebuilt[rows], real[rows])

    resamples = max(20, settings.resamples // (5 if encoder.dimensions <= 256 else 50))
    interval = finite(bootstrap_patients(of_pairs, [patient_id], resamples=resamples, seed=settings.seed))
    floor, floor_interval = _between_patients(real, patient_id, settings)
    measured = Measured(of_pairs(np.arange(len(real))), cut(interval, (0, np.inf)), floor, floor_interval)
    few = (
        f" With {len(real)} images in {encoder.dimensions} dimensions the spread of patients is mostly sampling error."
        if len(real) <= 2 * encoder.dimensions
        else ""
    )
    return judged(
        "fidelity",
        "reconstruction_frechet",
        f"Reconstruction: Frechet distance, rFID ({encoder.name})",
        measured,
        judge_rfid(measured),
        f"Reconstruction moves the images by {measured.value:.3g} in features, against {floor:.3g} between two halves "
        f"of the real patients; a perfect copy moves them by 0.{few}{few_patients(n['patients'])}",
        n=n,
        made_with=encoder.made_with,
        headline=True,
        details={"encoder": encoder.name, "dimensions": encoder.dimensions, "resamples": resamples, "identity": 0.0},
    )


def _between_patients(
    real: np.ndarray, patient_id: np.ndarray, settings: EvaluationSettings
) -> tuple[float, Interval | None]:
    """Return the mean Frechet distance between random halves of the patients, and the spread of the halves."""
    patients, rng = np.unique(patient_id), np.random.default_rng(derive_seed(settings.seed, "halves of patients"))
    found = []
    for _ in range(max(2, settings.floor_draws)):
        first = np.isin(patient_id, rng.permutation(patients)[: len(patients) // 2])
        found.append(frechet_distance(real[first], real[~first]))
    return float(np.mean(found)), (float(np.min(found)), float(np.max(found)))


def judge_rfid(measured: Measured) -> Judgement:
    """Judge what a reconstruction costs, against how far real patients lie apart.

    >>> judge_rfid(Measured(0.1, (0.05, 0.2), 2.0, (1.5, 2.5))).verdict
    'good'
    """
    good, poor = FREE * measured.floor, COSTLY * measured.floor
    rule = (
        f"good up to {FREE:g} times the distance between halves of the real patients ({good:.4g}), do not share above "
        f"{COSTLY:g} times ({poor:.4g}) if the interval stays above the first bound"
    )
    low = measured.interval[0] if measured.interval else measured.value
    if measured.value <= good:
        return Judgement(GOOD, rule)
    return Judgement(DO_NOT_SHARE if measured.value > poor and low > good else LOOK, rule)


def _judge_similarity(kind: Similarity, measured: Measured) -> Judgement:
    unit = f" {kind.unit}" if kind.unit else ""
    if kind.falls:
        rule = f"good up to {kind.good:g}{unit}, by convention; look closer above"
        return Judgement(GOOD if measured.value <= kind.good else LOOK, rule)
    rule = f"good from {kind.good:g}{unit}, by convention; look closer below"
    return Judgement(GOOD if measured.value >= kind.good else LOOK, rule)


def _check(images: np.ndarray, reconstructions: np.ndarray, patient_id: np.ndarray, masks: np.ndarray) -> None:
    if images.ndim != 3 or not images.shape == reconstructions.shape == masks.shape or len(patient_id) != len(images):
        raise InputError(
            "reconstructions",
            f"images {images.shape}, reconstructions {reconstructions.shape}, masks {masks.shape} and "
            f"{len(patient_id)} patients do not belong together",
            "give one reconstruction, mask and patient per image",
        )
    _, slices = np.unique(patient_id, return_counts=True)
    if slices.min() * (len(slices) // 2) < 2 or min(images.shape[1:]) < WINDOW:
        raise InputError(
            "reconstructions",
            f"{len(images)} images of {images.shape[1:]} pixels and {len(slices)} patients are too few or too small",
            f"give at least two patients with two images each, of at least {WINDOW} pixels",
        )
    for name, each in (("images", images), ("reconstructions", reconstructions)):
        if not (each.dtype.kind == "f" and each.min() >= 0 and each.max() <= 1):
            raise InputError(
                name, "hold values outside [0, 1], NaN or integers", "scale them, clip the decoder's output"
            )
