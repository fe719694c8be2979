"""Names on the hub: taken apart, downloaded with a stand-in for huggingface_hub, never over a network."""

from __future__ import annotations

import builtins
import errno
import fnmatch
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from albertine.checkpoints.hub import HubName, fetch, parse_hub_name
from albertine.errors import CheckpointError, ConfigError, FailureError, MissingDependencyError

SAFE = {
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "2_Dense/config.json",
    "2_Dense/model.safetensors",
}
UNWANTED = {
    "modeling_custom.py",
    "training_args.bin",
    "optimizer.pt",
    "flax_model.msgpack",
    "rust_model.ot",
    "onnx/model.onnx",
    "onnx/config.json",
    "checkpoint-500/model.safetensors",
    "2_Dense/custom.py",
    "0_Transformer/modeling_custom.py",
    "0_Transformer/optimizer.pt",
    "README.md",
    "data/train.json",
}


class Hub:
    """What the stand-in holds, and what was asked of it."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.files: set[str] = set(SAFE)
        self.error: Exception | None = None
        self.calls: list[tuple[str, str | None]] = []

    def snapshot_download(self, repo_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        self.calls.append((repo_id, revision))
        if self.error is not None:
            raise self.error
        for name in self.files:
            if any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                (self.cache / name).parent.mkdir(parents=True, exist_ok=True)
                (self.cache / name).touch()
        return str(self.cache)

    def downloaded(self) -> set[str]:
        return {str(path.relative_to(self.cache)) for path in self.cache.rglob("*") if path.is_file()}


def error_classes() -> ModuleType:
    """Related as huggingface_hub's are."""
    module = ModuleType("huggingface_hub.errors")
    missing = type("RepositoryNotFoundError", (Exception,), {})
    classes = [
        missing,
        type("GatedRepoError", (missing,), {}),
        type("RevisionNotFoundError", (Exception,), {}),
        type("HFValidationError", (ValueError,), {}),
        type("LocalEntryNotFoundError", (FileNotFoundError, ValueError), {}),
    ]
    for one in classes:
        setattr(module, one.__name__, one)
    return module


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    stand_in = Hub(tmp_path / "snapshot")
    stand_in.cache.mkdir()
    package = ModuleType("huggingface_hub")
    package.__path__ = []  # type: ignore[attr-defined]
    constants = ModuleType("huggingface_hub.constants")
    vars(constants).update(HF_HUB_OFFLINE=False, HF_HUB_CACHE=str(tmp_path))
    vars(package).update(snapshot_download=stand_in.snapshot_download, errors=error_classes(), constants=constants)
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)
    monkeypatch.setitem(sys.modules, "huggingface_hub.constants", constants)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", vars(package)["errors"])
    return stand_in


def raising(hub: Hub, name: str, text: str = "a long explanation\nof many lines") -> None:
    hub.error = getattr(sys.modules["huggingface_hub.errors"], name)(text)


@pytest.mark.parametrize(
    ("name", "repository", "revision"),
    [
        ("hub:bert-base-chinese", "bert-base-chinese", None),
        ("hub:google-bert/bert-base-chinese", "google-bert/bert-base-chinese", None),
        ("hub:voidful/albert_chinese_tiny@main", "voidful/albert_chinese_tiny", "main"),
        ("hub:a/b.c@refs/pr/13", "a/b.c", "refs/pr/13"),
        ("hub:a/b@0123456789abcdef0123456789abcdef01234567", "a/b", "0123456789abcdef0123456789abcdef01234567"),
    ],
)
def test_names_are_taken_apart(name: str, repository: str, revision: str | None) -> None:
    assert parse_hub_name(name) == HubName(repository=repository, revision=revision)


@pytest.mark.parametrize(
    "name",
    [
        "bert-base-chinese",
        "hub:",
        "hub:/",
        "hub:a/",
        "hub:/b",
        "hub:a/b/c",
        "hub:../b",
        "hub:a/..",
        "hub:a/b--c",
        "hub:a/b c",
        "hub:-a/b",
        "hub:a/b@",
        "hub:a/b@-x",
        "hub:a/b@../x",
        "hub:a/b@x y",
        "hub:https://example.org/a/b",
        "hub:a/" + "b" * 97,
    ],
)
def test_other_names_are_refused_before_anything_is_asked(hub: Hub, name: str) -> None:
    with pytest.raises(ConfigError, match=r"not the name of a model on the hub.*hub:ORGANISATION/NAME"):
        fetch(name)
    assert hub.calls == []


def test_only_files_that_are_read_here_are_downloaded(hub: Hub) -> None:
    hub.files |= UNWANTED | {"pytorch_model.bin", "tf_model.h5"}
    assert fetch("hub:some/model@v2") == hub.cache
    assert hub.calls == [("some/model", "v2")]
    assert hub.downloaded() == SAFE


def test_shards_are_downloaded(hub: Hub) -> None:
    shards = {"config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors"}
    hub.files = set(shards)
    fetch("hub:some/model")
    assert hub.downloaded() == shards


OLD = {
    "modules.json",
    "0_Transformer/config.json",
    "0_Transformer/sentence_bert_config.json",
    "0_Transformer/tokenizer.json",
    "0_Transformer/tokenizer_config.json",
    "0_Transformer/special_tokens_map.json",
    "0_Transformer/added_tokens.json",
    "0_Transformer/vocab.txt",
    "0_Transformer/spiece.model",
    "1_Pooling/config.json",
}
"""What a folder of sentence-transformers 0.x and 1.x holds, its weights aside."""


@pytest.mark.parametrize(
    "weights",
    [
        {"0_Transformer/model.safetensors"},
        {"0_Transformer/model.safetensors.index.json", "0_Transformer/model-00001-of-00001.safetensors"},
        {"0_Transformer/pytorch_model.bin"},
        {"0_Transformer/pytorch_model.bin.index.json", "0_Transformer/pytorch_model-00001-of-00001.bin"},
    ],
    ids=["safetensors", "shards", "pickle", "pickled shards"],
)
def test_an_encoder_in_a_folder_of_its_own_comes_with_its_tokenizer(hub: Hub, weights: set[str]) -> None:
    hub.files = OLD | weights | UNWANTED
    safe = any(".safetensors" in name for name in weights)
    assert fetch("hub:some/model", allow_pickle=not safe) == hub.cache
    assert hub.downloaded() == OLD | weights


@pytest.mark.parametrize("allow_pickle", [True, False])
def test_a_pickled_layer_comes_with_safetensors_only_when_allowed(hub: Hub, allow_pickle: bool) -> None:
    layers = {"2_Dense/config.json", "2_Dense/pytorch_model.bin"}
    hub.files = {"config.json", "model.safetensors", "pytorch_model.bin", "1_Pooling/config.json"} | layers
    fetch("hub:some/model", allow_pickle=allow_pickle)
    wanted = hub.files - {"pytorch_model.bin"} - (set() if allow_pickle else {"2_Dense/pytorch_model.bin"})
    assert hub.downloaded() == wanted


def test_the_settings_of_every_architectures_transformer_are_downloaded(hub: Hub) -> None:
    hub.files = {"config.json", "model.safetensors", "sentence_albert_config.json", "sentence_xlm-roberta_config.json"}
    fetch("hub:some/model")
    assert hub.downloaded() == hub.files


def test_safetensors_come_before_pickles_even_where_those_are_allowed(hub: Hub) -> None:
    hub.files |= {"pytorch_model.bin"}
    fetch("hub:some/model", allow_pickle=True)
    assert hub.downloaded() == SAFE


@pytest.mark.parametrize(
    "weights",
    [{"pytorch_model.bin"}, {"pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin"}],
    ids=["whole", "shards"],
)
def test_pickles_are_downloaded_only_when_allowed(hub: Hub, weights: set[str]) -> None:
    hub.files = {"config.json", "vocab.txt", "2_Dense/model.safetensors"} | weights | UNWANTED
    with pytest.raises(CheckpointError, match=r"no safetensors.*downloaded only with --allow-pickle") as caught:
        fetch("hub:some/model")
    assert "config.json, vocab.txt" in str(caught.value)
    assert not hub.downloaded() & weights
    assert fetch("hub:some/model", allow_pickle=True) == hub.cache
    assert hub.downloaded() == {"config.json", "vocab.txt", "2_Dense/model.safetensors"} | weights


def test_a_model_without_weights_is_refused(hub: Hub) -> None:
    hub.files = {"README.md", "flax_model.msgpack"}
    with pytest.raises(CheckpointError, match=r"no safetensors and no pickled weights.*none of the files"):
        fetch("hub:some/model", allow_pickle=True)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("GatedRepoError", "asks for its owner's permission.*hf auth login"),
        ("RepositoryNotFoundError", "no such model, or it is private.*some/model"),
        ("RevisionNotFoundError", "no such revision.*v9"),
        ("LocalEntryNotFoundError", "hub cannot be reached.*nothing is downloaded unless a name begins with hub:"),
    ],
)
def test_what_goes_wrong_on_the_hub_is_said_in_one_line(hub: Hub, error: str, message: str) -> None:
    raising(hub, error)
    with pytest.raises(CheckpointError, match=message) as caught:
        fetch("hub:some/model@v9")
    assert "hub:some/model@v9" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_only_the_hub_refuses_is_the_users_mistake(hub: Hub) -> None:
    raising(hub, "HFValidationError")
    with pytest.raises(ConfigError, match="not the name of a model"):
        fetch("hub:some/model")


def test_offline_is_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(hub, "LocalEntryNotFoundError")
    monkeypatch.setattr(sys.modules["huggingface_hub.constants"], "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE forbids"):
        fetch("hub:some/model")


@pytest.mark.parametrize(
    "error", [ConnectionError("reset\nby peer"), TimeoutError(), RuntimeError("odd"), OSError(" \n ")]
)
def test_a_broken_connection_is_said_in_one_line(hub: Hub, error: Exception) -> None:
    hub.error = error
    with pytest.raises(CheckpointError, match=f"download failed.*{type(error).__name__}"):
        fetch("hub:some/model")


def test_a_full_disk_is_not_the_users_mistake(hub: Hub) -> None:
    hub.error = OSError(errno.ENOSPC, "no space")
    with pytest.raises(FailureError, match="disk is full"):
        fetch("hub:some/model")


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_hub(name: str, *arguments: object) -> ModuleType:
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return real(name, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_hub)
    with pytest.raises(MissingDependencyError, match=r"albertine\[hub\]"):
        fetch("hub:some/model")


def test_the_real_package_has_what_is_used_and_stays_offline() -> None:
    """With HF_HUB_OFFLINE (which the tests set for everyone) the real package asks nobody."""
    real = pytest.importorskip("huggingface_hub")
    from huggingface_hub import constants, errors

    if not constants.HF_HUB_OFFLINE:
        pytest.skip("HF_HUB_OFFLINE was set after the package was imported")
    names = SimpleNamespace(**{name: getattr(errors, name) for name in vars(error_classes()) if name[0].isupper()})
    assert issubclass(names.GatedRepoError, names.RepositoryNotFoundError)
    assert callable(real.snapshot_download)
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE forbids"):
        fetch("hub:albertine-tests/no-such-model")
