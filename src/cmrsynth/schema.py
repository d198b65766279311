"""What one row of a data set is: a 2-D short-axis slice, its mask, and what is known about it.

Built and synthetic data sets share these columns, so anything that reads one reads the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import datasets

PHASES = ("ED", "ES", "other")
SLICE_LEVELS = ("basal", "mid", "apical", "unknown")
UNKNOWN = "unknown"  # value of a text column whose source does not say
ATTRIBUTES = ("pathology", "vendor", "phase", "slice_level")  # columns a generator can be conditioned on
CONDITION_COLUMNS = (*ATTRIBUTES, "centre")  # text columns that may be asked for as conditions
OLDEST_AGE = 90  # in a data set it stands for 90 and more: higher ages single a patient out


class Scalar(NamedTuple):
    """A number known of a patient, the same in all of the patient's rows.

    Args:
        unit: its unit.
        lowest, highest: no patient has less or more.
    """

    unit: str
    lowest: float
    highest: float


SCALARS = {  # columns; None where unknown
    "ejection_fraction": Scalar("%", 0, 100),
    "wall_thickness": Scalar("mm", 1, 50),
    "age": Scalar("years", 0, 120),
    "bmi": Scalar("kg/m2", 8, 100),
}
SHOWN_BY_MASKS = ("pathology", "phase", "slice_level", "ejection_fraction", "wall_thickness")  # anatomy, not looks
PERSONAL_SCALARS = ("age", "bmi")  # quasi-identifiers: they describe the person, and no mask shows them
INTENSITY_MAX = 65535  # images are uint16; 0..65535 stands for intensity 0..1 after preprocessing


def features() -> datasets.Features:
    """Return the `datasets.Features` of a real data set.

    `image` is uint16 (H, W), `mask` is uint8 (H, W) in the label map of `cmrsynth.labels`; `pixel_spacing` is
    (row, column) in mm; `slice_spacing` is the distance between slice centres in mm; `field_strength` is in
    tesla; `SCALARS` are of the patient (`ejection_fraction` in %, `wall_thickness` the mean of the LV's at
    end-diastole in mm, `age` in whole years, 90 for 90 and more, `bmi` in kg/m2). A number that is not known is None,
    a text is "unknown".
    """
    from datasets import Features, Image, List, Value

    return Features(
        {
            "image": Image(),
            "mask": Image(),
            "annotated_labels": List(Value("int8")),
            "patient_id": Value("string"),
            "vendor": Value("string"),
            "centre": Value("string"),
            "pathology": Value("string"),
            "phase": Value("string"),
            "slice_index": Value("int32"),
            "slice_level": Value("string"),
            "frame": Value("int32"),
            "pixel_spacing": List(Value("float32")),
            "slice_spacing": Value("float32"),
            "field_strength": Value("float32"),
            "source": Value("string"),
            **dict.fromkeys(SCALARS, Value("float32")),
        }
    )


def synthetic_features() -> datasets.Features:
    """Return the `datasets.Features` of a synthetic data set: the real ones and how each image was made.

    `patient_id` is the patient whose mask conditioned the image; `mask_row` is that mask's row in its split.
    """
    from datasets import Features, Value

    return Features(
        {
            **features(),
            "mask_row": Value("int32"),
            "replicate": Value("int32"),
            "seed": Value("int64"),
            "num_inference_steps": Value("int32"),
            "solver": Value("string"),
            "guidance_scale": Value("float32"),
            "pipeline_hash": Value("string"),
        }
    )
