"""Conversions in Python: the question of the activation, sharing and unsharing, and the proof of what was written."""

from __future__ import annotations

import json
import logging
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from albertine.checkpoints import convert as module
from albertine.checkpoints import writing
from albertine.checkpoints.bundle.writer import write_bundle
from albertine.checkpoints.convert import convert
from albertine.checkpoints.fitting import TargetFormat
from albertine.checkpoints.google.names import detect_layout
from albertine.checkpoints.load import load_encoder, open_state
from albertine.checkpoints.native import write_model_files
from albertine.checkpoints.sharing import unshared
from albertine.checkpoints.state import ModelState, TaskHead
from albertine.checkpoints.tensorflow import open_bundle
from albertine.checkpoints.verify import verify
from albertine.checkpoints.writing import save_state
from albertine.errors import CheckpointError, ConfigError, FailureError
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel
from albertine.models.pooling import SentencePooling
from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "好", "吃", "tea", "##s", *(f"w{n}" for n in range(90))]
SIZES = {
    "vocab_size": 99,
    "hidden_size": 12,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "intermediate_size": 29,
    "max_position_embeddings": 17,
}
BERT = EncoderConfig.preset("bert-tiny", **SIZES, embedding_size=12, hidden_act="gelu_tanh")
ERF = replace(BERT, hidden_act="gelu")
ALBERT = EncoderConfig.preset("albert-base", **SIZES, embedding_size=7)
GROUPS = replace(ALBERT, num_hidden_groups=2, inner_group_num=2)
BRIGHTMART = replace(ALBERT, embedding_norm_width="hidden", projection_bias=False)
HEAD = TaskHead(task="text-classification", labels=("差", "好", "很好"), module="classifier")
FORMATS: tuple[TargetFormat, ...] = get_args(TargetFormat)
every_format = pytest.mark.parametrize("to", FORMATS)


def some_state(config: EncoderConfig = BERT, seed: int = 3) -> ModelState:
    torch.manual_seed(seed)
    model = PretrainingModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.4)
            if name.endswith("norm.weight"):
                parameter.add_(1)
    return ModelState(config=config, tensors={name: one.detach() for name, one in model.state_dict().items()})


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    file = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    file.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return load_tokenizer(file)


@pytest.fixture
def source(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    save_state(some_state(), tokenizer, tmp_path / "source", "huggingface")
    return tmp_path / "source"


def write(folder: Path, config: EncoderConfig, tokenizer: Tokenizer | None = None) -> Path:
    save_state(some_state(config), tokenizer, folder, "albertine")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name, value in found.items() if not torch.equal(value, expected[name])] == []


# --- what a conversion says of itself


@every_format
def test_a_conversion_counts_what_it_wrote_and_proves_it(source: Path, tmp_path: Path, to: TargetFormat) -> None:
    result = convert(source, tmp_path / "target", to=to, verify=True)
    assert (result.source, result.source_format) == (str(source), "albertine")
    assert (result.target, result.target_format) == (str(tmp_path / "target"), to)
    written = open_state(tmp_path / "target").state
    assert result.tensors == len(written.tensors)
    assert result.parameters == sum(tensor.numel() for tensor in written.tensors.values())
    assert result.verification is not None
    assert result.verification.passed
    assert result.verification.b == str(tmp_path / "target")
    assert max(row.largest or 0.0 for row in result.verification.outputs) == 0
    assert verify(source, tmp_path / "target").passed
    values = json.loads(json.dumps(result.to_dict()))
    assert values["schema_version"] == 1
    assert values["verification"]["passed"] is True
    first = result.render().splitlines()[0]
    assert first == (
        f"{source} (albertine) -> {tmp_path / 'target'} ({to}): "
        f"{result.tensors} tensors, {result.parameters:,} parameters"
    )


def test_without_verify_nothing_is_compared(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(module, "compare_states")
    result = convert(source, tmp_path / "target", to="tensorflow")
    assert result.verification is None
    assert result.to_dict()["verification"] is None
    assert result.render().count("\n") == 0


def test_verification_runs_on_the_texts_given(source: Path, tmp_path: Path) -> None:
    result = convert(source, tmp_path / "target", to="tensorflow", verify=True, texts=["好吃 teas", ("w1 w2", "w3")])
    assert result.verification is not None
    assert result.verification.inputs.startswith("2 texts, 12 tokens")


def test_verification_says_nothing_of_the_folder_that_nobody_is_to_see(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "source", BERT)  # without a tokenizer, of which opening it tells once
    with caplog.at_level(logging.DEBUG, logger="albertine"):
        for to in FORMATS:
            convert(tmp_path / "source", tmp_path / to, to=to, verify=True)
    said = [record.getMessage() for record in caplog.records]
    assert [text for text in said if "no tokenizer files" in text] == [
        f"{tmp_path / 'source'} has no tokenizer files (vocab.txt, *.model or tokenizer.json): the encoder takes ids, "
        "not text"
    ] * len(FORMATS)
    assert not any("/." in text for text in said), "names of folders that are passing"


def test_task_json_and_labels_come_along(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tensors = {"classifier.weight": torch.randn(3, 12), "classifier.bias": torch.randn(3)}
    state = some_state()
    encoder = {name: one for name, one in state.tensors.items() if name.startswith("encoder.")}
    task = {"schema_version": 1, "task": HEAD.task, "labels": list(HEAD.labels), "max_length": 13, "temperature": 1.5}
    tuned = replace(state, head=HEAD, tensors={**encoder, **tensors})
    save_state(tuned, tokenizer, tmp_path / "tuned", "albertine", task=task)
    for to in FORMATS:
        result = convert(tmp_path / "tuned", tmp_path / to, to=to, verify=True)
        kept = to == "albertine"
        assert any("task.json is left out" in note for note in result.notes) != kept
    assert json.loads((tmp_path / "albertine" / "task.json").read_text("utf-8")) == task
    assert open_state(tmp_path / "huggingface").state.head == HEAD
    found = open_state(tmp_path / "tensorflow").state.head
    assert found is not None
    assert (found.task, found.labels) == (HEAD.task, ("LABEL_0", "LABEL_1", "LABEL_2"))
    result = convert(tmp_path / "huggingface", tmp_path / "again", to="albertine", verify=True)
    assert json.loads((tmp_path / "again" / "task.json").read_text("utf-8"))["labels"] == list(HEAD.labels)


# --- the activation


def test_an_erf_model_is_not_written_for_google_before_the_question_is_answered(tmp_path: Path) -> None:
    write(tmp_path / "erf", ERF)
    with pytest.raises(ConfigError) as caught:
        convert(tmp_path / "erf", tmp_path / "tf", to="tensorflow")
    assert "--activation tanh or --activation erf" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [tmp_path / "erf"]


def test_erf_stands_in_a_note_that_only_we_read(tmp_path: Path) -> None:
    write(tmp_path / "erf", ERF)
    result = convert(tmp_path / "erf", tmp_path / "tf", to="tensorflow", activation="erf", verify=True)
    values = json.loads((tmp_path / "tf" / "bert_config.json").read_text("utf-8"))
    assert values["hidden_act"] == "gelu"
    assert values["albertine"]["hidden_act"] == "gelu"
    assert open_state(tmp_path / "tf").state.config == ERF
    assert verify(tmp_path / "erf", tmp_path / "tf", tolerance=0).passed
    assert [note for note in result.notes if "Google's code does not read" in note]
    del values["albertine"]
    (tmp_path / "tf" / "bert_config.json").write_text(json.dumps(values), encoding="utf-8")
    assert open_state(tmp_path / "tf").state.config == BERT, "what Google's code reads"


def test_tanh_makes_it_another_function_and_says_so(tmp_path: Path) -> None:
    write(tmp_path / "erf", ERF)
    result = convert(tmp_path / "erf", tmp_path / "tf", to="tensorflow", activation="tanh", verify=True)
    assert open_state(tmp_path / "tf").state.config == BERT
    assert "albertine" not in json.loads((tmp_path / "tf" / "bert_config.json").read_text("utf-8"))
    assert result.notes == (
        "the activation is now the tanh form of GELU, and was the other one",
        "outputs are those of the changed model, no longer the source's",
    )
    compared = verify(tmp_path / "erf", tmp_path / "tf")
    largest = {row.name: row.largest for row in compared.outputs}["last_hidden_state"]
    assert largest is not None
    assert 1e-4 < largest < 1e-1
    assert compared.weights.different == ()


@every_format
@pytest.mark.parametrize(("config", "answer"), [(ERF, "tanh"), (BERT, "erf")])
def test_the_activation_can_be_changed_for_every_format(
    tmp_path: Path, to: TargetFormat, config: EncoderConfig, answer: str
) -> None:
    write(tmp_path / "source", config)
    convert(tmp_path / "source", tmp_path / "target", to=to, activation=answer, verify=True)  # type: ignore[arg-type]
    assert open_state(tmp_path / "target").state.config == (BERT if answer == "tanh" else ERF)


def test_an_answer_that_changes_nothing_says_nothing(source: Path, tmp_path: Path) -> None:
    assert convert(source, tmp_path / "tf", to="tensorflow", activation="tanh").notes == ()


def test_relu_raises_no_question_and_takes_no_answer(tmp_path: Path) -> None:
    config = replace(BERT, hidden_act="relu")
    write(tmp_path / "relu", config)
    assert convert(tmp_path / "relu", tmp_path / "tf", to="tensorflow", verify=True).notes == ()
    assert open_state(tmp_path / "tf").state.config == config
    with pytest.raises(ConfigError, match=r"one form of GELU.*'relu'"):
        convert(tmp_path / "relu", tmp_path / "again", to="tensorflow", activation="tanh")
    assert not (tmp_path / "again").exists()


# --- sharing and unsharing


@every_format
@pytest.mark.parametrize(("share", "groups"), [("average", 1), (2, 1), ("average", 2), (1, 2)])
def test_a_bert_is_shared_into_every_format_that_can_hold_it(
    source: Path, tmp_path: Path, to: TargetFormat, share: str | int, groups: int
) -> None:
    result = convert(source, tmp_path / "target", to=to, share=share, groups=groups, verify=True)  # type: ignore[arg-type]
    before, after = some_state(), open_state(tmp_path / "target").state
    config = after.config
    assert (config.share, config.num_hidden_groups, config.num_hidden_layers) == ("all", groups, 4)
    name = "feed_forward_blocks.{}.output.weight"
    for group in range(groups):
        members = range(group * 4 // groups, (group + 1) * 4 // groups)
        blocks = [before.tensors[f"encoder.{name.format(layer)}"] for layer in members]
        expected = torch.stack(blocks).double().mean(0).float() if share == "average" else blocks[int(share)]
        assert torch.equal(after.tensors[f"encoder.{name.format(group)}"], expected)
    assert result.notes[0].startswith(
        "shared: the blocks averaged" if share == "average" else "shared: the blocks taken"
    )
    assert "outputs are those of the changed model, no longer the source's" in result.notes
    if to == "tensorflow":
        found = open_bundle(tmp_path / "target" / "model.ckpt-best").entries
        assert detect_layout(found, where="target") == "google-albert"


@pytest.mark.parametrize("to", ["albertine", "huggingface", "tensorflow", "sentence-transformers"])
@pytest.mark.parametrize("config", [ALBERT, GROUPS], ids=["albert", "groups"])
def test_an_albert_is_unshared_into_every_format_that_can_hold_it(
    tmp_path: Path, to: TargetFormat, config: EncoderConfig
) -> None:
    write(tmp_path / "source", config)
    result = convert(tmp_path / "source", tmp_path / "target", to=to, unshare=True, verify=True)
    after = open_state(tmp_path / "target").state.config
    assert (after.num_hidden_layers, after.num_attention_blocks) == (config.num_passes, config.num_passes)
    assert f"unshared: {config.num_passes} layers with weights of their own, the same outputs" in result.notes
    assert result.verification is not None
    assert all(not row.largest for row in result.verification.outputs)
    assert not any("no longer the source's" in note for note in result.notes)


@pytest.mark.parametrize("to", ["huggingface", "tensorflow"])
def test_brightmarts_albert_is_unshared_into_a_bert(tmp_path: Path, to: TargetFormat) -> None:
    write(tmp_path / "source", BRIGHTMART)
    convert(tmp_path / "source", tmp_path / "target", to=to, unshare=True, verify=True)
    after = open_state(tmp_path / "target").state.config
    assert (after.share, after.embedding_size, after.has_projection) == ("none", 12, False)
    if to == "huggingface":
        assert json.loads((tmp_path / "target" / "config.json").read_text("utf-8"))["model_type"] == "bert"
    else:
        found = open_bundle(tmp_path / "target" / "bert_model.ckpt").entries
        assert detect_layout(found, where="target") == "google-bert"


def test_unsharing_is_proven_against_the_source_also_with_another_activation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "source", ALBERT)

    def wrong(state: ModelState) -> ModelState:
        found = unshared(state)
        return replace(
            found,
            tensors={**found.tensors, "encoder.attention_blocks.2.query.weight": torch.zeros(12, 12)},
        )

    monkeypatch.setattr(module, "unshared", wrong)
    for activation in (None, "erf"):
        with pytest.raises(FailureError, match="hidden_states"):
            convert(tmp_path / "source", tmp_path / "target", to="huggingface", unshare=True, verify=True,
                    activation=activation)  # fmt: skip
    assert not (tmp_path / "target").exists()


# --- options that cannot be meant


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"to": "hugging-face"}, r"unknown format.*Did you mean 'huggingface'"),
        ({"activation": "relu"}, "unknown activation.*erf, tanh"),
        ({"share": "average", "unshare": True}, "either shared or unshared"),
        ({"share": "mean"}, "no way to share layers.*mean.*average"),
        ({"share": 4}, r"^share: there is no such layer.*0 … 3"),
        ({"share": -1}, r"^share: there is no such layer"),
        ({"share": 2, "groups": 2}, r"^share: there is no such layer in every group.*0 … 1"),
        ({"share": "average", "groups": 5}, r"^groups: no such number of groups.*1 … 4"),
        ({"groups": 2}, "groups are made where layers are shared.*--share average"),
        ({"unshare": True}, "nothing to unshare"),
        ({"pooling": "mean"}, "only a sentence-transformers folder has a place for a pooling"),
        ({"to": "sentence-transformers", "pooling": "meen"}, "unknown pooling.*Did you mean 'mean'"),
        ({"tolerance": -0.5}, "not a tolerance"),
        ({"tolerance": float("nan"), "verify": True}, "not a tolerance"),
        ({"verify": True, "texts": []}, "no texts"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    source: Path, tmp_path: Path, options: dict[str, object], text: str
) -> None:
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=text):
        convert(source, tmp_path / "target", **{"to": "huggingface", **options})  # type: ignore[arg-type]
    assert contents(tmp_path) == before
    assert not (tmp_path / "target").exists()


def test_an_albert_cannot_be_shared_again(tmp_path: Path) -> None:
    write(tmp_path / "source", ALBERT)
    with pytest.raises(ConfigError, match="share weights already"):
        convert(tmp_path / "source", tmp_path / "target", to="huggingface", share="average")


def test_a_pooling_is_taken_only_where_the_source_has_none(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "cls", to="sentence-transformers", pooling="cls", verify=True)
    assert open_state(tmp_path / "cls").state.pooling == SentencePooling(modes=("cls",))
    with pytest.raises(ConfigError, match=r"the source says itself.*Allowed: cls"):
        convert(tmp_path / "cls", tmp_path / "max", to="sentence-transformers", pooling="max")
    convert(tmp_path / "cls", tmp_path / "again", to="sentence-transformers", verify=True)
    assert open_state(tmp_path / "again").state.pooling == SentencePooling(modes=("cls",))


# --- places that are not written to


def test_a_target_that_is_or_lies_in_the_source_is_refused(source: Path, tmp_path: Path) -> None:
    before = contents(tmp_path)
    (tmp_path / "link").symlink_to(source)
    for target in (source, tmp_path / "link", tmp_path / "x" / ".." / "source"):
        with pytest.raises(ConfigError, match="source and target are the same folder"):
            convert(source, target, to="huggingface")
    for target in (source / "inside", source / "far" / "inside", tmp_path / "link" / "inside"):
        with pytest.raises(ConfigError, match="the target lies inside the source"):
            convert(source, target, to="huggingface")
    (tmp_path / "link").unlink()
    assert contents(tmp_path) == before


def test_the_folder_of_a_checkpoint_is_no_target_but_one_beside_it_is(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "tf", to="tensorflow")
    for name in ("bert_model.ckpt", "bert_model.ckpt.index"):
        with pytest.raises(ConfigError, match="source and target are the same folder"):
            convert(tmp_path / "tf" / name, tmp_path / "tf", to="huggingface")
    convert(tmp_path / "tf" / "bert_model.ckpt", tmp_path / "tf" / "huggingface", to="huggingface", verify=True)


def test_an_archive_is_converted_into_the_folder_it_lies_in(source: Path, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    with zipfile.ZipFile(tmp_path / "place" / "model.zip", "w") as archive:
        for file in source.iterdir():
            archive.write(file, file.name)
    convert(tmp_path / "place" / "model.zip", tmp_path / "place", to="tensorflow", verify=True)
    assert (tmp_path / "place" / "bert_model.ckpt.index").is_file()


def test_files_in_the_way_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text", encoding="utf-8")
    with pytest.raises(ConfigError, match="the target is a folder, and a file stands there"):
        convert(tmp_path / "gone", tmp_path / "file", to="huggingface")
    with pytest.raises(ConfigError, match="this is a file, and no folder can be made in it"):
        convert(tmp_path / "gone", tmp_path / "file" / "a" / "b", to="huggingface")
    assert (tmp_path / "file").read_text("utf-8") == "text"


def test_a_place_that_may_not_be_written_to_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(ConfigError, match=f"{tmp_path}: no folder can be made here.*Choose another place"):
        convert(tmp_path / "gone", tmp_path / "new" / "target", to="huggingface")


# --- results that are refused


def change_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("query.bias"))
    tensors[name][3] += 0.25
    save_file(tensors, folder / "model.safetensors")


def change_key_bias_slightly(folder: Path) -> None:
    """Which no output shows, and no tolerance lets pass."""
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("key.bias"))
    tensors[name][3] = torch.nextafter(tensors[name][3], torch.tensor(torch.inf))
    save_file(tensors, folder / "model.safetensors")


def drop_head(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({name: one for name, one in tensors.items() if not name.startswith("cls.pred")},
              folder / "model.safetensors")  # fmt: skip


def alter_config(folder: Path, **changes: object) -> None:
    values = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**values, **changes}), encoding="utf-8")


def reorder_vocabulary(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (folder / "vocab.txt").write_text("\n".join([*WORDS[:5], *reversed(WORDS[5:])]) + "\n", encoding="utf-8")


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


DAMAGES: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "a tensor": (change_tensor, r"1 of \d+ tensors: .*query\.bias.*hidden_states: .* apart"),
    "a bit": (change_key_bias_slightly, r"1 of \d+ tensors: .*key\.bias"),
    "a head": (drop_head, r"5 of \d+ tensors: masked_word_head\."),
    "the activation": (lambda folder: alter_config(folder, hidden_act="gelu"), "another configuration.*hidden_states"),
    "the dropout": (lambda folder: alter_config(folder, hidden_dropout_prob=0.3), "another configuration"),
    "the vocabulary": (reorder_vocabulary, "the tokenizers differ: text 1"),
    "its end": (truncate, "cannot be opened again"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("stands", [True, False])
def test_a_folder_that_differs_is_not_kept(
    source: Path,
    tmp_path: Path,
    damage: str,
    stands: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = tmp_path / "target"
    if stands:
        save_state(some_state(seed=4), None, target, "huggingface")
    before = contents(tmp_path)
    spoil, text = DAMAGES[damage]

    def spoiling(folder: Path, **values: object) -> None:
        write_model_files(folder, **values)  # type: ignore[arg-type]
        spoil(folder)

    monkeypatch.setattr(writing, "write_model_files", spoiling)
    with pytest.raises(FailureError, match=text) as caught:
        convert(source, target, to="huggingface", verify=True)
    assert caught.value.exit_code == 1
    assert str(caught.value).startswith(f"{target}: ")
    assert "not kept" in str(caught.value)
    assert "/." not in str(caught.value), "the name of a passing folder"
    if damage != "its end":
        table = caplog.messages[-1]
        assert "largest difference" in table
        assert f"b: {target}" in table
        assert len(table.splitlines()) > 8
    assert contents(tmp_path) == before
    assert target.exists() == stands
    monkeypatch.undo()
    convert(source, target, to="huggingface", verify=True)


def test_a_tensorflow_checkpoint_that_differs_is_not_kept(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiling(prefix: Path, tensors: Mapping[str, Tensor]) -> None:
        name = "bert/encoder/layer_1/attention/self/key/bias"  # which no output shows
        write_bundle(prefix, {**tensors, name: tensors[name] + 1})

    monkeypatch.setattr(writing, "write_bundle", spoiling)
    with pytest.raises(FailureError, match=r"attention_blocks\.1\.key\.bias.*key_biases: 1 apart"):
        convert(source, tmp_path / "tf", to="tensorflow", verify=True)
    assert not (tmp_path / "tf").exists()
    convert(source, tmp_path / "tf", to="tensorflow")
    assert not verify(source, tmp_path / "tf").passed


def test_a_larger_tolerance_lets_a_larger_difference_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "source", BRIGHTMART)
    result = convert(tmp_path / "source", tmp_path / "bert", to="huggingface", unshare=True, verify=True)
    assert result.verification is not None
    largest = max(row.largest or 0.0 for row in result.verification.outputs)
    assert largest > 0
    with pytest.raises(FailureError, match="apart"):
        convert(
            tmp_path / "source", tmp_path / "no", to="huggingface", unshare=True, verify=True, tolerance=largest / 2
        )
    assert not (tmp_path / "no").exists()
    convert(tmp_path / "source", tmp_path / "yes", to="huggingface", unshare=True, verify=True, tolerance=largest)


# --- other sources


def test_a_preset_and_an_encoder_without_tokenizer_are_proven_on_random_ids(tmp_path: Path) -> None:
    result = convert("preset:bert-chinese-tiny", tmp_path / "model", to="huggingface", verify=True)
    assert result.source_format == "preset"
    assert result.verification is not None
    assert "random ids" in result.verification.inputs
    assert load_encoder(tmp_path / "model")[0].config == EncoderConfig.preset("bert-chinese-tiny")


def test_a_pickle_is_converted_only_when_that_was_allowed(source: Path, tmp_path: Path) -> None:
    tensors = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    torch.save(tensors, source / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="--allow-pickle"):
        convert(source, tmp_path / "safe", to="huggingface")
    convert(source, tmp_path / "safe", to="huggingface", allow_pickle=True, verify=True)
    assert_same(load_file(tmp_path / "safe" / "model.safetensors"), tensors)
    assert not list((tmp_path / "safe").glob("*.bin"))


def test_weights_that_are_not_finite_are_refused_when_asked_for_proof(tmp_path: Path) -> None:
    state = some_state()
    name = "encoder.feed_forward_blocks.2.output.bias"
    broken = {**state.tensors, name: torch.full_like(state.tensors[name], torch.nan)}
    save_state(replace(state, tensors=broken), None, tmp_path / "source", "huggingface")
    with pytest.raises(FailureError, match="values that are not finite") as caught:
        convert(tmp_path / "source", tmp_path / "target", to="tensorflow", verify=True)
    assert "tensors:" not in str(caught.value), "the bits came back as they were"
    convert(tmp_path / "source", tmp_path / "target", to="tensorflow")
