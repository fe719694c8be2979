"""Folders in every format: which files, whole or not at all, and never mixed with another model's."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from albertine.checkpoints import writing
from albertine.checkpoints.bundle.writer import write_bundle
from albertine.checkpoints.fitting import TargetFormat
from albertine.checkpoints.load import load_encoder, load_pretraining, open_state
from albertine.checkpoints.native import write_model_files
from albertine.checkpoints.state import ModelState, TaskHead
from albertine.checkpoints.tensorflow import open_bundle
from albertine.checkpoints.writing import save_encoder, save_state
from albertine.errors import CheckpointError, ConfigError, FailureError
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.models.heads import PretrainingModel
from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "好", "吃", "tea", "##s", *(f"w{n}" for n in range(90))]
SIZES = {
    "vocab_size": 99,
    "hidden_size": 12,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 29,
    "max_position_embeddings": 17,
}
BERT = EncoderConfig.preset("bert-tiny", **SIZES, embedding_size=12, hidden_act="gelu_tanh")
ALBERT = EncoderConfig.preset("albert-base", **SIZES, embedding_size=7)
BRIGHTMART = replace(ALBERT, embedding_norm_width="hidden", projection_bias=False)
HEAD = TaskHead(task="text-classification", labels=("差", "好", "很好"), module="classifier")
FORMATS: tuple[TargetFormat, ...] = get_args(TargetFormat)
every_format = pytest.mark.parametrize("format", FORMATS)

OURS = {"README.md", "config.json", "manifest.json", "model.safetensors"}
VOCABULARY = {"tokenizer.json", "tokenizer_config.json", "vocab.txt"}
FILES = {
    ("bert", "albertine"): OURS,
    ("bert", "huggingface"): OURS,
    ("bert", "sentence-transformers"): OURS
    | {"1_Pooling", "config_sentence_transformers.json", "modules.json", "sentence_bert_config.json"},
    ("bert", "tensorflow"): {
        "bert_config.json",
        "bert_model.ckpt.data-00000-of-00001",
        "bert_model.ckpt.index",
        "checkpoint",
    },
    ("albert", "tensorflow"): {
        "albert_config.json",
        "checkpoint",
        "model.ckpt-best.data-00000-of-00001",
        "model.ckpt-best.index",
    },
    ("brightmart", "tensorflow"): {
        "albert_config.json",
        "albert_model.ckpt.data-00000-of-00001",
        "albert_model.ckpt.index",
        "checkpoint",
    },
}
CONFIGS = {"bert": BERT, "albert": ALBERT, "brightmart": BRIGHTMART}


def some_state(config: EncoderConfig = BERT, seed: int = 3) -> ModelState:
    torch.manual_seed(seed)
    model = PretrainingModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return ModelState(config=config, tensors={name: one.detach() for name, one in model.state_dict().items()})


def tuned(state: ModelState) -> ModelState:
    tensors = {"classifier.weight": torch.randn(3, 12), "classifier.bias": torch.randn(3)}
    return replace(state, head=HEAD, tensors={**state.tensors, **tensors})


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    file = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    file.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return load_tokenizer(file)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same_encoder(folder: Path, state: ModelState) -> bool:
    found = load_encoder(folder)[0].state_dict()
    return all(torch.equal(one, state.tensors[f"encoder.{name}"]) for name, one in found.items())


@pytest.mark.parametrize(("kind", "format"), FILES)
def test_a_folder_has_the_files_that_published_ones_have(
    tmp_path: Path, tokenizer: Tokenizer, kind: str, format: TargetFormat
) -> None:
    save_state(some_state(CONFIGS[kind]), tokenizer, tmp_path / "with", format)
    save_state(some_state(CONFIGS[kind]), None, tmp_path / "without", format)
    assert {path.name for path in (tmp_path / "without").iterdir()} == FILES[kind, format]
    assert {path.name for path in (tmp_path / "with").iterdir()} == FILES[kind, format] | VOCABULARY
    assert {path.name for path in tmp_path.iterdir()} == {"with", "without"}


@every_format
def test_an_encoder_alone_and_with_heads_is_written_in_every_format(tmp_path: Path, format: TargetFormat) -> None:
    model = PretrainingModel(BERT)
    save_encoder(model, None, tmp_path / "whole", format)
    save_encoder(model.encoder, None, str(tmp_path / "encoder"), format=format)
    for folder, heads in (("whole", format != "sentence-transformers"), ("encoder", False)):
        read, _ = load_pretraining(tmp_path / folder)
        assert (read.masked_word_head is not None, read.pair_head is not None) == (heads, heads)
        expected = model.encoder.state_dict()
        assert all(torch.equal(one, expected[name]) for name, one in read.encoder.state_dict().items())


@every_format
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_of_the_weights_is_kept(tmp_path: Path, format: TargetFormat, dtype: torch.dtype) -> None:
    encoder = Encoder(BERT).to(dtype)
    save_encoder(encoder, None, tmp_path / "model", format)
    read = open_state(tmp_path / "model").state.tensors
    kept = torch.float32 if format == "tensorflow" else dtype  # Google's code takes no other
    assert {one.dtype for one in read.values()} == {kept}
    expected = encoder.state_dict()
    assert all(torch.equal(one, expected[name.removeprefix("encoder.")].to(kept)) for name, one in read.items())


@every_format
@pytest.mark.parametrize(("own", "written"), [(None, 17), (13, 13), (99, 17)])
def test_a_tokenizer_cuts_to_what_model_and_tokenizer_can_read(
    tmp_path: Path, tokenizer: Tokenizer, format: TargetFormat, own: int | None, written: int
) -> None:
    save_state(some_state(), Tokenizer(tokenizer.model, max_length=own), tmp_path / "model", format)
    values = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text("utf-8"))
    assert values["model_max_length"] == written


CLASSES = {
    "ForPreTraining": ("masked_word_head.", "pair_head."),
    "ForMaskedLM": ("masked_word_head.",),
    "ForNextSentencePrediction": ("pair_head.",),
    "Model": (),
}


@pytest.mark.parametrize("suffix", CLASSES)
def test_config_json_names_the_class_that_the_heads_make_up(tmp_path: Path, suffix: str) -> None:
    for config, family in ((BERT, "Bert"), (ALBERT, "Albert")):
        state = some_state(config)
        kept = {name: one for name, one in state.tensors.items() if name.startswith(("encoder.", *CLASSES[suffix]))}
        save_state(replace(state, tensors=kept), None, tmp_path / family, "huggingface")
        values = json.loads((tmp_path / family / "config.json").read_text("utf-8"))
        there = "Model" if (family, suffix) == ("Albert", "ForNextSentencePrediction") else suffix
        assert values["architectures"] == [family + there]


def test_task_json_is_written_for_a_head_and_kept_where_there_was_one(tmp_path: Path) -> None:
    state = tuned(some_state())
    save_state(state, None, tmp_path / "new", "albertine")
    made = json.loads((tmp_path / "new" / "task.json").read_text("utf-8"))
    assert (made["task"], made["labels"]) == ("text-classification", list(HEAD.labels))
    task = {**made, "temperature": 1.7}
    fit = save_state(state, None, tmp_path / "kept", "albertine", task=task)
    assert json.loads((tmp_path / "kept" / "task.json").read_text("utf-8")) == task
    assert not any("task.json" in note for note in fit.notes)
    for format in ("huggingface", "tensorflow", "sentence-transformers"):
        fit = save_state(state, None, tmp_path / format, format, task=task)
        assert any(note.startswith("task.json is left out") for note in fit.notes)
        assert not (tmp_path / format / "task.json").exists()


def test_the_index_that_is_written_has_no_more_than_the_model(tmp_path: Path) -> None:
    save_state(some_state(), None, tmp_path / "tf", "tensorflow")
    source = open_bundle(tmp_path / "tf" / "bert_model.ckpt")
    assert source.skipped.summary == ""
    assert len(source.entries) == len(some_state().tensors)
    assert "bert_model.ckpt" in (tmp_path / "tf" / "checkpoint").read_text("utf-8")


# --- what stood there before


@every_format
@pytest.mark.parametrize("before", FORMATS)
def test_a_model_of_ours_gives_way_and_other_files_stay(
    tmp_path: Path, tokenizer: Tokenizer, before: TargetFormat, format: TargetFormat
) -> None:
    folder = tmp_path / "model"
    save_state(some_state(), tokenizer, folder, before)
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    other = some_state(seed=4)
    if before == "tensorflow" != format:  # no manifest says that these files are ours to remove
        with pytest.raises(CheckpointError, match=r"another model stands in this folder.*bert_model\.ckpt\.index"):
            save_state(other, None, folder, format)
        assert same_encoder(folder, some_state())
    else:
        save_state(other, tokenizer, folder, format)
        assert same_encoder(folder, other)
        assert open_state(folder).format == ("albertine" if format == "huggingface" else format)
    assert (folder / "notes.txt").read_text("utf-8") == "mine"
    assert list(tmp_path.iterdir()) == [folder]
    assert not any(path.name.startswith(".") for path in folder.iterdir())


def test_without_a_tokenizer_the_old_one_does_not_stay(tmp_path: Path, tokenizer: Tokenizer) -> None:
    save_state(some_state(), tokenizer, tmp_path / "model", "huggingface")
    save_state(some_state(seed=4), None, tmp_path / "model", "huggingface")
    assert {path.name for path in (tmp_path / "model").iterdir()} == OURS
    assert load_encoder(tmp_path / "model")[1] is None


def foreign(folder: Path) -> None:
    """Somebody's folder: nothing in it says that it is ours."""
    save_state(some_state(), None, folder, "huggingface")
    for name in ("manifest.json", "README.md"):
        (folder / name).unlink()


def shards(folder: Path) -> None:
    foreign(folder)
    shutil.move(folder / "model.safetensors", folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {}}', encoding="utf-8")


def sentences(folder: Path) -> None:
    foreign(folder)
    (folder / "modules.json").write_text("[]", encoding="utf-8")


def vocabulary(folder: Path) -> None:
    folder.mkdir()
    (folder / "vocab.txt").write_text("[PAD]\n", encoding="utf-8")


MIXTURES: list[tuple[Callable[[Path], None], TargetFormat, str]] = [
    (foreign, "tensorflow", r"config\.json, model\.safetensors"),
    (shards, "huggingface", r"model-00001-of-00001\.safetensors, model\.safetensors\.index\.json"),
    (sentences, "huggingface", r"modules\.json"),
    (sentences, "tensorflow", r"config\.json, model\.safetensors, modules\.json"),
    (vocabulary, "albertine", r"vocab\.txt"),
]


@pytest.mark.parametrize(("make", "format", "named"), MIXTURES)
def test_files_of_another_model_that_would_stay_are_named_and_nothing_is_written(
    tmp_path: Path, make: Callable[[Path], None], format: TargetFormat, named: str
) -> None:
    make(tmp_path / "model")
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match=f"would mix with the new ones. Received: {named}. Name a new folder"):
        save_state(some_state(seed=4), None, tmp_path / "model", format)
    assert contents(tmp_path) == before


def test_files_of_another_model_that_are_all_replaced_are_no_mixture(tmp_path: Path) -> None:
    foreign(tmp_path / "model")
    save_state(some_state(seed=4), None, tmp_path / "model", "huggingface")
    assert same_encoder(tmp_path / "model", some_state(seed=4))


# --- what goes wrong on the way


def writer_of(format: TargetFormat) -> str:
    return "write_bundle" if format == "tensorflow" else "write_model_files"


def failing(monkeypatch: pytest.MonkeyPatch, format: TargetFormat, error: BaseException) -> None:
    """Let writing fail when its files are there already."""
    original: Callable[..., object] = write_bundle if format == "tensorflow" else write_model_files

    def write(*values: object, **options: object) -> None:
        original(*values, **options)
        raise error

    monkeypatch.setattr(writing, writer_of(format), write)


FAILURES = {
    "interrupted": (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    "full": (OSError(errno.ENOSPC, "No space left on device"), FailureError, r"model: the disk is full"),
    "over quota": (OSError(errno.EDQUOT, "Disk quota exceeded"), FailureError, r"model: the disk is full"),
    "forbidden": (OSError(errno.EACCES, "Permission denied"), FailureError, r"model: this place cannot be written to"),
}


@every_format
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("stands", [True, False])
def test_what_stood_there_is_whole_when_writing_fails(
    tmp_path: Path, format: TargetFormat, failure: str, stands: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stands:
        save_state(some_state(), None, tmp_path / "model", format)
    before = contents(tmp_path)
    error, expected, text = FAILURES[failure]
    failing(monkeypatch, format, error)
    with pytest.raises(expected, match=text):
        save_state(some_state(seed=4), None, tmp_path / "model", format)
    assert contents(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == ({"model"} if stands else set())


@every_format
@pytest.mark.parametrize("stands", [True, False])
def test_a_check_sees_the_whole_folder_and_keeps_it_from_its_place(
    tmp_path: Path, tokenizer: Tokenizer, format: TargetFormat, stands: bool
) -> None:
    if stands:
        save_state(some_state(), tokenizer, tmp_path / "model", format)
    before = contents(tmp_path)
    other = some_state(seed=4)

    def check(folder: Path, written: ModelState) -> None:
        assert folder != tmp_path / "model"
        assert same_encoder(folder, other)
        assert load_encoder(folder)[1] is not None
        assert written.config == other.config
        raise FailureError("not good enough")

    with pytest.raises(FailureError, match="not good enough"):
        save_state(other, tokenizer, tmp_path / "model", format, check=check)
    assert contents(tmp_path) == before


def test_what_cannot_be_held_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='format="albertine"'):
        save_state(some_state(BRIGHTMART), None, tmp_path / "new" / "model", "huggingface")
    with pytest.raises(CheckpointError, match="no original TensorFlow code"):
        save_state(some_state(replace(BERT, layer_norm_eps=1e-5)), None, tmp_path / "new" / "model", "tensorflow")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("text", encoding="utf-8")
    with pytest.raises(CheckpointError, match="where a file stands"):
        save_state(some_state(), None, tmp_path / "file", "huggingface")
