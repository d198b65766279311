"""Every family learns attributes, scalars and prompts, and runs with any subset; its folder loads without us."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from functools import wraps
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from cmrsynth.data.loading import load_slices
from cmrsynth.errors import InputError
from cmrsynth.hub.export import export_pipeline
from cmrsynth.hub.load import load_pipeline
from cmrsynth.labels import one_hot
from cmrsynth.seeds import torch_generator
from cmrsynth.training.autoencoder import Autoencoder
from cmrsynth.training.autoencoder_config import AutoencoderConfig
from cmrsynth.training.batches import Withholding, draw_batch, row_at
from cmrsynth.training.config import RectifiedFlowConfig
from cmrsynth.training.controlnet import ControlNet
from cmrsynth.training.controlnet_config import ControlNetConfig
from cmrsynth.training.diffusion import Diffusion
from cmrsynth.training.diffusion_config import DiffusionConfig
from cmrsynth.training.gan import build_gan
from cmrsynth.training.gan_config import GanConfig
from cmrsynth.training.latent import LatentFlow
from cmrsynth.training.latent_config import LatentFlowConfig
from cmrsynth.training.mask_generator import MaskGenerator
from cmrsynth.training.mask_generator_config import MaskGeneratorConfig
from cmrsynth.training.prompts import VARIANTS
from cmrsynth.training.rectified_flow import RectifiedFlow
from cmrsynth.training.run import Run
from cmrsynth.training.vae import ConditionalVae
from cmrsynth.training.vae_config import VaeConfig

TINY = {"block_out_channels": [8, 8], "batch_size": 4, "mixed_precision": "no", "cpu_threads": 1, "sample_steps": 0}
UNET = {"attention_levels": []}
EF = {"scalars": ["ejection_fraction"]}
FAMILIES = {  # how each family is configured, and the class that is trained
    "flow": (RectifiedFlowConfig, RectifiedFlow, UNET),
    "flow without masks": (RectifiedFlowConfig, RectifiedFlow, {**UNET, "conditioning": "none"}),
    "spade": (RectifiedFlowConfig, RectifiedFlow, {**UNET, "conditioning": "spade"}),
    "transformer": (RectifiedFlowConfig, RectifiedFlow, {"backbone": "dit", "transformer_layers": 1}),
    "diffusion": (DiffusionConfig, Diffusion, UNET),
    "latent": (LatentFlowConfig, LatentFlow, UNET),
    "controlnet": (ControlNetConfig, ControlNet, {}),
    "gan": (GanConfig, build_gan, {"latent_dim": 8, "discriminator_channels": [8], "discriminator_scales": 1}),
    "dcgan": (GanConfig, build_gan, {"architecture": "dcgan", "latent_dim": 8}),
    "r3gan": (GanConfig, build_gan, {"architecture": "r3gan", "latent_dim": 8}),
    "vae": (VaeConfig, ConditionalVae, {"latent_dim": 8}),
    "masks": (MaskGeneratorConfig, MaskGenerator, {"latent_dim": 8, "audited_masks": 4}),
}
SUBSETS = {
    "nothing": {},
    "one attribute": {"vendor": "B"},
    "all attributes": {"vendor": "B", "phase": "ES", "pathology": "normal", "slice_level": "mid"},
    "one scalar": {"ejection_fraction": 35.0},
    "a prompt": {"prompt": "end-systole, ejection fraction 35 %"},
    "all": {"vendor": ["B", None], "ejection_fraction": [None, 60.0], "prompt": ["end-systole", ""]},
}


def trained(family: str, data: Path, output: Path, steps: int = 1, until: int | None = None, **more: object) -> Run:
    """A run of a family of so many steps, after `until` of them."""
    config_class, family_class, settings = FAMILIES[family]
    chosen = {**TINY, **settings, **more}
    known = {field.name for field in fields(config_class)}  # a ControlNet has the widths of its base
    config = config_class(
        str(data), str(output), max_train_steps=steps, **{k: v for k, v in chosen.items() if k in known}
    )
    run = Run(config, family_class)
    run.resume()
    while run.step < (steps if until is None else until):
        run.train_step()
    return run


def prerequisites(family: str, data: Path, folder: Path, text_model: Path) -> dict[str, object]:
    """The conditions of a family, and the model it is built on."""
    conditions = {**EF, "text_encoder": str(text_model)}
    if family == "masks":
        return EF
    if family == "latent":
        judge = {"discriminator_channels": [8], "discriminator_scales": 1}
        config = AutoencoderConfig(str(data), str(folder / "vae"), max_train_steps=1, **TINY, **judge)
        return {**conditions, "vae": str(export_pipeline(Run(config, Autoencoder).pipeline(), folder / "autoencoder"))}
    if family == "controlnet":
        base = trained("flow without masks", data, folder / "base", **conditions)
        return {"base": str(export_pipeline(base.pipeline(), folder / "base_pipeline"))}
    return conditions


def randomise(pipeline: DiffusionPipeline) -> None:
    """Make every weight random: layers that begin at zero would hide conditions."""
    generator = torch.Generator().manual_seed(0)
    for name, part in pipeline.components.items():
        if isinstance(part, torch.nn.Module) and name != "text_encoder":
            for parameter in part.parameters():
                torch.nn.init.normal_(parameter, std=0.3, generator=generator)


def sample(pipeline: DiffusionPipeline, mask: torch.Tensor | None, **conditions: object) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 2} if hasattr(pipeline, "scheduler") else {}
    options |= {"reject": False} if type(pipeline).__name__ == "MaskGeneratorPipeline" else {}
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    return pipeline(mask, batch_size=2, generator=generators, **options, **conditions).images


@pytest.mark.parametrize("family", FAMILIES)
def test_any_subset_of_conditions_runs_and_each_condition_counts(
    family: str, toy_folder: Path, text_model: Path, tmp_path: Path
) -> None:
    run = trained(family, toy_folder, tmp_path / "run", **prerequisites(family, toy_folder, tmp_path, text_model))
    made = run.pipeline()
    randomise(made)
    folder = export_pipeline(made, tmp_path / "pipeline")
    pipeline, remote = load_pipeline(folder), DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    assert pipeline.condition_encoder.config.scalars["ejection_fraction"][1] > 0
    mask = one_hot(torch.from_numpy(load_slices(toy_folder, "test").masks[:2])) if pipeline.mask_channels else None
    images = {}
    for given in (None, mask) if mask is not None and family != "gan" else (mask,):
        for name, conditions in SUBSETS.items():
            if family == "masks":  # no prompts, and no vendor: masks do not show it
                conditions = {key: value for key, value in conditions.items() if key not in ("prompt", "vendor")}
            images[given is None, name] = sample(pipeline, given, **conditions)
    assert all(torch.isfinite(image).all() for image in images.values())
    for without, name in images:
        if name != "nothing" and not (family == "masks" and name in ("a prompt", "one attribute")):
            assert not torch.allclose(images[without, name], images[without, "nothing"], atol=1e-5), (without, name)
    told = SUBSETS["one scalar" if family == "masks" else "all"]
    torch.testing.assert_close(sample(remote, mask, **told), sample(pipeline, mask, **told))
    assert str(tmp_path) not in "".join(path.read_text() for path in folder.rglob("*.json"))


@pytest.mark.parametrize("family", ["flow", "spade", "transformer", "diffusion", "latent", "controlnet"])
def test_mask_and_conditions_have_guidance_scales_of_their_own(
    family: str, toy_folder: Path, text_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that predicts 1 for nothing, 2 more for conditions and 4 more for the mask, guided by 3 and 1.5."""
    run = trained(family, toy_folder, tmp_path, until=0, **prerequisites(family, toy_folder, tmp_path, text_model))
    pipeline, guided = run.pipeline(), []

    def predict(point: torch.Tensor, _timestep: object, with_mask: bool = True, with_conditions: bool = True):
        return torch.full_like(point, 1.0 + 2.0 * with_conditions + 4.0 * with_mask)

    step = pipeline.scheduler.step

    @wraps(step)
    def noted(predicted: torch.Tensor, *rest: object, **options: object):
        guided.append(predicted)
        return step(predicted, *rest, **options)

    monkeypatch.setattr(pipeline.condition_encoder, "predictor", lambda *_, **__: predict)
    monkeypatch.setattr(pipeline.scheduler, "step", noted)
    mask = one_hot(torch.from_numpy(run.validation_slices.masks[:2]))
    for scales, expected in (((3.0, 1.5), 1 + 3 * 2 + 1.5 * 4), ((1.0, 1.0), 7), ((2.0, None), 13), ((1.0, 0.0), 3)):
        guided.clear()
        sample(pipeline, mask, guidance_scale=scales[0], mask_guidance_scale=scales[1], vendor="A")
        assert len(guided) == 2
        assert all(torch.allclose(found, torch.full_like(found, expected)) for found in guided), (scales, expected)


@pytest.mark.parametrize("family", ["flow", "gan", "vae"])
def test_the_encoder_learns_from_scalars_and_prompts_and_the_text_model_stays(
    family: str, toy_folder: Path, text_model: Path, tmp_path: Path
) -> None:
    run = trained(family, toy_folder, tmp_path / "run", steps=100, until=1, **EF, text_encoder=str(text_model))
    before = {name: weight.clone() for name, weight in run.family.encoder.named_parameters()}
    text = run.family.text_model.fingerprint
    for _ in range(4):
        run.train_step()
    now = dict(run.family.encoder.named_parameters())
    for name in ("scalar_projections.ejection_fraction.weight", "text_projection.weight"):
        assert not torch.equal(before[name], now[name]), name
    del run.family.text_model.__dict__["fingerprint"]
    assert run.family.text_model.fingerprint == text


def test_a_continued_run_reaches_the_weights_of_a_straight_one(
    toy_folder: Path, text_model: Path, tmp_path: Path
) -> None:
    conditions = {**EF, "text_encoder": str(text_model)}
    straight = trained("flow", toy_folder, tmp_path / "straight", steps=4, **conditions)
    trained("flow", toy_folder, tmp_path / "broken", steps=4, until=2, **conditions).save()
    broken = trained("flow", toy_folder, tmp_path / "broken", steps=4, **conditions)
    for one, other in zip(straight.family.averaged.parameters(), broken.family.averaged.parameters(), strict=True):
        assert torch.equal(one, other)


def test_another_text_model_does_not_continue_a_run(toy_folder: Path, text_model: Path, tmp_path: Path) -> None:
    other = tmp_path / "text"
    shutil.copytree(text_model, other)
    trained("flow", toy_folder, tmp_path / "run", until=1, text_encoder=str(other)).save()
    weights = load_file(other / "model.safetensors")
    weights["final_layer_norm.bias" if "final_layer_norm.bias" in weights else sorted(weights)[0]] += 1
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="the text model has changed"):
        trained("flow", toy_folder, tmp_path / "run", text_encoder=str(other))


def test_a_run_from_before_prompts_were_standardised_is_not_continued(
    toy_folder: Path, text_model: Path, tmp_path: Path
) -> None:
    run = trained("flow", toy_folder, tmp_path / "run", until=1, text_encoder=str(text_model))
    run.save()
    path = tmp_path / "run" / "checkpoint-00000001" / "state.json"
    state = json.loads(path.read_text())
    assert len(state["text_statistics"]["mean"]) == run.train.prompts.shape[1]
    del state["text_statistics"]
    path.write_text(json.dumps(state))
    with pytest.raises(InputError, match="before prompts were standardised"):
        trained("flow", toy_folder, tmp_path / "run", text_encoder=str(text_model))


def test_draws_withhold_prompts_leave_parts_out_and_let_them_speak_alone(
    toy_folder: Path, text_model: Path, tmp_path: Path
) -> None:
    run = trained("flow", toy_folder, tmp_path / "run", until=0, **EF, text_encoder=str(text_model))
    data, width = run.train, run.train.prompts.shape[1]
    torch.testing.assert_close(data.prompts.std(0, correction=0), torch.ones(width))  # what tells them apart is loud
    assert data.prompt_of_row.shape == (36, VARIANTS)
    assert len(data.prompts) == len(torch.unique(data.prompts, dim=0))  # each distinct prompt once

    def drawn(**shares: float) -> torch.Tensor:
        return draw_batch(data, range(180), seed=0, withholding=Withholding(**shares), shift=0).conditions

    rows = torch.tensor([row_at(position, 36, 0) for position in range(180)])
    whole = data.prompts[data.prompt_of_row[rows, 0]]
    assert torch.equal(drawn()[:, -width:], whole)
    parts = (drawn(prompt_parts=0.5)[:, -width:] == whole).all(1).float().mean().item()
    assert 0.4 < parts < 0.65  # half, and those whose random parts happen to be all
    alone = drawn(beside_prompt=0.3)
    silent = (alone[:, :4] == 0).all(1) & alone[:, 4].isnan()
    assert 0.2 < silent.float().mean() < 0.4
    assert not alone[:, -width:].isnan().any()
    nothing = drawn(everything=1.0, beside_prompt=1.0)
    assert (nothing[:, :4] == 0).all()
    assert nothing[:, 4:].isnan().all()


def test_the_centre_is_a_condition_where_it_is_asked_for(toy_folder: Path, tmp_path: Path) -> None:
    run = trained("flow", toy_folder, tmp_path / "asked", until=0, attributes=["vendor", "centre"])
    assert run.family.encoder.config.vocabularies == {"vendor": ["A", "B"], "centre": ["1"]}
    usual = trained("flow", toy_folder, tmp_path / "usual", until=0).family.encoder.config
    assert set(usual.vocabularies) == {"pathology", "vendor", "phase", "slice_level"}
    assert usual.scalars is None  # the configuration, and so the hash of a pipeline, is that of before


def test_a_model_without_prompts_keeps_the_draws_it_had(toy_folder: Path, tmp_path: Path) -> None:
    """Runs that began before there were prompts continue with the same numbers, in the same order."""
    data = trained("flow", toy_folder, tmp_path / "run", until=0).train
    withholding = Withholding(classes=1.0, prompt_parts=0.5, beside_prompt=0.3)
    batch = draw_batch(data, [5], seed=0, withholding=withholding, shift=3)
    generator = torch_generator(0, "example", 5)
    assert torch.equal(batch.noise[0], torch.randn((1, 16, 16), generator=generator))
    assert torch.equal(batch.time_normal[0], torch.randn((), generator=generator))
    torch.rand(2 + 4, generator=generator)  # what is withheld, of four attributes
    torch.randint(-3, 4, (2,), generator=generator)
    assert torch.equal(batch.latent[0], torch.randn(256, generator=generator))
    assert torch.equal(batch.uniform[0], torch.rand(16, generator=generator))
    kept = torch.rand(4, generator=generator)[1:] < 0.5
    assert not batch.mask[0, 1:][~kept].any()
    assert torch.equal(batch.conditions[0], data.conditions[row_at(5, len(data), 0)])


def test_what_cannot_be_learned_is_refused(toy_folder: Path, text_model: Path, tmp_path: Path) -> None:
    def start(family: str = "flow", **more: object) -> None:
        trained(family, toy_folder, tmp_path / "run", until=0, **more)

    with pytest.raises(InputError, match=r"no slice states age\. To mend it: leave age out of --scalars"):
        start(scalars=["age"])
    with pytest.raises(InputError, match="unknown scalars"):
        start(scalars=["shoe_size"])
    with pytest.raises(InputError, match="no prompts"):
        start("masks", text_encoder=str(text_model))
    with pytest.raises(InputError, match="those of its base"):
        start("controlnet", scalars=["age"], base="b")
    with pytest.raises(InputError, match="CLIP text model"):
        start(text_encoder=str(tmp_path / "nothing"))
    bare = tmp_path / "bare"
    shutil.copytree(text_model, bare)
    (bare / "model.safetensors").rename(bare / "pytorch_model.bin")  # would be a pickle
    with pytest.raises(InputError, match="CLIP text model"):
        start(text_encoder=str(bare))
    short = tmp_path / "short"
    shutil.copytree(text_model, short)
    settings = json.loads((short / "tokenizer_config.json").read_text())
    (short / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 40}))
    with pytest.raises(InputError, match="tokens, and the text model reads 40"):
        start(text_encoder=str(short))


def test_a_run_from_before_these_settings_is_continued(toy_folder: Path, tmp_path: Path) -> None:
    """What a saved run does not know is at its default; a run that had another value is refused."""
    new = ("scalars", "text_encoder", "prompt_part_dropout", "beside_prompt_dropout")
    run = trained("flow", toy_folder, tmp_path / "run", steps=3, until=2)
    run.save()
    path = next((tmp_path / "run").glob("checkpoint-*/state.json"))
    state = json.loads(path.read_text())
    assert set(new) <= set(state["config"])
    old = {name: value for name, value in state["config"].items() if name not in new}
    state.pop("text_model")
    path.write_text(json.dumps({**state, "config": old}))
    assert trained("flow", toy_folder, tmp_path / "run", steps=3).step == 3
    with pytest.raises(InputError, match="'scalars': \\(\\[\\], \\['ejection_fraction'\\]\\)"):
        trained("flow", toy_folder, tmp_path / "run", steps=3, **EF)
