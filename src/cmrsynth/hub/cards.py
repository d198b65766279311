"""Model cards: every fact in them is read from the pipeline, its training record and its evaluation."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from cmrsynth.data.card import HUB_LICENCES, markdown_table
from cmrsynth.errors import InputError
from cmrsynth.evaluation.figure import AXES, DO_NOT_SHARE, NOT_COMPUTED, Evaluation, Figure
from cmrsynth.hub.measured import measured
from cmrsynth.hub.methods import METHODS, Method, method_of
from cmrsynth.labels import LABEL_NAMES
from cmrsynth.prompts import compile_prompt
from cmrsynth.report.numbers import floor_text, interval_text, plain_text, value_text
from cmrsynth.schema import SCALARS

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

TRAINING_KEYS = {"config", "data", "steps", "images_seen", "minutes", "parameters", "versions", "hardware", "command"}
VERDICT_KEY = "cmrsynth_verdict"  # front matter; `cmrsynth.hub.publish` obeys it
TAGS = ("medical", "cardiac-mri", "synthetic-data", "cmrsynth")
NOT_EVALUATED = "Not evaluated: nothing is known about fidelity, utility or privacy. Run `cmrsynth evaluate`."
UNKNOWN = "not stated"


def model_card(
    pipeline_folder: Path,
    evaluation: Evaluation | None,
    training: Mapping[str, Any],
    *,
    repo_id: str | None = None,
    dataset_id: str | None = None,
) -> ModelCard:
    """Return the card of an exported pipeline; `card.save(folder / "README.md")` puts it in place.

    Args:
        pipeline_folder: what `cmrsynth.hub.export.export_pipeline` wrote.
        evaluation: its figures become the results table and the `model-index`; None says that there is none.
        training: the content of `training.json`; `TRAINING_KEYS` and git.
        repo_id: where it will be published, for the examples; the folder's name unless given.
        dataset_id: Hub id of the training data, if they are on the Hub. Never guessed: a local `data/acdc` looks
            like a Hub id too, and the card would link to a stranger's data.

    Raises:
        InputError: the folder holds no pipeline, or one without a template.
    """
    import jinja2
    from huggingface_hub import ModelCard

    index = _index(pipeline_folder)
    network = _network(pipeline_folder, index)
    training = _plain(training)
    if missing := sorted(TRAINING_KEYS - set(training)):
        raise InputError(pipeline_folder / "training.json", f"lacks {missing}", "train with this version of cmrsynth")
    method = method_of(index)
    template = (files("cmrsynth.model_cards") / method.template).read_text(encoding="utf-8")
    strict = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True)  # a gap is an error
    text = strict.from_string(template).render(
        card_data=_card_data(method, network, evaluation, training, dataset_id).to_yaml().rstrip(),
        location=repo_id or f"path/to/{pipeline_folder.name}",
        pipeline_hash=_pipeline_hash(pipeline_folder),
        method=method.how.format(steps=network["steps"]),
        citation=method.citation,
        **_pipeline_facts(method, index, network),
        **_training_facts(method, training),
        **_evaluation_facts(evaluation),
    )
    return ModelCard(text)


def write_model_card(pipeline_folder: Path, evaluation: Evaluation | None) -> Path:
    """Write `README.md` into a pipeline folder that a training program finished, and return its path.

    Raises:
        InputError: the folder holds no pipeline or no `training.json`.
    """
    record = pipeline_folder / "training.json"
    if not record.is_file():
        raise InputError(record, "no record of the training", "give the `pipeline` folder of a finished run")
    card = model_card(pipeline_folder, evaluation, json.loads(record.read_text(encoding="utf-8")))
    path = pipeline_folder / "README.md"
    card.save(path)
    return path


def _index(folder: Path) -> dict[str, Any]:
    path = folder / "model_index.json"
    if not path.is_file():
        raise InputError(folder, "no pipeline here (no model_index.json)", "give the `pipeline` folder of a run")
    index = json.loads(path.read_text(encoding="utf-8"))
    name = index["_class_name"]
    index["_class_name"] = name[-1] if isinstance(name, list) else name
    if index["_class_name"] not in METHODS:
        known = ", ".join(METHODS)
        raise InputError(path, f"no card template for {index['_class_name']}", f"use a pipeline of class {known}")
    return index


def _network(folder: Path, index: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings a reader needs: size in pixels, mask channels, and what is known of the conditions."""
    paths = {name: folder / name / "config.json" for name, entry in index.items() if isinstance(entry, list)}
    found = {name: json.loads(p.read_text(encoding="utf-8")) for name, p in paths.items() if p.is_file()}
    main = found.get("unet") or found.get("generator") or found.get("vae") or {}
    size = main.get("sample_size", UNKNOWN)
    if "unet" in found and "vae" in found:
        size *= 2 ** (len(found["vae"]["block_out_channels"]) - 1)
    channels = found.get("controlnet", main).get("mask_channels", 0)
    encoder = found.get("condition_encoder", {})
    return {
        "sample_size": size,
        "mask_channels": channels,
        "vocabularies": encoder.get("vocabularies") or {},
        "scalars": encoder.get("scalars") or {},
        "prompts": bool(encoder.get("text_dim")),
        "steps": " or ".join(map(str, _learned_steps(found["duration_encoder"])))
        if "duration_encoder" in found
        else "",
    }


def _learned_steps(config: dict[str, Any]) -> Sequence[int]:
    """Return in how many steps a flow map learned to make an image; what the file leaves out is the default."""
    from cmrsynth.models import DurationEncoder

    return DurationEncoder.from_config(config).config.steps


def _pipeline_hash(folder: Path) -> str:
    from cmrsynth.hub.load import pipeline_hash

    return pipeline_hash(folder)


def _card_data(
    method: Method,
    network: Mapping[str, Any],
    evaluation: Evaluation | None,
    training: Mapping[str, Any],
    dataset_id: str | None,
) -> ModelCardData:
    from huggingface_hub import ModelCardData

    data = training["data"]
    name = data_name(data["location"])
    task = "image-to-image" if network.get("mask_channels") else "unconditional-image-generation"
    results = (
        [_eval_result(f, evaluation, task) for f in evaluation.figures if f.value is not None] if evaluation else []
    )
    return ModelCardData(
        **_licence(data.get("licence") or ""),
        library_name="diffusers",
        pipeline_tag=task,
        tags=[*TAGS, method.tag],
        datasets=[dataset_id] if dataset_id else None,
        metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
        model_name=f"{method.tag}-{name}",
        eval_results=results or None,
        **({VERDICT_KEY: dict(evaluation.verdict)} if evaluation else {}),
    )


def _licence(licence: str) -> dict[str, str]:
    if licence.lower() in HUB_LICENCES:
        return {"license": licence.lower()}
    name = re.sub(r"[^a-z0-9]+", "-", licence.lower()).strip("-")[:60]
    return {"license": "other", "license_name": name or "not-stated"}


def _eval_result(figure: Figure, evaluation: Evaluation, task: str) -> EvalResult:
    """The figure as an entry of `model-index`: the bare value, its interval and floor among the arguments."""
    from huggingface_hub import EvalResult

    location, _, split = str(evaluation.inputs["holdout"].get("name", UNKNOWN)).partition(":")
    arguments = {
        "interval_95": figure.interval,
        "floor": figure.floor,
        "floor_interval_95": figure.floor_interval,
        "unit": figure.unit,
        "better": figure.better,
        "verdict": figure.verdict,
        "n": figure.n,
    }
    return EvalResult(
        task_type=task,
        dataset_type=data_name(location),
        dataset_name=f"{data_name(location)} (patients held out)",
        dataset_split=split or None,
        dataset_args={"fingerprint": str(evaluation.inputs["holdout"].get("fingerprint", UNKNOWN))},
        metric_type=figure.name,
        metric_name=figure.title,
        metric_value=_plain(figure.value),
        metric_args={key: value for key, value in _plain(arguments).items() if value not in (None, "")},
    )


def _pipeline_facts(method: Method, index: Mapping[str, Any], network: Mapping[str, Any]) -> dict[str, Any]:
    vocabularies = network.get("vocabularies") or {}
    channels = network.get("mask_channels", 0)
    rows = [(f"`{name}`", ", ".join(map(str, values))) for name, values in vocabularies.items() if values]
    mask = f"`mask`: one-hot, shape (B, {channels}, H, W), channels {_label_names(channels)}; None leaves it open."
    attributes = "Attributes, each optional (None leaves it open):\n\n" + markdown_table(("attribute", "values"), rows)
    parts = [mask] if channels else []
    parts.append(attributes if rows else "No attributes.")
    if network.get("scalars"):
        parts.append(f"Numbers, each optional (None leaves it open):\n\n{_scalars(network['scalars'])}")
    if network.get("prompts"):
        parts.append(f"`prompt`: a text, or one per image, such as {compile_prompt(_example(vocabularies))!r}.")
    if method.guided:
        other = "larger values exaggerate them" if index.get("condition_dropout") else "this model knows no other value"
        parts.append(f"`guidance_scale`: 1 follows the conditions as learned; {other}.")
    return {
        "size": network.get("sample_size", UNKNOWN),
        "mask_channels": channels,
        "label_names": _label_names(channels),
        "pixel_spacing_mm": plain_text(index["pixel_spacing_mm"]) if index.get("pixel_spacing_mm") else "",
        "example_attributes": "".join(f"{name}={values[0]!r}, " for name, values in vocabularies.items() if values),
        "conditions": "\n\n".join(parts),
    }


def _scalars(statistics: Mapping[str, tuple[float, float]]) -> str:
    rows = [
        (f"`{name}`", SCALARS[name].unit, plain_text(mean), plain_text(deviation))
        for name, (mean, deviation) in statistics.items()
    ]
    return markdown_table(("number", "unit", "mean in training", "standard deviation"), rows)


def _example(vocabularies: Mapping[str, list[str]]) -> dict[str, str]:
    return {name: values[0] for name, values in vocabularies.items() if values}


def _label_names(channels: int) -> str:
    return ", ".join(f"{value} {name}" for value, name in enumerate(LABEL_NAMES[:channels]))


def _training_facts(method: Method, training: Mapping[str, Any]) -> dict[str, Any]:
    import yaml

    data = training["data"]
    name = data_name(data["location"])
    config = {key: value for key, value in training["config"].items() if key != "output"}
    config |= {"data": data_name(config["data"])} if config.get("data") else {}
    source = data.get("source") or UNKNOWN
    data_rows = [("data set", f"`{name}`"), ("source", source), ("licence", data.get("licence") or UNKNOWN)]
    data_rows += [(key, plain_text(data.get(key))) for key in ("patients", "slices", "fingerprint")]
    keys = ("steps", "images_seen", "minutes", "parameters", "hardware", "git")
    rows = [(key.replace("_", " "), plain_text(training.get(key))) for key in keys]
    rows.append(("versions", ", ".join(f"{package} {number}" for package, number in training["versions"].items())))
    return {
        "title": f"{method.title} for cardiac MRI, learned from {name}",
        "parameters": plain_text(training["parameters"]),
        "data_source": source,
        "data_licence": data.get("licence") or UNKNOWN,
        "data_patients": plain_text(data.get("patients") or "an unstated number of"),
        "data_table": _table(("", ""), data_rows),
        "training_table": _table(("", ""), rows),
        "measured": measured(training),
        "command": str(training["command"]).replace(str(Path.home()), "~"),
        "config": yaml.safe_dump(config, sort_keys=False).rstrip(),
    }


def _evaluation_facts(evaluation: Evaluation | None) -> dict[str, str]:
    if evaluation is None:
        return {
            "verdict_paragraph": f"**{NOT_EVALUATED}**",
            "results": NOT_EVALUATED,
            "privacy": "Not evaluated: the model may have memorised patients. Do not publish it on trust.",
            "further_limits": "- Fidelity, utility and privacy were not evaluated.",
        }
    verdict = evaluation.verdict
    axes = ", ".join(f"{axis} **{verdict[axis]}**" for axis in AXES)
    shown = [f for f in evaluation.figures if f.verdict != NOT_COMPUTED]
    rows = [
        (f.axis, f.title, _with_interval(value_text(f), interval_text(f.interval, f.value)),
         _with_interval(floor_text(f), interval_text(f.floor_interval, f.floor)), f.better, f.verdict)
        for f in shown
    ]  # fmt: skip
    header = ("axis", "figure", "value (95 % interval)", "real floor (95 % interval)", "better", "verdict")
    explained = (
        "The floor is the same figure for real images of other patients: what a perfect generator would reach. "
        "Intervals are bootstrapped over patients."
    )
    readings = [f"- {escape(f.title)}: {escape(f.reading)}" for f in evaluation.figures if f.axis == "privacy"]
    left_out = [f"- Not computed: {escape(f.title)}. {escape(f.reading)}" for f in evaluation.figures if f not in shown]
    return {
        "verdict_paragraph": f"Evaluation: {axes}; overall **{verdict['overall']}**.",
        "results": f"{explained}\n\n{_table(header, rows)}\n\n{escape(evaluation.verdict_rule)}",
        "privacy": "\n".join([_privacy_sentence(verdict["privacy"]), "", *(readings or ["No privacy figure exists."])]),
        "further_limits": "\n".join(left_out)
        or "- Privacy figures show what these attacks found, not that none could.",
    }


def _privacy_sentence(verdict: str) -> str:
    if verdict == DO_NOT_SHARE:
        return "**Do not share.** At least one privacy figure fails: the model may give away its training patients."
    return f"Verdict: **{verdict}**. A good figure means that these attacks found nothing, not that none could."


def _with_interval(value: str, interval: str) -> str:
    return f"{value} ({interval})" if interval else value


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return markdown_table(header, [tuple(escape(str(cell), quote=False) for cell in row) for row in rows])


def data_name(location: str) -> str:
    """Return how a data set may be called in public: without its split and without folders that name people.

    >>> data_name("me/acdc"), data_name("/home/alice/secret/acdc-64"), data_name("runs/quickstart/data:train")
    ('acdc', 'acdc-64', 'data')
    """
    return PurePath(str(location).partition(":")[0]).name


def _plain(value: Any) -> Any:
    """Return `value` in plain Python: YAML writes a NumPy scalar as binary, and JSON has no infinity."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
