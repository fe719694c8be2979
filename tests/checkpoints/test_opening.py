"""One model in every form in which models are published, opened from each; and what is said where it cannot be."""

from __future__ import annotations

import json
import logging
import re
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from albertine.checkpoints.load import load_encoder, load_pretraining, open_state, preset_asked_for
from albertine.checkpoints.native import read_model_folder
from albertine.checkpoints.opening import open_checkpoint
from albertine.checkpoints.source import read_all
from albertine.checkpoints.state import ModelState, TaskHead
from albertine.checkpoints.writing import save_state
from albertine.errors import CheckpointError, ConfigError, TokenizerError, UserError
from albertine.inference.loading import load
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel
from albertine.models.pooling import SentencePooling
from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "好", "吃", "tea", "##s", *(f"w{n}" for n in range(90))]
TEXT, IDS = "好吃 teas", [[2, 5, 6, 7, 8, 3]]
CONFIG = EncoderConfig.preset(
    "bert-tiny",
    vocab_size=len(WORDS),
    hidden_size=12,
    embedding_size=12,
    num_hidden_layers=3,
    num_attention_heads=3,
    intermediate_size=29,
    max_position_embeddings=17,
    hidden_act="gelu_tanh",
)


def some_state(config: EncoderConfig = CONFIG) -> ModelState:
    model = PretrainingModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return ModelState(config=config, tensors={name: one.detach() for name, one in model.state_dict().items()})


@pytest.fixture(scope="module")
def state() -> ModelState:
    torch.manual_seed(31)
    return some_state()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    file = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    file.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return load_tokenizer(file)


# --- the forms: each function writes a model below a folder and returns what a user would name


def foreign(folder: Path, state: ModelState, tokenizer: Tokenizer) -> Path:
    """A folder as Hugging Face's library writes one, without anything of ours."""
    save_state(state, tokenizer, folder, "huggingface")
    values = json.loads((folder / "config.json").read_text("utf-8"))
    del values["albertine"]
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    (folder / "manifest.json").unlink()
    return folder


def ours(folder: Path, state: ModelState, tokenizer: Tokenizer) -> Path:
    save_state(state, tokenizer, folder / "ours", "albertine")
    return folder / "ours"


def tensorflow(folder: Path, state: ModelState, tokenizer: Tokenizer) -> Path:
    save_state(state, tokenizer, folder, "tensorflow")
    return folder


def index_file(folder: Path, state: ModelState, tokenizer: Tokenizer) -> Path:
    return tensorflow(folder, state, tokenizer) / "bert_model.ckpt.index"


def data_file(folder: Path, state: ModelState, tokenizer: Tokenizer) -> Path:
    return tensorflow(folder, state, tokenizer) / "bert_model.ckpt.data-00000-of-00001"


def prefix(folder: Path, state: ModelState, tokenizer: Tokenizer) -> Path:
    return tensorflow(folder, state, tokenizer) / "bert_model.ckpt"


def saved_model(folder: Path, state: ModelState, tokenizer: Tokenizer) -> Path:
    tensorflow(folder / "made", state, tokenizer)
    for place in ("variables", "assets"):
        (folder / "hub" / place).mkdir(parents=True)
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.move(folder / "made" / f"bert_model.ckpt{suffix}", folder / "hub" / "variables" / f"variables{suffix}")
    shutil.move(folder / "made" / "bert_config.json", folder / "hub" / "bert_config.json")
    shutil.move(folder / "made" / "vocab.txt", folder / "hub" / "assets" / "vocab.txt")
    (folder / "hub" / "saved_model.pb").write_bytes(b"a graph")
    return folder / "hub"


def zipped(inside: str, form: Callable[[Path, ModelState, Tokenizer], Path]) -> Callable[..., Path]:
    def write(folder: Path, state: ModelState, tokenizer: Tokenizer) -> Path:
        source = form(folder / "made", state, tokenizer)
        with zipfile.ZipFile(folder / "model.zip", "w") as archive:
            for file in sorted(source.rglob("*")):
                archive.write(file, inside + str(file.relative_to(source)))
        return folder / "model.zip"

    return write


def tarred(
    inside: str, mode: str, name: str, form: Callable[[Path, ModelState, Tokenizer], Path] = tensorflow
) -> Callable[..., Path]:
    def write(folder: Path, state: ModelState, tokenizer: Tokenizer) -> Path:
        source = form(folder / "made", state, tokenizer)
        with tarfile.open(folder / name, mode) as archive:  # type: ignore[call-overload]
            archive.add(source, inside)
        return folder / name

    return write


def keras(folder: Path, state: ModelState, tokenizer: Tokenizer) -> Path:
    """tf_model.h5: a group for every layer, kernels as [in, out], names as TensorFlow has them."""
    h5py = pytest.importorskip("h5py", reason="the extra keras is not installed")
    tensors = take_tensors(foreign(folder, state, tokenizer))
    layers: dict[str, None] = {}
    with h5py.File(folder / "tf_model.h5", "w") as file:
        for name, value in tensors.items():
            *levels, last = name.split(".")
            if levels[-1] == "LayerNorm":
                last = {"weight": "gamma", "bias": "beta"}[last]
            elif levels[-1] in ("position_embeddings", "token_type_embeddings"):
                last = "embeddings"
            elif last == "weight" and levels[-1] != "word_embeddings":
                last, value = "kernel", value.t()
            if levels[0] == "cls":
                levels[0] = "nsp___cls" if levels[1] == "seq_relationship" else "mlm___cls"
            layers[levels[0]] = None
            path = re.sub(r"/layer/(\d+)/", r"/layer_._\1/", "/".join((*levels, last)))
            file.create_dataset(f"{levels[0]}/tf_bert_for_pre_training/{path}:0", data=value.numpy())
        file.attrs["layer_names"] = list(layers)
    return folder


def pickled(folder: Path, state: ModelState, tokenizer: Tokenizer) -> Path:
    tensors = take_tensors(foreign(folder, state, tokenizer))
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder


def sharded(folder: Path, state: ModelState, tokenizer: Tokenizer) -> Path:
    tensors = take_tensors(foreign(folder, state, tokenizer))
    names = sorted(tensors)
    shards = {f"model-0000{n + 1}-of-00003.safetensors": names[n::3] for n in range(3)}
    for shard, own in shards.items():
        save_file({name: tensors[name].contiguous() for name in own}, folder / shard)
    places = {name: shard for shard, own in shards.items() for name in own}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}), encoding="utf-8")
    return folder


def sentence_transformers(folder: Path, state: ModelState, tokenizer: Tokenizer) -> Path:
    save_state(pooled(state), tokenizer, folder / "sentences", "sentence-transformers")
    return folder / "sentences"


def old_sentence_transformers(folder: Path, state: ModelState, tokenizer: Tokenizer) -> Path:
    """The encoder in a folder of its own, and with everything that a model for training has."""
    root = sentence_transformers(folder, state, tokenizer)
    modules = json.loads((root / "modules.json").read_text("utf-8"))
    modules[0]["path"] = "0_Transformer"
    (root / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (root / "0_Transformer").mkdir()
    for file in [
        *root.glob("*.txt"),
        *root.glob("token*"),
        *root.glob("*.safetensors"),
        root / "config.json",
        root / "sentence_bert_config.json",
    ]:
        shutil.move(file, root / "0_Transformer" / file.name)
    return root


def take_tensors(folder: Path) -> dict[str, Tensor]:
    tensors = read_all(read_model_folder(folder).source)
    (folder / "model.safetensors").unlink()
    return tensors


def pooled(state: ModelState) -> ModelState:
    return replace(state, pooling=SentencePooling(modes=("cls", "max"), normalize=True, max_length=11))


FORMS: Mapping[str, tuple[Callable[[Path, ModelState, Tokenizer], Path], str]] = {
    "a folder of Hugging Face's": (foreign, "huggingface"),
    "a folder of ours": (ours, "albertine"),
    "a folder of Google's": (tensorflow, "tensorflow"),
    "the index": (index_file, "tensorflow"),
    "the data": (data_file, "tensorflow"),
    "the prefix": (prefix, "tensorflow"),
    "a SavedModel": (saved_model, "tensorflow"),
    "a zip": (zipped("", tensorflow), "tensorflow"),
    "a zip with a folder": (zipped("uncased_L-2_H-128_A-2/", tensorflow), "tensorflow"),
    "a zip of Hugging Face's": (zipped("model/", foreign), "huggingface"),
    "a zip of a SavedModel": (zipped("./bert/1/", saved_model), "tensorflow"),
    "a zip of sentence-transformers'": (zipped("", sentence_transformers), "sentence-transformers"),
    "a tar.gz": (tarred(".", "w:gz", "model.tar.gz"), "tensorflow"),
    "a tar.gz with a folder": (tarred("albert_base", "w:gz", "model.TAR.GZ"), "tensorflow"),
    "a tgz": (tarred("./a/b", "w:gz", "model.tgz"), "tensorflow"),
    "a tar": (tarred("m", "w", "model.tar", foreign), "huggingface"),
    "tf_model.h5": (keras, "huggingface"),
    "shards": (sharded, "huggingface"),
    "sentence-transformers": (sentence_transformers, "sentence-transformers"),
    "old sentence-transformers": (old_sentence_transformers, "sentence-transformers"),
}
every_form = pytest.mark.parametrize("form", FORMS)


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name, value in found.items() if not torch.equal(value, expected[name])] == []


def part(state: ModelState, start: str) -> dict[str, Tensor]:
    return {name.removeprefix(start): one for name, one in state.tensors.items() if name.startswith(start)}


def assert_opens(name: str | Path, state: ModelState, *, heads: bool = True, allow_pickle: bool = False) -> None:
    """Open a name in all three ways."""
    encoder, words = load_encoder(name, allow_pickle=allow_pickle)
    assert not encoder.training
    assert_same(encoder.state_dict(), part(state, "encoder."))
    assert encoder.config == CONFIG
    whole, _ = load_pretraining(name, allow_pickle=allow_pickle)
    assert (whole.masked_word_head is not None, whole.pair_head is not None) == (heads, heads)
    expected = state.tensors if heads else {f"encoder.{key}": one for key, one in part(state, "encoder.").items()}
    assert_same(whole.state_dict(), expected)
    opened = open_state(name, allow_pickle=allow_pickle)
    assert_same(opened.state.tensors, expected)
    assert opened.state.config == CONFIG
    for one in (words, opened.tokenizer):
        assert one is not None
        assert one([TEXT]).input_ids.tolist() == IDS


@every_form
def test_every_form_gives_the_same_encoder_heads_and_tokenizer(
    tmp_path: Path, state: ModelState, tokenizer: Tokenizer, form: str
) -> None:
    write, kind = FORMS[form]
    place = write(tmp_path, state, tokenizer)
    before = sorted(tmp_path.rglob("*"))
    sentences = kind == "sentence-transformers"
    for name in (place, str(place)):
        assert_opens(name, state, heads=not sentences)
    opened = open_state(place)
    assert opened.format == kind
    assert opened.state.pooling == (pooled(state).pooling if sentences else None)
    assert sorted(tmp_path.rglob("*")) == before, "opening leaves nothing behind"


@every_form
def test_nothing_is_left_in_the_temporary_folder_and_nothing_named_after_it(
    tmp_path: Path,
    state: ModelState,
    tokenizer: Tokenizer,
    form: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = FORMS[form][0](tmp_path / "models", state, tokenizer)
    (tmp_path / "passing").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "passing"))
    with caplog.at_level(logging.DEBUG, logger="albertine"):
        open_state(place)
    assert list((tmp_path / "passing").iterdir()) == []
    assert "passing" not in caplog.text
    assert logging.getLogger("albertine").filters == []


def test_a_pickle_is_opened_only_when_that_was_allowed(tmp_path: Path, state: ModelState, tokenizer: Tokenizer) -> None:
    folder = pickled(tmp_path / "model", state, tokenizer)
    for way in (load_encoder, load_pretraining, open_state):
        with pytest.raises(CheckpointError, match=r"pytorch_model\.bin.*--allow-pickle"):
            way(folder)
    assert_opens(folder, state, allow_pickle=True)
    assert open_state(folder, allow_pickle=True).format == "huggingface"


def test_a_pickle_in_an_archive_is_one_too(tmp_path: Path, state: ModelState, tokenizer: Tokenizer) -> None:
    archive = zipped("model/", pickled)(tmp_path, state, tokenizer)
    with pytest.raises(CheckpointError, match="--allow-pickle"):
        load_encoder(archive)
    assert_opens(archive, state, allow_pickle=True)


def test_safetensors_are_preferred_to_a_pickle_that_was_allowed(
    tmp_path: Path, state: ModelState, tokenizer: Tokenizer
) -> None:
    folder = foreign(tmp_path / "model", state, tokenizer)
    (folder / "pytorch_model.bin").write_bytes(b"\x80 not even a pickle")
    assert_opens(folder, state, allow_pickle=True)


def test_keras_is_preferred_to_a_pickle_that_was_allowed_where_it_can_be_read(
    tmp_path: Path, state: ModelState, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = keras(tmp_path / "model", state, tokenizer)
    (folder / "pytorch_model.bin").write_bytes(b"\x80 not even a pickle")
    assert_opens(folder, state, allow_pickle=True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
        load_encoder(folder, allow_pickle=True)


def test_a_name_on_the_hub_is_opened_from_where_it_was_downloaded_to(
    tmp_path: Path, state: ModelState, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = foreign(tmp_path / "cache" / "snapshots" / "0a1b", state, tokenizer)
    asked: list[tuple[str, str | None]] = []

    def snapshot_download(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repository, revision))
        return str(snapshot)

    package, constants, errors = (ModuleType(f"huggingface_hub{name}") for name in ("", ".constants", ".errors"))
    vars(constants).update(HF_HUB_OFFLINE=False, HF_HUB_CACHE=str(tmp_path))
    names = ("RepositoryNotFound", "GatedRepo", "RevisionNotFound", "HFValidation", "LocalEntryNotFound")
    vars(errors).update({f"{name}Error": type(f"{name}Error", (Exception,), {}) for name in names})
    vars(package).update(snapshot_download=snapshot_download, errors=errors, constants=constants, __path__=[])
    for module in (package, constants, errors):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    assert_opens("hub:somebody/bert@v2", state)
    assert set(asked) == {("somebody/bert", "v2")}
    assert open_state("hub:somebody/bert").format == "huggingface"


def test_a_preset_opens_in_all_three_ways(caplog: pytest.LogCaptureFixture) -> None:
    encoder, _ = load_encoder("preset:albert-chinese-tiny")
    whole, words = load_pretraining("preset:albert-chinese-tiny")
    opened = open_state("preset:albert-chinese-tiny")
    assert caplog.records == []
    assert (words, opened.tokenizer) == (None, None)
    assert opened.format == "preset"
    assert encoder.config == whole.config == opened.state.config == EncoderConfig.preset("albert-chinese-tiny")
    assert opened.state.tensors.keys() == whole.state_dict().keys()


@pytest.mark.parametrize("name", ["bert_model.ckpt", "bert_model.ckpt.index", "."])
def test_a_checkpoint_in_the_current_folder_opens_by_its_bare_name(
    tmp_path: Path, state: ModelState, tokenizer: Tokenizer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensorflow(tmp_path, state, tokenizer)
    monkeypatch.chdir(tmp_path)
    assert preset_asked_for(name) is None
    assert_opens(name, state)


def test_a_checkpoint_is_chosen_by_its_prefix_among_several(
    tmp_path: Path, state: ModelState, tokenizer: Tokenizer
) -> None:
    tensorflow(tmp_path, state, tokenizer)
    other = some_state()
    save_state(other, None, tmp_path / "other", "tensorflow")
    for file in (tmp_path / "other").glob("bert_model.ckpt.*"):
        shutil.move(file, tmp_path / file.name.replace("bert_model", "another"))
    (tmp_path / "checkpoint").unlink()
    with pytest.raises(CheckpointError, match=r"several checkpoints.*another\.ckpt, bert_model\.ckpt"):
        load_encoder(tmp_path)
    assert_opens(tmp_path / "bert_model.ckpt", state)
    assert_opens(tmp_path / "another.ckpt", other)


# --- heads


def write_head(folder: Path, state: ModelState, rows: int, **config: object) -> None:
    """A fine-tuned model as transformers saves it."""
    save_state(state, None, folder, "huggingface")
    values = json.loads((folder / "config.json").read_text("utf-8"))
    del values["albertine"]
    tensors = {name: one for name, one in take_tensors(folder).items() if not name.startswith("cls.")}
    save_file({**tensors, "classifier.weight": torch.ones(rows, 12), "classifier.bias": torch.zeros(rows)},
              folder / "model.safetensors")  # fmt: skip
    (folder / "config.json").write_text(json.dumps({**values, **config}), encoding="utf-8")


OTHER_HEADS: Mapping[str, tuple[int, dict[str, object]]] = {
    "regression": (1, {"architectures": ["BertForSequenceClassification"], "problem_type": "regression"}),
    "one label": (1, {"architectures": ["BertForSequenceClassification"]}),
    "several labels": (
        3,
        {"architectures": ["BertForSequenceClassification"], "problem_type": "multi_label_classification"},
    ),
    "multiple choice": (1, {"architectures": ["BertForMultipleChoice"]}),
    "a class of somebody's": (3, {"architectures": ["BertForSomethingElse"]}),
}


PROBLEMS = {"regression": "regression", "one label": "regression", "several labels": "multi"}


@pytest.mark.parametrize("head", OTHER_HEADS)
def test_the_encoder_under_a_head_that_is_not_opened_opens(tmp_path: Path, state: ModelState, head: str) -> None:
    rows, config = OTHER_HEADS[head]
    write_head(tmp_path / "model", state, rows, **config)
    encoder, _ = load_encoder(tmp_path / "model")
    assert_same(encoder.state_dict(), part(state, "encoder."))
    whole, _ = load_pretraining(tmp_path / "model")
    assert (whole.masked_word_head, whole.pair_head) == (None, None)
    if head in PROBLEMS:
        found = open_state(tmp_path / "model").state.head
        assert found is not None
        assert (found.task, found.problem, len(found.labels)) == ("text-classification", PROBLEMS[head], rows)
        with pytest.raises(UserError, match="no tokenizer"):
            load(tmp_path / "model")
    else:
        with pytest.raises(CheckpointError, match="load_encoder"):
            open_state(tmp_path / "model")
    alone = open_state(tmp_path / "model", encoder_only=True).state
    assert (alone.head, set(alone.tensors)) == (None, {f"encoder.{name}" for name in part(state, "encoder.")})


def test_labels_and_task_come_with_the_head(tmp_path: Path, state: ModelState) -> None:
    labels = {"0": "差", "1": "好"}
    write_head(tmp_path / "model", state, 2, architectures=["BertForSequenceClassification"], id2label=labels)
    assert open_state(tmp_path / "model").state.head == TaskHead(
        task="text-classification", labels=("差", "好"), module="classifier"
    )


@pytest.mark.parametrize("pooler", [True, False])
def test_a_classifier_of_a_tensorflow_checkpoint_scores_tokens_where_there_is_no_pooler(
    tmp_path: Path, state: ModelState, pooler: bool
) -> None:
    task = "text-classification" if pooler else "token-classification"
    head = TaskHead(task=task, labels=("a", "b", "c"), module="classifier")
    tensors = {name: one for name, one in state.tensors.items() if name.startswith("encoder.")}
    tensors |= {"classifier.weight": torch.randn(3, 12), "classifier.bias": torch.randn(3)}
    tuned = replace(state, tensors=tensors, head=head)
    save_state(tuned, None, tmp_path / "tf", "tensorflow")
    found = open_state(tmp_path / "tf").state
    assert found.head == replace(head, labels=("LABEL_0", "LABEL_1", "LABEL_2"))
    assert found.config.add_pooler == pooler
    assert torch.equal(found.tensors["classifier.weight"], tensors["classifier.weight"])


# --- what cannot be opened


def test_errors_and_messages_about_an_archives_files_name_the_archive(
    tmp_path: Path, state: ModelState, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    def without_tokenizer_settings(folder: Path, state: ModelState, tokenizer: Tokenizer) -> Path:
        tensorflow(folder, state, tokenizer)
        for name in ("tokenizer_config.json", "tokenizer.json"):
            (folder / name).unlink(missing_ok=True)
        return folder

    archive = zipped("", without_tokenizer_settings)(tmp_path / "good", state, tokenizer)
    with caplog.at_level(logging.INFO, logger="albertine"):
        load_encoder(archive)
    assert f"{archive}/vocab.txt" in caplog.text

    def broken(folder: Path, state: ModelState, tokenizer: Tokenizer) -> Path:
        tensorflow(folder, state, tokenizer)
        (folder / "bert_config.json").write_text("{", encoding="utf-8")
        return folder

    archive = zipped("inside/", broken)(tmp_path / "bad", state, tokenizer)
    with pytest.raises(CheckpointError) as caught:
        load_encoder(archive)
    assert str(caught.value).startswith(f"{archive}/bert_config.json: this is not valid JSON")


def test_a_vocabulary_of_another_model_is_refused_with_both_sizes(
    tmp_path: Path, state: ModelState, tokenizer: Tokenizer
) -> None:
    tensorflow(tmp_path, state, tokenizer)
    for name in ("tokenizer_config.json", "tokenizer.json"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "vocab.txt").write_text("\n".join([*WORDS, "one", "more"]) + "\n", encoding="utf-8")
    for way in (load_encoder, load_pretraining, open_state):
        with pytest.raises(TokenizerError, match=r"does not fit.*101 tokens.*99 tokens"):
            way(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_of_a_model_folder_is_answered_with_its_folder(
    tmp_path: Path, state: ModelState, tokenizer: Tokenizer, name: str
) -> None:
    folder = foreign(tmp_path / "model", state, tokenizer)
    with pytest.raises(CheckpointError, match=f"this is not an encoder.*Give the folder.*{folder}"):
        load_encoder(folder / name)


def test_other_files_and_nothing_at_all_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"notes\.txt: this is not an encoder"):
        load_encoder(tmp_path / "notes.txt")
    with pytest.raises(CheckpointError, match="there is no such folder or file"):
        load_encoder(tmp_path / "gone")
    with pytest.raises(CheckpointError, match=r"an empty folder\..*safetensors.*\.h5.*TensorFlow.*archive.*hub:"):
        load_encoder(tmp_path / "empty")
    with pytest.raises(ConfigError, match="neither a folder nor a preset"):
        load_encoder("bert-tinny")


def test_tensors_are_not_read_before_they_are_asked_for(
    tmp_path: Path, state: ModelState, tokenizer: Tokenizer
) -> None:
    tensorflow(tmp_path, state, tokenizer)
    data = tmp_path / "bert_model.ckpt.data-00000-of-00001"
    data.write_bytes(bytes(data.stat().st_size))
    with open_checkpoint(tmp_path) as opened:
        assert opened.format == "tensorflow"
        assert opened.read.config == CONFIG
    with pytest.raises(CheckpointError, match="checksum"):
        load_encoder(tmp_path)
