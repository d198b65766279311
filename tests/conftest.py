"""Point every Hugging Face library at a loopback hub before any of them is imported; nothing leaves this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("fakehub", Path(__file__).parent / "hub" / "fakehub.py")
_fakehub = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fakehub)
_root = Path(tempfile.mkdtemp(prefix="cmrsynth-tests-"))
_server = _fakehub.FakeHub(_root / "hub")
os.environ.update(
    HF_ENDPOINT=_server.url,
    HF_HOME=str(_root / "home"),
    HF_TOKEN="hf_test",
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_UPDATE_DOWNLOAD_COUNTS="0",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    MPLBACKEND="Agg",
)
for _name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_DATASETS_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE"):
    os.environ.pop(_name, None)
# Tests use tiny tensors, for which a second thread costs more than it brings; programs they start inherit this.
# (Read when torch is first imported, so that tests without torch need not pay for `torch.set_num_threads`.)
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="module")
def _own_accelerator() -> Iterator[None]:
    """Let a module train in another precision than the one before it: a process has one accelerator's state."""
    yield
    if "accelerate" in sys.modules:
        sys.modules["accelerate"].state.AcceleratorState._reset_state(reset_partial_state=True)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef) -> None:
    """Let a fixture draw the same in every run and use one thread, whatever ran before it in this process."""
    _begin_anew(fixturedef.argname)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item) -> None:
    """The same for a test itself."""
    _begin_anew(item.name)


def _begin_anew(name: str) -> None:
    if torch := sys.modules.get("torch"):  # else its own first seed is fixed
        torch.manual_seed(zlib.crc32(name.encode()))
        torch.set_num_threads(1)  # a program that ran in this process took all cores, which two workers share


def pytest_unconfigure() -> None:
    _server.close()
    shutil.rmtree(_root, ignore_errors=True)


def _module(name: str):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def toy_data():
    """The module that writes the toy data set."""
    return _module("toy_data")


@pytest.fixture(scope="session")
def toy_folder(toy_data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built data set of 11 toy patients, 16x16, in three splits."""
    splits = {"train": range(6), "validation": range(6, 8), "test": range(8, 11)}
    return toy_data.write_toy_data(tmp_path_factory.mktemp("toy") / "data", patients=splits)


@pytest.fixture
def hub() -> Path:
    """Folder behind the loopback hub: models/<owner>/<name>, datasets/<owner>/<name>, spaces/<owner>/<name>."""
    return _root / "hub"


@pytest.fixture
def hub_server() -> _fakehub.FakeHub:
    """The loopback hub itself: `requests` it answered and the `private` flag of each repository."""
    return _server


@pytest.fixture
def evaluation_folder(tmp_path: Path) -> Path:
    """A written evaluation with every verdict, figures with and without floor, and two pictures."""
    from PIL import Image

    from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, NOT_COMPUTED, Evaluation, Figure, Picture

    folder = tmp_path / "evaluation"
    (folder / "figures").mkdir(parents=True)
    for name in ("grid", "neighbours"):
        Image.new("L", (8, 6), 128).save(folder / "figures" / f"{name}.png")
    shared = {"n": {"synthetic": 240, "patients": 11}, "made_with": "cardiac encoder 5be1c02f", "rule": "At most 2x."}
    dice = {**shared, "unit": "Dice", "better": "higher"}
    figures = (
        Figure("fidelity", "frechet_distance", "Frechet distance", 18.4, (15.1, 23.9), 11.2, (8.7, 14.6), unit="",
               better="lower", verdict=GOOD, reading="As near as real patients.", headline=True,
               details={"per_level": {"basal": 17.25}}, **shared),
        Figure("fidelity", "wall_thickness", "Wall thickness", None, None, None, None, unit="mm", better="lower",
               verdict=NOT_COMPUTED, reading="The myocardium is not annotated.", **shared),
        Figure("utility", "dice_synthetic", "Trained on synthetic", 0.823, (0.78, 0.86), 0.89, None, verdict=LOOK,
               reading="Nearly as good as real.", headline=True, **dice),
        Figure("utility", "dice_both", "Trained on both", 0.9, (0.87, 0.92), None, None, verdict=GOOD,
               reading="As good as real.", **dice),
        Figure("privacy", "closer_to_train", "Share closer to training", 0.71, (0.64, 0.78), 0.5, (0.46, 0.54), unit="",
               better="nearer floor", verdict=DO_NOT_SHARE, reading="Too close to training.", headline=True, **shared),
    )  # fmt: skip
    Evaluation(
        figures=figures,
        verdict={"fidelity": GOOD, "utility": LOOK, "privacy": DO_NOT_SHARE, "overall": DO_NOT_SHARE},
        verdict_rule="The worst figure decides.",
        inputs={
            "train": {"name": "runs/data:train", "fingerprint": "a81f0c2be7719d03", "slices": 480, "patients": 27},
            "holdout": {"name": "runs/data:test", "fingerprint": "77d01c90aafe1123", "slices": 180, "patients": 11},
            "synthetic": {"name": "runs/synthetic:train", "fingerprint": "c0ffee", "slices": 240, "patients": 11},
        },
        models={"segmenter_real": {"name": "BasicUNet", "sha256": "91fe77aa", "parameters": 412345, "updates": 1200}},
        pictures=(
            Picture("figures/grid.png", "overview", "Real and synthetic", "Above real, below synthetic."),
            Picture("figures/neighbours.png", "privacy", "Closest pairs", "Side by side."),
        ),
        provenance={
            "command": "cmrsynth evaluate --train runs/data:train --output runs/evaluation",
            "seed": 7,
            "versions": {"torch": "2.13.0"},
            "hardware": "2 CPU cores",
            "seconds": 231.7,
        },
    ).save(folder)
    return folder


@pytest.fixture
def pipeline_folder(tiny_flow, tmp_path: Path) -> Path:
    """A tiny exported pipeline with random weights."""
    from cmrsynth.hub.export import export_pipeline

    vocabularies = {"pathology": ["normal", "DCM"], "phase": ["ED", "ES"]}
    return export_pipeline(tiny_flow(widths=(8, 8), vocabularies=vocabularies, spacing=0.0), tmp_path / "pipeline")


@pytest.fixture
def training_record() -> dict:
    """What training leaves in `training.json`."""
    return {
        "config": {"data": "/home/alice/data/acdc-64", "output": "/home/alice/runs/x", "learning_rate": 6e-4},
        "data": {
            "location": "/home/alice/data/acdc-64",
            "fingerprint": "a81f0c2be7719d03",
            "patients": 27,
            "slices": 480,
            "source": "acdc",
            "licence": "CC-BY-NC-SA-4.0",
        },
        "steps": 4000,
        "images_seen": 64000,
        "minutes": 29.8,
        "parameters": 1234567,
        "versions": {"torch": "2.13.0"},
        "hardware": "2 CPU cores",
        "command": "training/train_rectified_flow.py --data acdc-64",
        "git": None,
    }


@pytest.fixture(scope="session")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random CLIP text model, whose tokenizer reads letter by letter."""
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    number = {token: place for place, token in enumerate(tokens)}
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    start, end = number["<|startoftext|>"], number["<|endoftext|>"]
    special = {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    config = CLIPTextConfig(vocab_size=len(number), max_position_embeddings=200, **sizes, **special)
    folder = tmp_path_factory.mktemp("clip") / "text"
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(0)
        CLIPTextModel(config).save_pretrained(folder)
    CLIPTokenizer(vocab=number, merges=[], model_max_length=200).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_flow():
    """A function that makes a small `RectifiedFlowPipeline` whose weights are all random, so that nothing is hidden."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler

    from cmrsynth.models import ConditionEncoder, MaskUNet
    from cmrsynth.pipelines import RectifiedFlowPipeline

    def make(
        *, sample_size: int = 16, widths=(8, 8, 16), vocabularies=None, scalars=None, text=None,
        condition_dropout=0.1, spacing=2.0, std=0.2,
    ) -> RectifiedFlowPipeline:  # fmt: skip
        unet = MaskUNet(sample_size=sample_size, block_out_channels=widths, attention_levels=(len(widths) - 1,))
        text_parts = text or {}
        width = text_parts["text_encoder"].config.hidden_size if text_parts else 0
        encoder = ConditionEncoder(unet.embedding_dim, vocabularies=vocabularies, scalars=scalars, text_dim=width)
        generator = torch.Generator().manual_seed(0)
        for parameter in [*unet.parameters(), *encoder.parameters()]:  # zero-initialised layers would hide conditions
            torch.nn.init.normal_(parameter, std=std, generator=generator)
        pipe = RectifiedFlowPipeline(
            unet.eval(),
            encoder.eval(),
            FlowMatchEulerDiscreteScheduler(),
            **text_parts,
            condition_dropout=condition_dropout,
            pixel_spacing_mm=spacing,
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return make
