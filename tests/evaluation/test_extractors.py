from __future__ import annotations

import json
from hashlib import sha256

import numpy as np
import pytest
import torch

from cmrsynth.errors import InputError
from cmrsynth.evaluation import extractors
from cmrsynth.evaluation.extractors import load_extractor, state_hash
from cmrsynth.evaluation.image_models import Preprocessing, _shorter
from cmrsynth.evaluation.settings import EvaluationSettings, ExtractorSpec

SIDE = 28


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((5, SIDE, SIDE), dtype=np.float32)


class StandInInception(torch.nn.Module):
    """Called as FID's Inception is; the features tell what came in."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))

    def forward(
        self, img: torch.Tensor, return_features: bool = False, use_fp16: bool = False, no_output_bias: bool = False
    ):
        assert img.dtype == torch.uint8
        assert img.shape[1] == 3
        x = img.float().mean((2, 3)) * self.weight
        return x if return_features else torch.softmax(x, 1)


def scripted(module, path):
    torch.jit.save(torch.jit.script(module), str(path))
    return path


def seeded(module):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return module


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory):
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("dinov2")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    seeded(Dinov2Model(Dinov2Config(**sizes))).save_pretrained(folder)
    config = {
        "do_resize": True, "size": {"shortest_edge": 32}, "do_center_crop": True,
        "crop_size": {"height": 28, "width": 28}, "resample": 3, "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    folder = tmp_path_factory.mktemp("clip")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    seeded(CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes, projection_dim=6))).save_pretrained(folder)
    config = {"size": 28, "resample": 3, "crop_size": 28, "do_center_crop": True, "image_mean": [0.5] * 3,
              "image_std": [0.25] * 3}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("channels", [1, 3])
def test_a_torchscript_file_is_fed_the_channels_it_takes_and_its_maps_are_averaged(images, tmp_path, channels):
    module = torch.nn.Sequential(torch.nn.Conv2d(channels, 6, 3), torch.nn.ReLU())
    path = scripted(module, tmp_path / "x.pt")
    encoder = load_extractor(ExtractorSpec("mine", str(path)), images)
    expected = module(torch.from_numpy(images)[:, None].expand(-1, channels, -1, -1)).mean((2, 3))
    np.testing.assert_allclose(encoder(images), expected.detach(), atol=1e-6)
    assert (encoder.dimensions, encoder.components, encoder.kind) == (6, None, "other")
    assert encoder.sha256 == sha256(path.read_bytes()).hexdigest()
    assert encoder.made_with.startswith(f"mine (TorchScript, {channels} channels in [0, 1]), 6 dimensions, sha256 ")


def test_inception_gets_bytes_and_is_asked_for_features(images, tmp_path):
    path = scripted(StandInInception(), tmp_path / "weights.pt")
    encoder = load_extractor(ExtractorSpec("fid", str(path)), images)
    features = encoder(images)
    np.testing.assert_allclose(features, np.repeat(np.rint(images * 255).mean((1, 2))[:, None], 3, 1), rtol=1e-5)
    assert encoder.kind == "inception"
    assert encoder(images).dtype == np.float64


def test_inception_is_downloaded_once_into_the_cache(images, tmp_path, monkeypatch):
    calls = []

    def download(url, destination):
        calls.append(url)
        scripted(StandInInception(), destination)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        assert load_extractor(ExtractorSpec("fid", "inception"), images).kind == "inception"
    assert calls == [extractors.INCEPTION_URL]
    assert (tmp_path / "checkpoints" / "inception-2015-12-05.pt").is_file()


def test_without_a_network_the_inception_error_says_where_to_put_the_file(images, tmp_path, monkeypatch):
    def download(url, destination):
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(InputError, match=r"no route.*inception-2015-12-05\.pt"):
        load_extractor(ExtractorSpec("fid", "inception"), images)


def test_dinov2_gives_the_class_token_of_images_prepared_as_its_processor_says(images, dinov2):
    import torch.nn.functional as F
    from transformers import Dinov2Model

    encoder = load_extractor(ExtractorSpec("dinov2", str(dinov2)), images)
    batch = F.interpolate(torch.from_numpy(images)[:, None], (32, 32), mode="bicubic", antialias=True).clamp(0, 1)
    batch = batch[..., 2:30, 2:30].expand(-1, 3, -1, -1)
    mean, deviation = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    model = Dinov2Model.from_pretrained(dinov2).eval()
    with torch.no_grad():
        expected = model((batch - mean) / deviation).pooler_output
    np.testing.assert_allclose(encoder(images), expected, atol=1e-5)
    assert encoder.sha256 == state_hash(model)
    assert encoder.source.endswith("class token, bicubic to 32, centre 28x28")
    assert str(dinov2) not in encoder.made_with


def test_clip_gives_its_projected_embedding(images, clip):
    from transformers import CLIPVisionModelWithProjection

    encoder = load_extractor(ExtractorSpec("clip", str(clip)), images)
    batch = (torch.from_numpy(images)[:, None].expand(-1, 3, -1, -1) - 0.5) / 0.25
    with torch.no_grad():
        expected = CLIPVisionModelWithProjection.from_pretrained(clip).eval()(batch).image_embeds
    np.testing.assert_allclose(encoder(images), expected, atol=1e-5)
    assert (encoder.kind, encoder.dimensions) == ("clip", 6)


def test_a_network_without_a_class_token_gives_its_mean_over_the_image(images, tmp_path):
    from transformers import ResNetConfig, ResNetModel

    sizes = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}
    model = ResNetModel(ResNetConfig(**sizes)).eval()
    model.save_pretrained(tmp_path)
    config = {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    encoder = load_extractor(ExtractorSpec("resnet", str(tmp_path)), images)
    assert encoder.dimensions == 8
    assert "mean over the image, bilinear to 32x32" in encoder.source


def test_pickled_weights_are_refused(images, dinov2, tmp_path):
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text((dinov2 / name).read_text())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="safetensors"):
        load_extractor(ExtractorSpec("dinov2", str(tmp_path)), images)


def test_a_checkpoint_with_missing_weights_is_refused_for_they_would_be_random(images, dinov2, tmp_path):
    from safetensors.torch import load_file, save_file

    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text((dinov2 / name).read_text())
    weights = load_file(dinov2 / "model.safetensors")
    weights.pop(next(name for name in weights if name.endswith("patch_embeddings.projection.weight")))
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="would be random"):
        load_extractor(ExtractorSpec("dinov2", str(tmp_path)), images)


def test_a_text_model_is_refused(images, tmp_path):
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(**sizes, vocab_size=20)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="no image model"):
        load_extractor(ExtractorSpec("text", str(tmp_path)), images)
    config = {"size": 28, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="not images alone"):
        load_extractor(ExtractorSpec("text", str(tmp_path)), images)


HUBCONF = """
import torch

class Recorder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x[:, :, :2, :2] * self.weight

def radimagenet_toy(**options):
    return Recorder()

def other(**options):
    return Recorder()

def broken(**options):
    raise KeyError("weights moved")
"""


@pytest.fixture
def hub(tmp_path):
    (tmp_path / "hubconf.py").write_text(HUBCONF)
    return tmp_path


def test_a_radimagenet_model_of_torch_hub_gets_images_less_the_mean(images, hub):
    encoder = load_extractor(ExtractorSpec.parse(f"rad=torchhub:{hub}:radimagenet_toy"), images)
    expected = images[:, :2, :2].mean((1, 2))[:, None] - np.array([0.406, 0.456, 0.485])
    np.testing.assert_allclose(encoder(images), expected, atol=1e-6)
    assert str(hub) not in encoder.made_with


def test_any_other_model_of_torch_hub_gets_images_as_imagenet_networks_want_them(images, hub):
    grey = np.full_like(images, 0.5)
    encoder = load_extractor(ExtractorSpec("other", f"torchhub:{hub}:other"), images)
    expected = (0.5 - np.array(extractors.IMAGENET_MEAN)) / np.array(extractors.IMAGENET_STD)
    np.testing.assert_allclose(encoder(grey), np.tile(expected, (5, 1)), atol=1e-5)
    assert "224 x 224" in encoder.made_with


def test_an_error_in_torch_hub_code_is_told(images, hub):
    with pytest.raises(InputError, match="weights moved"):
        load_extractor(ExtractorSpec("x", f"torchhub:{hub}:broken"), images)


def test_what_is_no_extractor_is_refused(images, tmp_path):
    with pytest.raises(InputError, match="no file"):
        load_extractor(ExtractorSpec("mine", str(tmp_path / "absent.pt")), images)
    with pytest.raises(InputError, match="no file"):
        load_extractor(ExtractorSpec("mine", "weights/absent.pt"), images)
    (tmp_path / "text.pt").write_text("not weights")
    with pytest.raises(InputError, match="not a TorchScript"):
        load_extractor(ExtractorSpec("mine", str(tmp_path / "text.pt")), images)
    for text in ("inception.pt", "=x", "my name=x", "name="):
        with pytest.raises(InputError, match="NAME=SOURCE"):
            ExtractorSpec.parse(text)
    with pytest.raises(InputError, match="OWNER/REPO:MODEL"):
        ExtractorSpec.parse("rad=torchhub:owner/repo")


class Scalar(torch.nn.Module):
    def forward(self, x):
        return x.mean()


class Undefined(torch.nn.Module):
    def forward(self, x):
        return x.mean((2, 3)) / 0 * 0


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Scalar(), "finite features|fails on 28x28"),
        (Undefined(), "finite features"),
        (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 2)), "fails on 28x28 images"),
    ],
)
def test_an_extractor_that_gives_no_features_is_refused(images, tmp_path, module, said):
    path = scripted(module, tmp_path / "x.pt")
    with pytest.raises(InputError, match=said):
        load_extractor(ExtractorSpec("mine", str(path)), images)


def test_settings_keep_the_machines_paths_to_themselves():
    specs = [("fid", "/mnt/trial/inception.pt"), ("rad", "torchhub:/mnt/trial/repo:m"), ("d", "facebook/dinov2-base")]
    written = EvaluationSettings(extractors=tuple(ExtractorSpec(*s) for s in specs)).as_json()["extractors"]
    assert [e["source"] for e in written] == [".../inception.pt", "torchhub:.../repo:m", "facebook/dinov2-base"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"crop_pct": 0.875, "size": 28}, "crop_pct"),
        ({"resample": 1, "size": 28}, "filter"),
        ({"size": {"longest_edge": 28}, "image_mean": [0], "image_std": [1]}, "height"),
        ({"size": 28}, "image_mean"),
    ],
)
def test_a_processor_that_would_have_to_be_guessed_is_refused(config, said):
    with pytest.raises(InputError, match=said):
        Preprocessing.read("somewhere", config)


def test_the_shorter_side_is_resized_and_a_crop_must_fit():
    assert _shorter((40, 60), 20) == (20, 30)
    assert _shorter((60, 40), 20) == (30, 20)
    config = {"size": 20, "do_center_crop": True, "crop_size": 24, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    with pytest.raises(ValueError, match="does not fit"):
        Preprocessing.read("somewhere", config)(torch.zeros(1, 1, 40, 40))
    unscaled = Preprocessing.read("somewhere", {"do_resize": False, "do_rescale": False, "do_normalize": False})
    assert float(unscaled(torch.ones(1, 1, 8, 8)).max()) == 255


@pytest.mark.parametrize("side", [36, 90])
def test_preparation_agrees_with_the_processor_of_transformers_to_its_8_bit_rounding(side):
    processors = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(0).normal(size=(64, 80)), 1.5)
    image = np.rint(255 * (0.5 + 0.4 * noise / np.abs(noise).max())).astype(np.uint8)  # nothing to clip
    config = {
        "size": {"shortest_edge": side}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True,
        "resample": 3, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3],
    }  # fmt: skip
    pillow = Image.fromarray(image).convert("RGB")
    theirs = processors.CLIPImageProcessorPil(**config)(images=pillow, return_tensors="pt")["pixel_values"]
    ours = Preprocessing.read("somewhere", config)(torch.from_numpy(image / 255).float()[None, None])
    np.testing.assert_allclose(ours, theirs, atol=1.01 / 255 / 0.2)


@pytest.mark.slow  # its import takes seconds
def test_fid_of_an_extractor_agrees_with_torchmetrics_fed_the_same_network(tmp_path):
    from cmrsynth.metrics.frechet import frechet_distance

    fid = pytest.importorskip("torchmetrics.image.fid")

    class Features(torch.nn.Module):
        num_features = 5

        def __init__(self):
            super().__init__()
            self.maps = torch.nn.Conv2d(3, 5, 5)

        def forward(self, img: torch.Tensor, return_features: bool = True):
            return self.maps(img.double() / 255).square().mean((2, 3))

    network = seeded(Features()).double()
    x, y = (np.random.default_rng(seed).random((60, 24, 24), dtype=np.float32) ** (1 + seed) for seed in (0, 1))
    encoder = load_extractor(ExtractorSpec("fid", str(scripted(network, tmp_path / "x.pt"))), x)
    theirs = fid.FrechetInceptionDistance(feature=network, input_img_size=(3, 24, 24)).set_dtype(torch.float64)
    for part, real in ((y, True), (x, False)):
        as_bytes = torch.from_numpy(np.rint(part * 255).astype(np.uint8))[:, None].expand(-1, 3, -1, -1)
        theirs.update(as_bytes, real=real)
    assert frechet_distance(encoder(x), encoder(y)) == pytest.approx(float(theirs.compute()), rel=1e-4)
