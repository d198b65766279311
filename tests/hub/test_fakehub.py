"""The stand-in for the Hub behaves like the Hub where our code relies on it."""

from __future__ import annotations

import pytest


def test_upload_list_download_and_delete(hub, hub_server, tmp_path):
    from huggingface_hub import HfApi, hf_hub_download

    (tmp_path / "weights.safetensors").write_bytes(b"\x00" * 300)
    (tmp_path / "old.py").write_text("stale = True\n")
    api = HfApi()
    api.create_repo("me/roundtrip", private=True)
    api.upload_folder(repo_id="me/roundtrip", folder_path=tmp_path)
    (tmp_path / "old.py").unlink()
    (tmp_path / "README.md").write_text("# Model\n")
    api.upload_folder(repo_id="me/roundtrip", folder_path=tmp_path, delete_patterns=["*.py"])

    assert hub_server.private["models/me/roundtrip"] is True
    assert sorted(api.list_repo_files("me/roundtrip")) == ["README.md", "weights.safetensors"]
    with open(hf_hub_download("me/roundtrip", "weights.safetensors"), "rb") as file:
        assert file.read() == b"\x00" * 300
    assert (hub / "models/me/roundtrip/README.md").read_text() == "# Model\n"


def test_unknown_repository_is_refused():
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    with pytest.raises(RepositoryNotFoundError):
        HfApi().model_info("me/there-is-no-such-thing")


def test_datasets_round_trip():
    import datasets

    datasets.Dataset.from_dict({"a": [1, 2]}).push_to_hub("me/numbers")
    assert datasets.load_dataset("me/numbers", split="train")["a"][:] == [1, 2]
