from __future__ import annotations

import numpy as np
import pytest
import torch

from cmrsynth.errors import InputError
from cmrsynth.evaluation import fitting
from cmrsynth.evaluation.encoder import cardiac_encoder
from cmrsynth.evaluation.networks import architecture
from cmrsynth.evaluation.segmenter import augment, train_segmenter
from cmrsynth.labels import LV, MYO, RV
from cmrsynth.metrics.overlap import dice
from cmrsynth.seeds import torch_generator


def fit(part, path, *, labels=(LV, MYO), updates=3, seed=0):
    return train_segmenter(part.images, part.masks, labels, updates=updates, batch_size=8, seed=seed, path=path)


@pytest.fixture(scope="module")
def trained(toy_set, tmp_path_factory):
    return fit(toy_set("train", 10, seed=0), tmp_path_factory.mktemp("models") / "real.safetensors", updates=80)


def test_it_learns_hearts_of_patients_it_never_saw(toy_set, trained):
    other = toy_set("other", 5, seed=1)
    found = trained.predict(other.images)
    assert found.shape == other.masks.shape
    assert found.dtype == np.uint8
    assert dice(found, other.masks, LV) > 0.6  # after 80 updates; nothing found gives 0


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(toy_set, tmp_path):
    part = toy_set("train", 3, seed=0)
    state = torch.get_rng_state()
    hashes = [fit(part, tmp_path / f"{i}.safetensors", seed=seed).facts["sha256"] for i, seed in enumerate((0, 0, 1))]
    assert hashes[0] == hashes[1] != hashes[2]
    assert torch.equal(state, torch.get_rng_state())  # no global state was used


def test_a_saved_network_is_used_again_only_if_data_and_settings_agree(toy_set, tmp_path):
    part, path = toy_set("train", 3, seed=0), tmp_path / "real.safetensors"
    fit(part, path)
    written = path.stat().st_mtime_ns
    fit(part, path)
    assert path.stat().st_mtime_ns == written
    fit(part, path, updates=4)
    assert path.stat().st_mtime_ns != written
    written = path.stat().st_mtime_ns
    fit(toy_set("train", 3, seed=5), path, updates=4)
    assert path.stat().st_mtime_ns != written
    assert [p.name for p in tmp_path.iterdir()] == ["real.safetensors"]


def test_only_annotated_labels_are_predicted(toy_set, tmp_path):
    part = toy_set("train", 3, seed=0)
    network = fit(part, tmp_path / "lv.safetensors", labels=(RV,))
    assert set(np.unique(network.predict(part.images))) <= {0, RV}


def test_sizes_that_the_strides_do_not_divide_come_back_as_they_were(trained):
    assert trained.predict(np.zeros((2, 30, 37), np.float32)).shape == (2, 30, 37)


def test_augmentation_moves_image_and_labels_together_and_never_mirrors():
    rows, columns = np.mgrid[:32, :32]
    left = torch.from_numpy(((columns < 12) & (rows > 8) & (rows < 24)).astype(np.float32))[None, None].repeat(
        64, 1, 1, 1
    )
    image, label = augment(left * 2 - 1, left.long(), torch_generator(0, "test"))
    inside = ((image > 0) == (label > 0)).float().mean()
    assert inside > 0.97
    centre = (label * torch.arange(32)).sum((1, 2, 3)) / label.sum((1, 2, 3))
    assert (centre < 16).all()
    assert set(label.unique().tolist()) == {0, 1}


def test_encoder_features_are_centred_and_scaled_on_the_training_images_and_see_blur_and_brightness(toy_set, trained):
    from scipy.ndimage import gaussian_filter

    part = toy_set("train", 10, seed=0)
    encoder = cardiac_encoder(trained, part.images)
    features = encoder(part.images)
    assert features.shape[1] == len(part) // 4
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-6)
    assert features.var(0).mean() == pytest.approx(1)
    for changed in (gaussian_filter(part.images, (0, 1, 1)), part.images * 0.7):
        assert np.abs(encoder(changed).mean(0)).max() > 1
    assert trained.facts["sha256"][:12] in encoder.made_with


@pytest.mark.parametrize("name", ["unet", "dynunet"])
def test_both_networks_are_saved_and_read_back_whole(toy_set, tmp_path, name):
    part, path = toy_set("train", 2, seed=0), tmp_path / "x.safetensors"
    options = {"updates": 2, "batch_size": 4, "seed": 0, "path": path, "kind": architecture(name, (4, 8, 16))}
    first = train_segmenter(part.images, part.masks, (LV, MYO), **options)
    again = train_segmenter(part.images, part.masks, (LV, MYO), **options)
    assert first.facts == again.facts
    image = torch.rand(1, 1, 32, 32, generator=torch_generator(0, "test"))
    assert torch.equal(first.network(image), again.network(image))
    assert first.network(image).shape == (1, 3, 32, 32)
    np.testing.assert_array_equal(first.predict(part.images[:, :30, :]), again.predict(part.images[:, :30, :]))


def test_an_architecture_that_is_none_is_refused():
    with pytest.raises(InputError, match="no such network"):
        architecture("resnet")
    with pytest.raises(InputError, match="stages"):
        architecture("unet", (16,))


@pytest.mark.slow
def test_bf16_loses_no_dice(toy_set, tmp_path, monkeypatch):
    train, other = toy_set("train", 16, seed=0), toy_set("other", 12, seed=1)
    found = {}
    for precision in ("no", "bf16"):
        monkeypatch.setattr(fitting, "hardware_precision", lambda precision=precision: precision)
        network = fit(train, tmp_path / f"{precision}.safetensors", updates=300)
        found[precision] = dice(network.predict(other.images), other.masks, LV)
    assert found["bf16"] > found["no"] - 0.01
