"""The pictures of an evaluation: PNG files in one style, readable without colour vision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.distances import Distances
from cmrsynth.evaluation.figure import Evaluation, Figure, Picture
from cmrsynth.labels import LV, MYO, RV
from cmrsynth.seeds import derive_seed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

REAL, SYNTHETIC, BOTH, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"  # Okabe and Ito 2008
OUTLINES = {RV: "#CC79A7", MYO: "#56B4E9", LV: "#F0E442"}  # drawn in this order: the cavity over the wall's inner edge
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.facecolor": "white",
}
ANATOMY_TITLES = {
    "anatomy_lv_area_mm2": "LV cavity area (mm²)",
    "anatomy_lv_myo_ratio": "LV cavity / myocardium area",
    "anatomy_rv_lv_ratio": "RV / LV cavity area",
    "anatomy_wall_thickness_mm": "Wall thickness (mm)",
}
CAPTIONS = {  # axis, title, caption
    "grid": (
        "overview",
        "Real and synthetic slices",
        "Held-out real slices (top rows) and synthetic slices (bottom rows) with the outlines of their masks: "
        "LV cavity yellow, LV myocardium light blue, RV cavity pink. Where a synthetic slice was made from a mask of "
        "these data, the real slice of that mask stands above it.",
    ),
    "closest_pairs": (
        "privacy",
        "The synthetic images closest to a training image",
        "Each synthetic image (top) above its nearest training image, with their distance (0: a copy up to flip, "
        "shift, gain and offset). Right: the closest pair that a held-out and a training patient form.",
    ),
    "distance_to_training": (
        "privacy",
        "Distance to the closest training image",
        "Synthetic images should be as far from training as held-out patients are; mass at the left means copies.",
    ),
    "anatomy": (
        "fidelity",
        "Anatomy of re-segmented images",
        "Distribution of measures in held-out and synthetic images, both segmented by the same network.",
    ),
    "texture": (
        "fidelity",
        "Texture by scale",
        "Left: sliced Wasserstein distance to held-out patients at each scale, beside what real training patients "
        "get. Right: log-ratio of the power spectra (below 0: too little detail).",
    ),
    "utility": (
        "utility",
        "Dice on held-out patients by training data",
        "Mean over patients with its 95 % interval; one dot is one patient.",
    ),
    "membership": (
        "privacy",
        "Membership attack",
        "Share of training patients found against share of others accused. The diagonal is chance.",
    ),
}


def draw_pictures(
    train: SliceSet, holdout: SliceSet, synthetic: SliceSet, evaluation: Evaluation, pixels: Distances, folder: Path
) -> tuple[Picture, ...]:
    """Draw all pictures into `folder` and return what they show.

    Args:
        train: the real training slices.
        holdout: the held-out slices.
        synthetic: the synthetic slices.
        evaluation: the figures to draw; its own `pictures` are not read.
        pixels: aligned pixel distances, for the closest pairs.
        folder: created if need be; `Picture.file` is relative to its parent.
    """
    figures = {figure.name: figure for figure in evaluation.figures}
    drawings: dict[str, Callable[[], Canvas | None]] = {
        "grid": lambda: _grid(train, holdout, synthetic),
        "closest_pairs": lambda: _closest_pairs(train, holdout, synthetic, pixels),
        "distance_to_training": lambda: _distance_histogram(pixels),
        "anatomy": lambda: _anatomy(figures),
        "texture": lambda: _texture(figures),
        "utility": lambda: _utility(figures),
        "membership": lambda: _membership(figures),
    }
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    for name, draw in drawings.items():
        canvas = in_style(draw)
        if canvas is not None:
            write_canvas(canvas, folder / f"{name}.png")
            pictures.append(Picture(f"{folder.name}/{name}.png", *CAPTIONS[name]))
    return tuple(pictures)


def in_style(draw: Callable[[], Canvas | None]) -> Canvas | None:
    """Return what `draw` draws, in the style of all pictures."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        return draw()


def write_canvas(canvas: Canvas, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    partial = path.with_suffix(".partial")
    canvas.savefig(partial, format="png", dpi=130, bbox_inches="tight")
    partial.replace(path)


def canvas_of(rows: int, columns: int, width: float, height: float) -> tuple[Canvas, np.ndarray]:
    """Return a figure that belongs to no global state, and its axes (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(canvas)
    return canvas, canvas.subplots(rows, columns, squeeze=False)


def show_slice(axes: Axes, image: np.ndarray, mask: np.ndarray | None = None) -> None:
    """Draw an image (H, W) in [0, 1] without frame, with the outlines of its mask."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for label, colour in OUTLINES.items():
        if mask is not None and (mask == label).any() and not (mask == label).all():
            axes.contour(mask == label, levels=[0.5], colors=colour, linewidths=0.9)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _grid(train: SliceSet, holdout: SliceSet, synthetic: SliceSet) -> Canvas:
    """Two rows of real and two rows of synthetic slices, each plain and with outlines; same masks if they are known."""
    rng = np.random.default_rng(derive_seed(0, "grid"))
    chosen = np.sort(rng.permutation(len(synthetic))[:8])
    partners = [_same_mask(synthetic, row, (holdout, train)) for row in chosen]
    spare = rng.permutation(len(holdout))
    canvas, axes = canvas_of(4, len(chosen), 1.25 * len(chosen), 5.2)
    for column, (row, partner) in enumerate(zip(chosen, partners, strict=True)):
        source, index = partner or (holdout, spare[column % len(spare)])
        show_slice(axes[0, column], source.images[index])
        show_slice(axes[1, column], source.images[index], source.masks[index])
        show_slice(axes[2, column], synthetic.images[row])
        show_slice(axes[3, column], synthetic.images[row], synthetic.masks[row])
    for row, name in enumerate(("real", "real, mask", "synthetic", "synthetic, mask")):
        axes[row, 0].set_ylabel(name)
    return canvas


def _same_mask(synthetic: SliceSet, row: int, sources: tuple[SliceSet, ...]) -> tuple[SliceSet, int] | None:
    for source in sources:
        own = np.flatnonzero(source.patient_id == synthetic.patient_id[row])
        same = [i for i in own if np.array_equal(source.masks[i], synthetic.masks[row])]
        if same:
            return source, int(same[0])
    return None


def _closest_pairs(train: SliceSet, holdout: SliceSet, synthetic: SliceSet, pixels: Distances) -> Canvas:
    closest = pixels.synthetic_train.min(1)
    rows = np.argsort(closest)[:6]
    canvas, axes = canvas_of(2, len(rows) + 1, 1.35 * (len(rows) + 1), 3.1)
    for column, row in enumerate(rows):
        nearest = int(pixels.synthetic_train[row].argmin())
        show_slice(axes[0, column], synthetic.images[row])
        show_slice(axes[1, column], train.images[nearest])
        axes[0, column].set_title(f"{closest[row]:.3f}", loc="center")
    real = int(pixels.holdout_train.min(1).argmin())
    show_slice(axes[0, -1], holdout.images[real])
    show_slice(axes[1, -1], train.images[int(pixels.holdout_train[real].argmin())])
    axes[0, -1].set_title(f"real pair {pixels.holdout_train[real].min():.3f}", loc="center", color=REAL)
    axes[0, 0].set_ylabel("synthetic")
    axes[1, 0].set_ylabel("training")
    return canvas


def _distance_histogram(pixels: Distances) -> Canvas:
    canvas, axes = canvas_of(1, 1, 7.0, 2.8)
    closest, reference = pixels.synthetic_train.min(1), pixels.holdout_train.min(1)
    bins = np.linspace(0, max(closest.max(), reference.max()) * 1.02, 31)
    ax = axes[0, 0]
    ax.hist(reference, bins, density=True, color=REAL, alpha=0.5, label="held-out patients")
    ax.hist(closest, bins, density=True, histtype="step", linewidth=1.8, color=SYNTHETIC, label="synthetic")
    ax.axvline(float(np.quantile(reference, 0.05)), color=GREY, linestyle=":", label="5 % of held-out images lie left")
    ax.set_xlabel("1 - correlation with the closest training image")
    ax.set_ylabel("density")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return canvas


def _anatomy(figures: dict[str, Figure]) -> Canvas | None:
    known = [name for name in ANATOMY_TITLES if name in figures and figures[name].value is not None]
    if not known:
        return None
    canvas, axes = canvas_of(1, len(known), 3.1 * len(known), 2.6)
    for ax, name in zip(axes[0], known, strict=True):
        details = figures[name].details
        real, synthetic = np.array(details["holdout"]), np.array(details["synthetic"])
        bins = np.linspace(*np.quantile(np.concatenate([real, synthetic]), [0.005, 0.995]), 21)
        ax.hist(np.clip(real, bins[0], bins[-1]), bins, density=True, color=REAL, alpha=0.5, label="held-out")
        ax.hist(
            np.clip(synthetic, bins[0], bins[-1]),
            bins,
            density=True,
            histtype="step",
            linewidth=1.8,
            color=SYNTHETIC,
            label="synthetic",
        )
        ax.set_title(ANATOMY_TITLES[name])
        ax.set_yticks([])
    axes[0, 0].legend()
    return canvas


def _texture(figures: dict[str, Figure]) -> Canvas:
    canvas, axes = canvas_of(1, 2, 8.0, 2.8)
    details = figures["sliced_wasserstein_finest"].details
    levels = list(details["levels"])
    place = np.arange(len(levels))
    axes[0, 0].bar(place - 0.2, [details["floor_levels"][k] for k in levels], 0.4, color=REAL, label="real (floor)")
    axes[0, 0].bar(
        place + 0.2, [details["levels"][k] for k in levels], 0.4, color=SYNTHETIC, hatch="//", label="synthetic"
    )
    names = ["finest", *[f"level {i}" for i in place[1:-1]], "coarsest"][: len(levels)]
    axes[0, 0].set_xticks(place, names)
    axes[0, 0].set_title("Sliced Wasserstein distance (10³)")
    axes[0, 0].legend()
    ratio = figures["spectrum_distance"].details["log_ratio"]
    axes[0, 1].plot(np.arange(1, len(ratio) + 1), ratio, color=SYNTHETIC)
    axes[0, 1].axhline(0, color=REAL, linestyle="--")
    axes[0, 1].set_xlabel("spatial frequency (cycles per image)")
    axes[0, 1].set_title("Log-ratio of power, synthetic to real")
    return canvas


def _utility(figures: dict[str, Figure]) -> Canvas:
    canvas, axes = canvas_of(1, 1, 5.0, 3.0)
    ax, arms = axes[0, 0], (("real", REAL), ("synthetic", SYNTHETIC), ("both", BOTH))
    rng = np.random.default_rng(derive_seed(0, "jitter"))
    for place, (arm, colour) in enumerate(arms):
        figure = figures[f"dice_{arm}"]
        ax.bar(place, figure.value, 0.6, color=colour, alpha=0.45)
        dots = [d for d in figure.details["per_patient"] if d is not None]
        ax.scatter(place + rng.uniform(-0.18, 0.18, len(dots)), dots, s=12, color=colour, zorder=3)
        if figure.interval:
            ax.vlines(place, *figure.interval, color="black", linewidth=2, zorder=4)
        ax.text(place + 0.32, figure.value, f"{figure.value:.3f}", va="center")
    ax.set_xticks(range(3), ["real", "synthetic", "real + synthetic"])
    ax.set_ylim(0, 1)
    ax.set_ylabel("Dice on held-out patients")
    return canvas


def _membership(figures: dict[str, Figure]) -> Canvas | None:
    details = figures["membership_auc"].details
    if "member_scores" not in details:
        return None
    member, other = np.array(details["member_scores"]), np.array(details["nonmember_scores"])
    thresholds = np.concatenate([[np.inf], np.sort(np.concatenate([member, other]))[::-1]])
    canvas, axes = canvas_of(1, 1, 3.4, 3.2)
    ax = axes[0, 0]
    ax.plot([0, 1], [0, 1], color=GREY, linestyle=":")
    ax.step(
        [(other >= t).mean() for t in thresholds],
        [(member >= t).mean() for t in thresholds],
        where="post",
        color=SYNTHETIC,
    )
    ax.set_title(f"AUC {details['auc']:.2f}   without the model {details['blind_auc']:.2f}")
    ax.set_xlabel("share of held-out patients accused")
    ax.set_ylabel("share of training patients found")
    return canvas
