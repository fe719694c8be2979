"""An export appears whole or not at all, only where it computes what the model does, and takes nothing away."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as LibraryTokenizer

import albertine as al
from albertine.checkpoints.load import load_encoder
from albertine.errors import CheckpointError, ConfigError, DataError, FailureError, MissingDependencyError
from albertine.inference.conversion import convert
from albertine.inference.export import export as exporting
from albertine.inference.export.export import Export, export
from albertine.inference.export.graph import Graph
from albertine.inference.export.products import FloatProducts
from albertine.inference.export.running import exported_runner
from albertine.inference.model import Model
from albertine.inference.vectors import load_vectors
from albertine.models.config import EncoderConfig
from albertine.tasks.config import TaskConfig
from albertine.tokenization.tokenizer import padded

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

LABELS = TaskConfig(task="text-classification", labels=("bad", "good"), max_length=41)


def contents(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir()}


@pytest.fixture
def source(shape: Callable[..., EncoderConfig], save_pretraining: Callable[..., Path]) -> Path:
    return save_pretraining(shape("albert"))


def test_the_folder_holds_what_it_takes_to_answer(source: Path, tmp_path: Path) -> None:
    export(source, tmp_path / "onnx", to="onnx")
    names = {one.name for one in (tmp_path / "onnx").iterdir()}
    assert names == {
        "model.onnx",
        "export.json",
        "config.json",
        "manifest.json",
        "README.md",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    }
    described = json.loads((tmp_path / "onnx" / "export.json").read_text("utf-8"))
    assert described["max_length"] == 41
    assert [one["name"] for one in described["inputs"]] == ["input_ids", "attention_mask", "token_type_ids"]
    assert described["outputs"][0]["axes"] == ["batch", "length", 14]
    assert described["files"] == ["model.onnx"]
    library = LibraryTokenizer.from_file(str(tmp_path / "onnx" / "tokenizer.json"))
    _, tokenizer = load_encoder(source)
    assert tokenizer is not None
    assert library.encode("the soup, 很好吃").ids == tokenizer(["the soup, 很好吃"]).input_ids[0].tolist()
    config = json.loads((tmp_path / "onnx" / "config.json").read_text("utf-8"))
    assert config["model_type"] == "albert"


def test_a_graph_that_computes_something_else_is_not_kept(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = FloatProducts.linear

    def without_bias(self: FloatProducts, graph: Graph, states: object, layer: object) -> object:
        from dataclasses import replace

        return whole(self, graph, states, replace(layer, bias=None))  # type: ignore[arg-type, type-var]

    monkeypatch.setattr(FloatProducts, "linear", without_bias)
    before = set(tmp_path.iterdir())
    with pytest.raises(FailureError, match="does not compute what the model does") as caught:
        export(source, tmp_path / "onnx", to="onnx")
    assert "last_hidden_state" in str(caught.value)
    assert set(tmp_path.iterdir()) == before


def test_numbers_that_are_none_fail_in_every_format(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(weight.shape, dtype=np.int8), np.full(len(weight), np.nan, dtype=np.float32)

    monkeypatch.setattr("albertine.inference.export.products.quantized_rows", poisoned)
    with pytest.raises(FailureError, match="not finite"):
        export(source, tmp_path / "int8", to="onnx-int8")
    assert not (tmp_path / "int8").exists()


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interruption_and_a_full_disk_leave_everything_as_it_was(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    export(source, tmp_path / "onnx", to="onnx")
    kept, before = contents(tmp_path / "onnx"), set(tmp_path.iterdir())

    def interrupted(*args: object, **options: object) -> None:
        raise stop

    monkeypatch.setattr(exporting, "write_companions", interrupted)
    with pytest.raises((KeyboardInterrupt, FailureError)):
        export(source, tmp_path / "onnx", to="onnx", overwrite=True)
    with pytest.raises((KeyboardInterrupt, FailureError)):
        export(source, tmp_path / "other", to="onnx")
    assert set(tmp_path.iterdir()) == before
    assert contents(tmp_path / "onnx") == kept


def test_an_earlier_export_is_overwritten_only_when_asked(source: Path, tmp_path: Path) -> None:
    export(source, tmp_path / "exported", to="onnx")
    kept = contents(tmp_path / "exported")
    with pytest.raises(ConfigError, match="--overwrite"):
        export(source, tmp_path / "exported", to="onnx-int8")
    assert contents(tmp_path / "exported") == kept
    export(source, tmp_path / "exported", to="onnx-int8", overwrite=True)
    assert json.loads((tmp_path / "exported" / "export.json").read_text("utf-8"))["format"] == "onnx-int8"


def test_files_of_others_are_never_overwritten(source: Path, tmp_path: Path) -> None:
    export(source, tmp_path / "exported", to="onnx")
    (tmp_path / "exported" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"notes\.txt"):
        export(source, tmp_path / "exported", to="onnx", overwrite=True)
    assert (tmp_path / "exported" / "notes.txt").read_text() == "mine"
    with pytest.raises(ConfigError, match="would be lost"):
        export(source, source.parent, to="onnx", overwrite=True)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    for name in [one for one in sys.modules if one == package or one.startswith(f"{package}.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=r"albertine\[export\]") as caught:
        export(source, tmp_path / "onnx", to="onnx")
    assert f"package {package}," in str(caught.value)
    assert not (tmp_path / "onnx").exists()


def test_texts_of_the_users_are_what_is_compared_on(
    shape: Callable[..., EncoderConfig], save_task: Callable[..., tuple[Model, Path]], tmp_path: Path
) -> None:
    _, source = save_task(shape("bert"), LABELS)
    report = export(source, tmp_path / "onnx", to="onnx", texts=["the soup", "很好吃", "a"])
    assert report.verification.inputs == "3 texts of 3 to 5 tokens"
    assert report.verification.answers == 3
    with pytest.raises(ConfigError, match="no texts"):
        export(source, tmp_path / "none", to="onnx", texts=[])
    with pytest.raises(DataError, match="single texts"):
        export(source, tmp_path / "pairs", to="onnx", texts=[("a", "b")])


def test_a_preset_without_a_tokenizer_is_compared_on_ids(tmp_path: Path) -> None:
    report = export("preset:bert-tiny", tmp_path / "onnx", to="onnx", encoder_only=True)
    assert "rows of random ids" in report.verification.inputs
    assert report.source_format == "preset"
    assert report.verification.answers is None
    assert not (tmp_path / "onnx" / "tokenizer.json").exists()


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "mean_sqrt_length", "weighted_mean", "last"])
def test_an_encoder_gives_vectors_where_a_pooling_is_asked_for(pooling: str, source: Path, tmp_path: Path) -> None:
    texts = ["the soup was hot.", "很好吃", "a", "fox 7, dog 19!"]
    report = export(source, tmp_path / "onnx", to="onnx", pooling=pooling)  # type: ignore[arg-type]
    assert report.outputs == ("sentence_vectors",)
    _, tokenizer = load_encoder(source)
    assert tokenizer is not None
    run = exported_runner(tmp_path / "onnx", threads=1)
    found = run(padded(tokenizer.tokenize(texts), tokenizer.pad_id))["sentence_vectors"]
    expected = load_vectors(source, pooling=pooling).encode(texts)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_what_a_sentence_folder_says_is_in_the_graph_and_the_tokenizer(
    source: Path, tmp_path: Path, shape: Callable[..., EncoderConfig]
) -> None:
    folder = tmp_path / "sentences"
    convert(source, folder, to="sentence-transformers", pooling="mean")
    modules = json.loads((folder / "modules.json").read_text("utf-8"))
    if not any(one["type"].endswith("Normalize") for one in modules):
        modules.append({"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"})
        (folder / "modules.json").write_text(json.dumps(modules))
        (folder / "2_Normalize").mkdir()
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 9, "do_lower_case": False}))
    export(folder, tmp_path / "onnx", to="onnx")
    run = exported_runner(tmp_path / "onnx", threads=1)
    _, tokenizer = load_encoder(source)
    assert tokenizer is not None
    vectors = run(padded(tokenizer.tokenize(["the soup", "a"]), tokenizer.pad_id))["sentence_vectors"]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert json.loads((tmp_path / "onnx" / "export.json").read_text("utf-8"))["max_length"] == 9


def test_lower_case_that_a_sentence_folder_wants_is_the_tokenizers_too(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "sentences"
    convert(source, folder, to="sentence-transformers", pooling="cls")
    (folder / "tokenizer.json").unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"do_lower_case": False}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 9, "do_lower_case": True}))
    export(folder, tmp_path / "onnx", to="onnx")
    library = LibraryTokenizer.from_file(str(tmp_path / "onnx" / "tokenizer.json"))
    assert library.encode("The SOUP").tokens == ["[CLS]", "the", "soup", "[SEP]"]


def test_options_that_change_a_model_are_refused_for_other_runtimes(source: Path, tmp_path: Path) -> None:
    for options in ({"storage": "bf16"}, {"unshare": True}, {"share": "average"}, {"activation": "erf"}, {"groups": 2}):
        with pytest.raises(ConfigError, match="exported as it is") as caught:
            convert(source, tmp_path / "onnx", to="onnx", **options)  # type: ignore[arg-type]
        assert str(caught.value).startswith(next(iter(options)))
    with pytest.raises(ConfigError, match="onnx-int8"):
        convert(source, tmp_path / "onnx", to="onyx")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="overwrite"):
        convert(source, tmp_path / "model", to="albertine", overwrite=True)
    with pytest.raises(ConfigError, match="tolerance"):
        convert(source, tmp_path / "onnx", to="onnx", tolerance=-1.0)


def test_the_public_convert_exports_too(source: Path, tmp_path: Path) -> None:
    report = al.convert(source, tmp_path / "onnx", to="onnx")
    assert isinstance(report, Export)
    assert report.target_format == "onnx"
    assert al.convert(source, tmp_path / "again", to="huggingface").target_format == "huggingface"


def test_a_folder_that_is_no_export_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no exported folder"):
        exported_runner(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="ONNX Runtime cannot open"):
        exported_runner(tmp_path)
