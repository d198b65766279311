"""One evaluation as one self-contained web page that a clinician can read and a colleague can archive."""

from __future__ import annotations

import base64
import json
import os
import struct
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from cmrsynth import __version__
from cmrsynth.errors import InputError
from cmrsynth.evaluation.figure import AXES, FILE_NAME, FILE_NAMES, NOT_COMPUTED, VERDICTS, Evaluation, Picture
from cmrsynth.report import numbers
from cmrsynth.report.strip import strip_svg
from cmrsynth.report.wording import ADVICE, MEANING, QUESTIONS, better_text, counts_of, driving_figures, opens, summary

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MENDED_BY_FOLDER = "give the output folder of `cmrsynth evaluate` or `cmrsynth utility`"
MENDED_BY_EVALUATE = "run `cmrsynth evaluate` again and give its output folder"


def render_report(evaluation_folder: Path, output: Path | None = None) -> Path:
    """Write the report of an evaluation and return its path.

    The page needs nothing but itself: pictures and styles are inside, there is no script, and a content security
    policy forbids the browser to fetch anything. All text is escaped.

    Args:
        evaluation_folder: what `cmrsynth evaluate` wrote: `evaluation.json` and the pictures it names.
        output: the file to write; `report.html` in `evaluation_folder` unless given.

    Raises:
        InputError: the folder holds no readable evaluation, or a picture is missing, outside the folder or not PNG.
    """
    folder = Path(evaluation_folder)
    evaluation = _load(folder)
    pictures = [{"picture": picture, **embed(folder, picture)} for picture in evaluation.pictures]
    page = render_page(
        "report.html.jinja",
        evaluation=evaluation,
        axes=AXES,
        not_computed=[figure for figure in evaluation.figures if figure.verdict == NOT_COMPUTED],
        pictures=pictures,
        summary=summary(evaluation),
    )
    return write_whole(folder / "report.html" if output is None else Path(output), page)


def render_page(template: str, **values: Any) -> str:
    """Return a page of this package's templates in its style; all text is escaped."""
    return (
        _environment().get_template(template).render(style=Markup(_text("report.css")), version=__version__, **values)
    )


def write_whole(target: Path, text: str) -> Path:
    """Write a file whole or not at all, and return its path."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(target)
    return target


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        value_text=numbers.value_text,
        floor_text=numbers.floor_text,
        planted_text=numbers.planted_text,
        plain=numbers.plain_text,
        counts=numbers.count_text,
        better=better_text,
        strip=lambda figure: Markup(strip_svg(figure)),
        slug=lambda verdict: verdict.replace(" ", "-"),
        words=lambda key: str(key).replace("_", " "),
        label=lambda key: (str(key)[:1].upper() + str(key)[1:]).replace("_", " "),
    )
    environment.globals.update(
        interval_text=numbers.interval_text,
        counts_of=counts_of,
        driving_figures=driving_figures,
        opens=opens,
        advice=ADVICE,
        meaning=MEANING,
        questions=QUESTIONS,
    )
    return environment


def _text(name: str) -> str:
    return (files("cmrsynth.report") / name).read_text(encoding="utf-8")


def _load(folder: Path) -> Evaluation:
    path = folder / next((name for name in FILE_NAMES if (folder / name).is_file()), FILE_NAME)
    if not path.is_file():
        raise InputError(folder, f"no {FILE_NAME} in this folder", MENDED_BY_FOLDER)
    try:
        evaluation = Evaluation.load(folder)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(path, f"cannot be read as an evaluation ({error})", MENDED_BY_EVALUATE) from error
    unknown = {axis: evaluation.verdict.get(axis) for axis in (*AXES, "overall")}
    unknown = {axis: verdict for axis, verdict in unknown.items() if verdict not in VERDICTS}
    if unknown:
        raise InputError(path, f"the verdict {unknown} is none of {VERDICTS}", MENDED_BY_EVALUATE)
    return evaluation


def embed(folder: Path, picture: Picture) -> dict[str, Any]:
    """Return the picture as a data URI, with its size in pixels so that the page does not jump while it loads."""
    path = (folder / picture.file).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError(picture.file, "the picture lies outside the evaluation's folder", MENDED_BY_EVALUATE)
    if not path.is_file():
        raise InputError(path, "the picture is missing", MENDED_BY_EVALUATE)
    content = path.read_bytes()
    if not content.startswith(PNG_SIGNATURE) or len(content) < 24:
        raise InputError(path, "the picture is not a PNG file", MENDED_BY_EVALUATE)
    width, height = struct.unpack(">II", content[16:24])  # the IHDR chunk comes first in every PNG
    data = base64.b64encode(content).decode("ascii")
    return {"source": Markup(f"data:image/png;base64,{data}"), "width": width, "height": height}
