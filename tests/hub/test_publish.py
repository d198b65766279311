"""Publishing: what comes back is what went out, and what must not travel does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cmrsynth.errors import InputError
from cmrsynth.evaluation.figure import GOOD, Evaluation
from cmrsynth.hub.cards import model_card
from cmrsynth.hub.publish import publish_dataset, publish_pipeline


@pytest.fixture
def evaluation(evaluation_folder) -> Evaluation:
    found = Evaluation.load(evaluation_folder)
    return replace(found, verdict={**found.verdict, "privacy": GOOD, "overall": GOOD})


@pytest.fixture
def carded(pipeline_folder, training_record, evaluation):
    model_card(pipeline_folder, evaluation, training_record).save(pipeline_folder / "README.md")
    return pipeline_folder


@pytest.fixture
def dataset_folder(tmp_path):
    import datasets

    folder = tmp_path / "built"
    (folder / "data").mkdir(parents=True)
    rows = datasets.Dataset.from_dict({"patient_id": ["phantom-0001", "phantom-0002"]})
    rows.to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n\n# Phantom\n")
    (folder / "build.json").write_text('{"warnings": []}')
    return folder


@pytest.mark.parametrize(("oldest", "refused"), [(90.0, False), (93.0, True)])
def test_exact_ages_above_89_are_not_published(dataset_folder, oldest: float, refused: bool):
    import datasets

    rows = datasets.Dataset.from_dict({"patient_id": ["phantom-0001", "phantom-0002"], "age": [None, oldest]})
    rows.to_parquet(dataset_folder / "data" / "train-00000-of-00001.parquet")
    if not refused:
        assert publish_dataset(dataset_folder, "me/old")
        return
    with pytest.raises(InputError, match="an age of 93 years"):
        publish_dataset(dataset_folder, "me/older")


def test_a_pipeline_with_prompts_comes_back_with_its_text_model(carded, text_model, hub, tmp_path):
    import torch
    from diffusers import DiffusionPipeline
    from transformers import CLIPTextModel, CLIPTokenizer

    from cmrsynth.hub.export import export_pipeline
    from cmrsynth.hub.load import load_pipeline
    from cmrsynth.models import ConditionEncoder

    parts = load_pipeline(carded).components
    text = {
        "text_encoder": CLIPTextModel.from_pretrained(text_model).eval(),
        "tokenizer": CLIPTokenizer.from_pretrained(text_model),
    }
    width = text["text_encoder"].config.hidden_size
    encoder = ConditionEncoder(parts["condition_encoder"].config.embedding_dim, text_dim=width)
    made = type(load_pipeline(carded))(**{**parts, "condition_encoder": encoder.eval(), **text})
    folder = export_pipeline(made, tmp_path / "prompted", files={"README.md": (carded / "README.md").read_text()})
    publish_pipeline(folder, "me/prompted")
    assert not list((hub / "models/me/prompted").rglob("*.bin"))
    assert str(tmp_path.parent) not in "".join(p.read_text() for p in (hub / "models/me/prompted").rglob("*.json"))
    images = [
        pipe(prompt="end-systole", generator=torch.Generator().manual_seed(0), num_inference_steps=1).images
        for pipe in (
            load_pipeline(folder),
            load_pipeline("me/prompted"),
            DiffusionPipeline.from_pretrained("me/prompted", trust_remote_code=True),
        )
    ]
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])


def test_pipeline_comes_back_with_the_same_pixels(carded, hub, hub_server):
    import torch
    from diffusers import DiffusionPipeline

    from cmrsynth.hub.load import load_pipeline

    address = publish_pipeline(carded, "me/flow")
    assert address.endswith("/me/flow")
    assert hub_server.private["models/me/flow"] is True
    mask = torch.nn.functional.one_hot(torch.zeros(1, 16, 16, dtype=torch.long), 4).movedim(-1, 1).float()
    images = [
        pipe(mask, generator=torch.Generator().manual_seed(0), num_inference_steps=2).images
        for pipe in (
            load_pipeline(carded),
            load_pipeline("me/flow"),
            DiffusionPipeline.from_pretrained("me/flow", trust_remote_code=True),
        )
    ]
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])
    assert "not for diagnosis" in (hub / "models/me/flow/README.md").read_text().lower()


def test_stale_code_is_removed(carded, hub):
    publish_pipeline(carded, "me/stale")
    (hub / "models/me/stale/old_pipeline.py").write_text("stale = True\n")
    publish_pipeline(carded, "me/stale")
    assert not (hub / "models/me/stale/old_pipeline.py").exists()
    assert (hub / "models/me/stale/pipeline_rectified_flow.py").exists()


@pytest.mark.parametrize("name", ["unet/model.bin", "optimizer.pt", "last.CKPT", "state.pkl"])
def test_pickled_weights_are_refused(carded, hub, name):
    (carded / name).write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match="not safetensors"):
        publish_pipeline(carded, "me/pickled")
    assert not (hub / "models/me/pickled").exists()


def test_a_failed_privacy_verdict_needs_an_acknowledgement(carded, training_record, evaluation, hub):
    leaky = replace(evaluation, verdict={**evaluation.verdict, "privacy": "do not share"})
    model_card(carded, leaky, training_record).save(carded / "README.md")
    with pytest.raises(InputError, match="may give away its training patients"):
        publish_pipeline(carded, "me/leaky")
    assert not (hub / "models/me/leaky").exists()
    publish_pipeline(carded, "me/leaky", acknowledge_privacy_risk=True)
    assert (hub / "models/me/leaky/README.md").exists()


def test_pipeline_without_card_or_index_or_with_strangers_is_refused(carded):
    (carded / "linking-table.csv").write_text("pseudonym,patient_id\n")
    with pytest.raises(InputError, match=r"do not belong there: linking-table\.csv"):
        publish_pipeline(carded, "me/no")
    (carded / "linking-table.csv").unlink()
    (carded / "README.md").unlink()
    with pytest.raises(InputError, match="no card"):
        publish_pipeline(carded, "me/no")
    (carded / "model_index.json").unlink()
    with pytest.raises(InputError, match="no pipeline here"):
        publish_pipeline(carded, "me/no")


def test_private_is_not_written_into_a_public_repository(carded, dataset_folder, hub):
    from huggingface_hub import HfApi

    HfApi().create_repo("me/open", private=False)
    HfApi().create_repo("me/open", private=False, repo_type="dataset")
    with pytest.raises(InputError, match="this repository is public"):
        publish_pipeline(carded, "me/open")
    with pytest.raises(InputError, match="this repository is public"):
        publish_dataset(dataset_folder, "me/open")
    assert not list((hub / "models/me/open").iterdir())
    publish_pipeline(carded, "me/open", private=False)


def test_dataset_comes_back(dataset_folder, hub, hub_server):
    import datasets

    publish_dataset(dataset_folder, "me/phantom")
    assert hub_server.private["datasets/me/phantom"] is True
    rows = datasets.load_dataset("me/phantom", split="train")
    assert rows["patient_id"][:] == ["phantom-0001", "phantom-0002"]


def test_stale_shards_are_removed(dataset_folder, hub):
    publish_dataset(dataset_folder, "me/shards")
    shard = hub / "datasets/me/shards/data/train-00001-of-00002.parquet"
    shard.write_bytes(b"old")
    publish_dataset(dataset_folder, "me/shards")
    assert not shard.exists()


def test_what_could_name_patients_is_refused(dataset_folder, hub):
    for name, reason in (
        ("built.linking-table.csv", "links pseudonyms to patients"),
        ("data/Linking.parquet", "links pseudonyms to patients"),
        ("IM-0001.dcm", "do not belong"),
        ("notes.txt", "do not belong"),
    ):
        (dataset_folder / name).write_text("x")
        with pytest.raises(InputError, match=reason):
            publish_dataset(dataset_folder, "me/refused")
        (dataset_folder / name).unlink()
    assert not (hub / "datasets/me/refused").exists()


def test_oracle_crop_missing_card_and_empty_folder_are_refused(dataset_folder, tmp_path):
    (dataset_folder / "build.json").write_text('{"warnings": ["oracle crop: uses the test masks"]}')
    with pytest.raises(InputError, match="oracle crop"):
        publish_dataset(dataset_folder, "me/refused")
    (dataset_folder / "README.md").unlink()
    with pytest.raises(InputError, match="no card"):
        publish_dataset(dataset_folder, "me/refused")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no data set here"):
        publish_dataset(tmp_path / "empty", "me/refused")
