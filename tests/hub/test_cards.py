"""The model card: filled from files, complete, honest, and its examples run."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import yaml

from cmrsynth.errors import InputError
from cmrsynth.evaluation.figure import Evaluation
from cmrsynth.hub.cards import VERDICT_KEY, model_card


@pytest.fixture
def evaluation(evaluation_folder) -> Evaluation:
    return Evaluation.load(evaluation_folder)


def front_matter(card) -> dict:
    return yaml.safe_load(card.content.split("---\n")[1])


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("evaluated", [True, False])
def test_card_has_no_gap(pipeline_folder, training_record, evaluation, evaluated):
    card = model_card(pipeline_folder, evaluation if evaluated else None, training_record)
    found = sections(card.text)
    assert list(found) == [
        "How to use", "Conditions", "Training data", "Training", "Results", "Privacy", "Intended use", "Limits",
        "Licence", "Citation",
    ]  # fmt: skip
    assert all(len(body.strip()) > 20 for body in found.values())
    for gap in ("{{", "{%", "None", "nan", "More Information Needed"):
        assert gap not in card.text.replace("(None leaves it open)", "").replace("None leaves it open", ""), gap
    assert "Not for diagnosis" in card.text
    assert ("Not evaluated" in card.text) is not evaluated


def test_what_a_training_measured_is_stated_and_nothing_else_is(pipeline_folder, training_record):
    assert "not learned from:" not in str(model_card(pipeline_folder, None, training_record))
    copying = {"median_generated": 0.8, "median_holdout": 0.75, "near_duplicates": 0.125}
    copying |= {"near_duplicates_holdout": 0.0, "share_closer_to_train": 0.625}
    training_record["masks"] = {"drawn": 200, "refused": 7, "faults": {"hole": 3, "absent": 4}, "copying": copying}
    card = str(model_card(pipeline_folder, None, training_record))
    assert "Of 200 first draws 7 were refused (absent 4, hole 3)." in card
    assert "| share nearer to a training mask than to another patient's | 0.62 | 0.50 |" in card


def test_results_carry_interval_floor_and_verdict(pipeline_folder, training_record, evaluation):
    text = model_card(pipeline_folder, evaluation, training_record).text
    row = next(line for line in text.splitlines() if "Frechet distance" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "fidelity", "Frechet distance", "18.4 (15.1 to 23.9)", "11.2 (8.7 to 14.6)", "lower", "good",
    ]  # fmt: skip
    assert "Not computed: Wall thickness. The myocardium is not annotated." in text
    assert "**Do not share.**" in text


def test_model_index_survives_saving_and_loading(pipeline_folder, training_record, evaluation, tmp_path):
    from huggingface_hub import ModelCard

    model_card(pipeline_folder, evaluation, training_record).save(tmp_path / "README.md")
    data = ModelCard.load(tmp_path / "README.md", ignore_metadata_errors=False).data
    results = {result.metric_type: result for result in data.eval_results}
    assert set(results) == {f.name for f in evaluation.figures if f.value is not None}
    frechet = results["frechet_distance"]
    assert frechet.metric_value == 18.4
    assert frechet.metric_args["interval_95"] == [15.1, 23.9]
    assert frechet.metric_args["floor"] == 11.2
    assert frechet.metric_args["verdict"] == "good"
    assert (frechet.dataset_type, frechet.dataset_split) == ("data", "test")
    assert data.to_dict()[VERDICT_KEY]["privacy"] == "do not share"


def test_front_matter(pipeline_folder, training_record, evaluation):
    matter = front_matter(model_card(pipeline_folder, evaluation, training_record))
    assert matter["license"] == "cc-by-nc-sa-4.0"
    assert matter["library_name"] == "diffusers"
    assert matter["pipeline_tag"] == "image-to-image"
    assert "datasets" not in matter, "never guessed"
    training_record["data"] |= {"location": "me/acdc", "licence": "Ask the centre"}
    matter = front_matter(model_card(pipeline_folder, evaluation, training_record, dataset_id="me/acdc"))
    assert matter["datasets"] == ["me/acdc"]
    assert (matter["license"], matter["license_name"]) == ("other", "ask-the-centre")


def test_numpy_scalars_become_plain_numbers(pipeline_folder, training_record, evaluation):
    figures = tuple(
        replace(f, value=None if f.value is None else np.float32(f.value), n={"synthetic": np.int64(240)})
        for f in evaluation.figures
    )
    record = {**training_record, "minutes": np.float32(29.8), "config": {"betas": np.array([0.9, 0.99])}}
    text = model_card(pipeline_folder, replace(evaluation, figures=figures), record).content
    assert "!!" not in text
    assert "0.99" in text


def test_no_private_path_travels(pipeline_folder, training_record, evaluation):
    assert "alice" not in model_card(pipeline_folder, evaluation, training_record).content


def test_hostile_text_stays_text(pipeline_folder, training_record, evaluation):
    hostile = "<script>x</script>|\n---\nlicense: mit"
    figures = tuple(replace(f, title=hostile, reading=hostile) for f in evaluation.figures)
    card = model_card(pipeline_folder, replace(evaluation, figures=figures, verdict_rule=hostile), training_record)
    assert "<script>" not in card.text
    assert card.data.to_dict()["license"] == "cc-by-nc-sa-4.0"


def test_examples_of_the_card_run(pipeline_folder, training_record):
    card = model_card(pipeline_folder, None, training_record, repo_id=str(pipeline_folder))
    blocks = re.findall(r"```python\n(.+?)```", card.text, flags=re.DOTALL)
    assert len(blocks) == 2
    names: dict = {}
    exec(blocks[0], names)
    assert names["images"].shape == (1, 1, 16, 16)
    exec(blocks[1], loaded := {})
    assert type(loaded["pipe"]).__name__ == "RectifiedFlowPipeline"


def test_what_is_no_pipeline_is_refused(tmp_path, pipeline_folder, training_record):
    with pytest.raises(InputError, match=r"no model_index\.json"):
        model_card(tmp_path, None, training_record)
    del training_record["hardware"]
    with pytest.raises(InputError, match=r"training\.json: lacks \['hardware'\]"):
        model_card(pipeline_folder, None, training_record)
    (pipeline_folder / "model_index.json").write_text('{"_class_name": "DDPMPipeline"}')
    with pytest.raises(InputError, match="no card template for DDPMPipeline"):
        model_card(pipeline_folder, None, training_record)


def test_numbers_and_prompts_are_described(tiny_flow, text_model, training_record, tmp_path):
    from transformers import CLIPTextModel, CLIPTokenizer

    from cmrsynth.hub.export import export_pipeline

    text = {
        "text_encoder": CLIPTextModel.from_pretrained(text_model),
        "tokenizer": CLIPTokenizer.from_pretrained(text_model),
    }
    pipe = tiny_flow(vocabularies={"vendor": ["A"]}, scalars={"ejection_fraction": (55.0, 12.5)}, text=text)
    conditions = sections(model_card(export_pipeline(pipe, tmp_path / "p"), None, training_record).text)["Conditions"]
    assert "| `ejection_fraction` | % | 55 | 12.5 |" in conditions
    assert "such as 'short-axis cine cardiac MRI, vendor A scanner'" in conditions


def test_a_flow_map_states_the_steps_it_learned(tiny_flow, training_record, tmp_path):
    from cmrsynth.hub.export import export_pipeline
    from cmrsynth.models import DurationEncoder

    pipe = tiny_flow()
    pipe.register_modules(duration_encoder=DurationEncoder(pipe.unet.embedding_dim, steps=(1, 8)))
    text = model_card(export_pipeline(pipe, tmp_path / "p"), None, training_record).text
    assert "distilled to 1 or 8 steps" in text
