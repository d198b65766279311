"""The report: complete in itself, inert, honest about what is missing, and refusing what it cannot show."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from cmrsynth.errors import InputError
from cmrsynth.evaluation.figure import AXES, DO_NOT_SHARE, GOOD, LOOK, Evaluation, Picture
from cmrsynth.report.html import render_report

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Collects tags and text, and checks that every tag is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if "style" not in self.open:
            self.text += text


def page_of(folder) -> Page:
    return Page(render_report(folder).read_text(encoding="utf-8"))


def test_every_figure_is_told_with_value_interval_floor_reading_and_rule(evaluation_folder):
    text = " ".join(page_of(evaluation_folder).text.split())
    for figure in Evaluation.load(evaluation_folder).figures:
        for part in (figure.title, figure.reading, figure.rule, figure.made_with, figure.verdict):
            assert part in text
    for part in ("18.4", "15.1 to 23.9", "11.2", "8.7 to 14.6", "0.823 Dice", "0.780 to 0.860", "240 synthetic"):
        assert part in text
    assert "basal17.25" in text, "details are shown on demand"
    assert "Not computed: Wall thickness. The myocardium is not annotated." in text


def test_order_banner_summary_images_axes_rule_provenance(evaluation_folder):
    html = render_report(evaluation_folder).read_text(encoding="utf-8")
    anchors = ["<h1", 'id="summary"', 'id="overview"', *(f'id="{axis}"' for axis in AXES), 'id="rule"', 'id="inputs"']
    anchors += ['id="networks"', 'id="limits"', 'id="provenance"']
    positions = [html.index(anchor) for anchor in anchors]
    assert positions == sorted(positions)
    assert html.index('id="fidelity"') < html.index('id="figure-wall_thickness"') < html.index('id="utility"')


def test_summary_uses_the_words_of_the_deciding_figure(evaluation_folder):
    text = " ".join(page_of(evaluation_folder).text.split())
    assert "240 synthetic images were compared with 180 real images of 11 patients" in text
    assert "Utility: look closer. Nearly as good as real." in text
    assert "Privacy: do not share. Too close to training." in text


def test_summary_names_a_figure_that_is_worse_than_its_axis(evaluation_folder):
    evaluation = Evaluation.load(evaluation_folder)
    figures = [
        replace(f, verdict=DO_NOT_SHARE, reading="Only one encoder objects.") if f.axis == "fidelity" else f
        for f in evaluation.figures
    ]
    verdict = {**evaluation.verdict, "fidelity": LOOK}
    replace(evaluation, figures=tuple(figures), verdict=verdict).save(evaluation_folder)
    text = " ".join(page_of(evaluation_folder).text.split())
    assert "Fidelity: look closer. Only one encoder objects." in text


def test_page_loads_nothing_and_runs_nothing(evaluation_folder):
    page = page_of(evaluation_folder)
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 2
    for image in images:
        assert image["src"].startswith("data:image/png;base64,")
        assert (image["width"], image["height"]) == ("8", "6")
        assert image["alt"]
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("href") or "#").startswith("#")
    policies = [a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv")]
    assert policies[0].startswith("default-src 'none'")
    assert not re.search(r"url\(|@import|https?://", re.sub(r"base64,[^\"]*", "", str(page.tags)) + page.text)


def test_verdicts_differ_in_shape_not_only_in_colour(evaluation_folder):
    used = {a["href"] for tag, a in page_of(evaluation_folder).tags if tag == "use"}
    assert used == {"#icon-good", "#icon-look-closer", "#icon-do-not-share", "#icon-not-computed"}


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def test_hostile_text_is_inert_wherever_it_stands(evaluation_folder):
    evaluation = Evaluation.load(evaluation_folder)
    figures = tuple(
        replace(f, title=HOSTILE, unit=HOSTILE, reading=HOSTILE, rule=HOSTILE, made_with=HOSTILE, better=HOSTILE,
                n={HOSTILE: 1}, details={HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}]})
        for f in evaluation.figures
    )  # fmt: skip
    replace(
        evaluation,
        figures=figures,
        verdict_rule=HOSTILE,
        inputs={**evaluation.inputs, HOSTILE: {"name": HOSTILE, HOSTILE: [HOSTILE], "more": {HOSTILE: HOSTILE}}},
        models={HOSTILE: {"name": HOSTILE}},
        pictures=(Picture("figures/grid.png", "overview", HOSTILE, HOSTILE),),
        provenance={"command": HOSTILE, "commands": [HOSTILE], HOSTILE: HOSTILE},
    ).save(evaluation_folder)
    page = page_of(evaluation_folder)
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [a for _, a in page.tags if "onerror" in a]
    assert [a["src"][:5] for tag, a in page.tags if tag == "img"] == ["data:"]
    assert "<script>alert(1)</script>" in page.text, "shown as text"


def test_an_axis_without_figures_and_without_pictures_renders(evaluation_folder):
    evaluation = Evaluation.load(evaluation_folder)
    replace(evaluation, figures=evaluation.figures[:1], pictures=(), models={}).save(evaluation_folder)
    page = page_of(evaluation_folder)
    assert page.text.count("No figure was computed on this axis.") == 2
    assert not [tag for tag, _ in page.tags if tag == "img"]


def test_output_elsewhere_and_nothing_half_written(evaluation_folder, tmp_path):
    target = tmp_path / "new" / "page.html"
    assert render_report(evaluation_folder, target) == target
    assert [p.name for p in target.parent.iterdir()] == ["page.html"]
    assert not (evaluation_folder / "report.html").exists()


def test_same_evaluation_gives_the_same_bytes(evaluation_folder, tmp_path):
    first = render_report(evaluation_folder, tmp_path / "a.html").read_bytes()
    assert render_report(evaluation_folder, tmp_path / "b.html").read_bytes() == first


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"figures": [{}], "pictures": []}'])
def test_unreadable_evaluation_is_named(tmp_path, content):
    (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(InputError, match=r"evaluation\.json: cannot be read as an evaluation"):
        render_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_folder_without_evaluation_is_refused(tmp_path):
    with pytest.raises(InputError, match="give the output folder of `cmrsynth evaluate`"):
        render_report(tmp_path)


def test_unknown_verdict_is_refused(evaluation_folder):
    evaluation = Evaluation.load(evaluation_folder)
    replace(evaluation, verdict={**evaluation.verdict, "overall": "splendid"}).save(evaluation_folder)
    with pytest.raises(InputError, match="splendid"):
        render_report(evaluation_folder)


def _with_picture(folder, file):
    replace(Evaluation.load(folder), pictures=(Picture(file, "overview", "t", "c"),)).save(folder)


def test_pictures_outside_missing_or_not_png_are_refused(evaluation_folder):
    (evaluation_folder.parent / "secret.png").write_bytes((evaluation_folder / "figures/grid.png").read_bytes())
    (evaluation_folder / "text.png").write_text("not a picture")
    for file, reason in (("../secret.png", "outside"), ("gone.png", "missing"), ("text.png", "not a PNG")):
        _with_picture(evaluation_folder, file)
        with pytest.raises(InputError, match=reason):
            render_report(evaluation_folder)
    assert not (evaluation_folder / "report.html").exists()


def test_command_writes_the_page_and_says_where(evaluation_folder):
    import typer
    from typer.testing import CliRunner

    from cmrsynth.commands.report import report

    app = typer.Typer()
    app.command()(report)
    result = CliRunner().invoke(app, [str(evaluation_folder)])
    assert result.exit_code == 0
    assert "report.html" in result.output.replace("\n", "")
    assert (evaluation_folder / "report.html").stat().st_size > 10_000


def test_good_everywhere_reads_good(evaluation_folder):
    evaluation = Evaluation.load(evaluation_folder)
    figures = tuple(replace(f, verdict=GOOD) for f in evaluation.figures)
    replace(evaluation, figures=figures, verdict=dict.fromkeys((*AXES, "overall"), GOOD)).save(evaluation_folder)
    text = " ".join(page_of(evaluation_folder).text.split())
    assert "not a proof of anonymity" in text
    assert "do not share this set" not in text
