"""What a training measured on patients it did not learn from, in the words of a card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cmrsynth.data.card import markdown_table


def measured(training: Mapping[str, Any]) -> str:
    """Return the figures in `training.json` as Markdown, "" where there are none.

    Args:
        training: may hold "reconstruction" (autoencoders), "masks" (mask generators) and "base" (ControlNets).
    """
    parts = {"reconstruction": _reconstruction, "masks": _masks, "base": _base}
    return "\n\n".join(words(training[name]) for name, words in parts.items() if training.get(name))


def _reconstruction(figures: Mapping[str, Any]) -> str:
    rows = [
        ("PSNR in dB (white is the peak)", f"{figures['psnr_db']:.1f}"),
        ("structural similarity (1 is equal)", f"{figures['ssim']:.3f}"),
        ("mean absolute error (of intensities from 0 to 1)", f"{figures['l1']:.4f}"),
    ]
    head = (
        f"Reconstruction of {figures['slices']} slices of patients of the split `{figures['split']}`, not learned from:"
    )
    return f"{head}\n\n{markdown_table(('figure', 'mean over slices'), rows)}"


def _masks(audit: Mapping[str, Any]) -> str:
    faults = ", ".join(f"{name} {count}" for name, count in sorted(audit["faults"].items()))
    text = f"Of {audit['drawn']} first draws {audit['refused']} were refused" + (f" ({faults})." if faults else ".")
    copying = audit.get("copying")
    if copying is None:
        return f"{text} Whether the others are copies of training masks was not measured."
    rows = [
        ("median best-match Dice to a training mask", copying["median_generated"], copying["median_holdout"]),
        ("share of near duplicates (Dice above .99)", copying["near_duplicates"], copying["near_duplicates_holdout"]),
        ("share nearer to a training mask than to another patient's", copying["share_closer_to_train"], 0.5),
    ]
    table = markdown_table(
        ("copies", "drawn masks", "other patients' masks"), [(name, f"{a:.2f}", f"{b:.2f}") for name, a, b in rows]
    )
    return f"{text} The others beside the masks of patients who were not learned from:\n\n{table}"


def _base(base: Mapping[str, Any]) -> str:
    return f"A ControlNet on `{base['location']}` (pipeline hash `{base['hash']}`)."
