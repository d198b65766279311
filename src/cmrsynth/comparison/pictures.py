"""The pictures of a comparison: the same masks and seeds by every family, by steps, and curves with their floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cmrsynth.comparison.result import Comparison, FamilyResult, RowResult
from cmrsynth.comparison.rows import shown_row
from cmrsynth.comparison.sampling import slices_of
from cmrsynth.data.loading import SliceSet, load_slices
from cmrsynth.evaluation.curve_picture import COLOURS, MARKERS
from cmrsynth.evaluation.figure import Picture
from cmrsynth.evaluation.pictures import GREY, STYLE
from cmrsynth.training.sample_grid import outlined

MASKS = 8  # columns of the grid
AXES = {  # of the curves, by figure
    "sliced_wasserstein_finest": "sliced Wasserstein, finest level",
    "two_sample_auc": "two-sample AUC",
    "frechet_distance": "Frechet distance",
    "adherence_dice": "mask adherence, Dice",
}
OUTLINED = "Outlines are those of the mask: LV cavity red, LV myocardium green, RV cavity blue."


def draw_pictures(comparison: Comparison) -> list[Picture]:
    """Draw what the images and figures that are there allow, and return it; files are relative to the output."""
    from matplotlib import rc_context

    folder = comparison.plan.output / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE):
        found = [_families(comparison, folder), _steps(comparison, folder), _step_curves(comparison, folder)]
        found += [_sweep_curves(comparison, sweep.name, folder) for sweep in comparison.plan.sweeps]
    return [picture for picture in found if picture is not None]


def rows_shown(holdout: SliceSet, count: int) -> np.ndarray:
    """Return rows spread over the set, of slices whose masks are not blank."""
    labelled = np.flatnonzero(holdout.masks.any((1, 2)))
    return labelled[np.linspace(0, len(labelled) - 1, min(count, len(labelled))).round().astype(int)]


def _images(comparison: Comparison, each: RowResult, rows: np.ndarray, *, outline: bool) -> np.ndarray:
    """Return (n, H, W, 3) images of a row; image i of every row was made from mask i."""
    images = load_slices(each.row.folder(comparison.plan), "train").select(rows)
    return outlined(images.images, images.masks) if outline else np.repeat(images.images[..., None], 3, axis=-1)


def _families(comparison: Comparison, folder: Path) -> Picture | None:
    holdout = slices_of(comparison.plan, comparison.plan.sampling.masks)
    rows = rows_shown(holdout, MASKS)
    lines = {"real": outlined(holdout.images[rows], holdout.masks[rows])}
    for family in comparison.families:
        sampled = [each for each in family.by_steps if each.speed is not None]
        if not sampled:
            continue
        shown = shown_row(comparison.plan, [*(each.row for each in sampled), *_taught(family)])
        each = next(one for one in sampled if one.row == shown)
        steps = "" if shown.steps is None else f"\nsteps: {shown.steps}"
        lines[family.name.replace("_", " ") + steps] = _images(comparison, each, rows, outline=True)
    if len(lines) == 1:
        return None
    _grid(lines, [""] * len(rows), folder / "families.png")
    return Picture(
        f"{folder.name}/families.png",
        "overview",
        "All families, the same masks and seeds",
        f"One mask per column, the held-out real slice of that mask above. {OUTLINED} Models without masks show no "
        "outlines.",
    )


def _taught(family: FamilyResult) -> list:
    return [family.taught.row] if family.taught else []


def _steps(comparison: Comparison, folder: Path) -> Picture | None:
    """Families that sample in steps: two masks, each at all numbers of steps."""
    holdout = slices_of(comparison.plan, comparison.plan.sampling.masks)
    rows, lines = rows_shown(holdout, 4)[1:3], {}
    steps = sorted(set(comparison.plan.sampling.steps))
    for family in comparison.families:
        sampled = {each.row.steps: each for each in family.by_steps if each.speed is not None and each.row.steps}
        if not sampled:
            continue
        blank = np.ones((len(rows), *holdout.images.shape[1:], 3), np.float32)
        by_steps = [_images(comparison, sampled[n], rows, outline=False) if n in sampled else blank for n in steps]
        real = np.repeat(holdout.images[rows][..., None], 3, axis=-1)
        lines[family.name.replace("_", " ")] = np.stack([*by_steps, real], 1).reshape(-1, *blank.shape[1:])
    if not lines:
        return None
    _grid(lines, [*(f"{n} steps" if n > 1 else "1 step" for n in steps), "real"] * len(rows), folder / "steps.png")
    return Picture(
        f"{folder.name}/steps.png",
        "overview",
        "Few steps and many",
        "Two masks, each sampled with rising numbers of steps from the same noise, and the held-out real slice.",
    )


def _grid(lines: Mapping[str, np.ndarray], columns: Sequence[str], path: Path) -> None:
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(1.5 + 0.95 * len(columns), 0.98 * len(lines) + 0.2), layout="constrained")
    axes = canvas.subplots(len(lines), len(columns), squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.02})
    for line, (name, images) in zip(axes, lines.items(), strict=True):
        for ax, image in zip(line, images, strict=True):
            ax.imshow(image, vmin=0, vmax=1, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            for spine in ax.spines.values():
                spine.set_visible(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    for ax, title in zip(axes[0], columns, strict=True):
        ax.set_title(title, loc="center", fontsize=8)
    _save(canvas, path)


def _step_curves(comparison: Comparison, folder: Path) -> Picture | None:
    lines = {f.name: [(each.row.steps, each) for each in f.by_steps if each.row.steps] for f in comparison.families}
    names = ("sliced_wasserstein_finest", "two_sample_auc", "adherence_dice")
    if not _curves(lines, names, "sampling steps", folder / "steps-curves.png", logarithmic=True):
        return None
    return Picture(
        f"{folder.name}/steps-curves.png",
        "fidelity",
        "Texture and adherence against steps",
        "The grey band is the 95 % interval of real patients, the line their value.",
    )


def _sweep_curves(comparison: Comparison, name: str, folder: Path) -> Picture | None:
    sweep = next(sweep for sweep in comparison.plan.sweeps if sweep.name == name)
    lines = {f.name: [(each.row.sweep[1], each) for each in f.swept(name)] for f in comparison.families}
    names = ("adherence_dice", "sliced_wasserstein_finest", "frechet_distance")
    if not _curves(lines, names, sweep.option.replace("_", " "), folder / f"{name}.png", logarithmic=False):
        return None
    return Picture(
        f"{folder.name}/{name}.png",
        "fidelity",
        f"Adherence and fidelity against {sweep.option.replace('_', ' ')}",
        f"Sampling steps: {sweep.steps}. The grey band is the 95 % interval of real patients, the line their value.",
    )


def _curves(
    lines: Mapping[str, Sequence[tuple[float, RowResult]]],
    names: Sequence[str],
    label: str,
    path: Path,
    *,
    logarithmic: bool,
) -> bool:
    """Draw figures against a number, one line per family, with their floors; False where there is nothing to draw."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(3.4 * len(names) + 1.8, 3.2), layout="constrained")
    drawn: dict[str, object] = {}
    for ax, name in zip(canvas.subplots(1, len(names)), names, strict=True):
        floor = None
        for place, (family, points) in enumerate(lines.items()):
            known = [(x, each.figures[name]) for x, each in points if name in each.figures]
            known = [(x, figure) for x, figure in known if figure.value is not None]
            if not known:
                continue
            style = {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place // len(COLOURS) % len(MARKERS)]}
            (line,) = ax.plot(*zip(*((x, f.value) for x, f in known), strict=True), ms=4, lw=1.2, **style)
            drawn[family.replace("_", " ")] = line
            floor = floor or known[0][1]
        if floor is not None and floor.floor is not None:
            ax.axhline(floor.floor, color=GREY, lw=1)
            if floor.floor_interval:
                ax.axhspan(*floor.floor_interval, color=GREY, alpha=0.18, lw=0)
        ax.set(xlabel=label, title=AXES[name])
        if logarithmic:
            ticks = sorted({x for points in lines.values() for x, _ in points})
            ax.set_xscale("log")
            ax.set_xticks(ticks, [str(x) for x in ticks], minor=False)
            ax.minorticks_off()
    if not drawn:
        return False
    canvas.legend(drawn.values(), drawn.keys(), loc="outside right center", fontsize=8)
    _save(canvas, path)
    return True


def _save(canvas: object, path: Path) -> None:
    partial = path.with_suffix(".partial")
    canvas.savefig(partial, format="png", dpi=130, metadata={"Software": None})
    partial.replace(path)
