"""From transformers or Google's code through our formats and back: the same bits, and the same numbers there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from albertine.checkpoints.convert import convert
from albertine.checkpoints.fitting import TargetFormat
from albertine.checkpoints.google.names import GoogleLayout, detect_layout
from albertine.checkpoints.load import load_pretraining, open_state
from albertine.checkpoints.source import read_all
from albertine.checkpoints.tensorflow import open_bundle
from albertine.checkpoints.tensors import open_tensors
from albertine.errors import CheckpointError

transformers = pytest.importorskip("transformers", reason="transformers is needed for parity", exc_type=ImportError)

LABELS = ("差", "so-so", "good", "很好", "LABEL_9")
LENGTHS = (13, 7, 1, 11)
SIZES = {
    "vocab_size": 99,
    "hidden_size": 12,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "intermediate_size": 29,
    "max_position_embeddings": 17,
    "type_vocab_size": 3,
    "layer_norm_eps": 1e-12,
}
KINDS: Mapping[str, dict[str, int]] = {
    "bert": {},
    "albert": {"embedding_size": 7, "num_hidden_groups": 1},
    "albert in groups": {"embedding_size": 7, "num_hidden_groups": 2, "inner_group_num": 2},
    "albert of equal widths": {"embedding_size": 12, "num_hidden_groups": 1},
}
HEADS = (
    "ForPreTraining",
    "ForMaskedLM",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
)
LABELLED = ("ForSequenceClassification", "ForTokenClassification")
CASES = [
    *((kind, head, "gelu" if kind == "bert" else "gelu_new") for kind in KINDS for head in HEADS),
    *((kind, "ForPreTraining", act) for kind in KINDS for act in ("relu", "gelu_new" if kind == "bert" else "gelu")),
    ("bert", "ForNextSentencePrediction", "gelu_new"),
    ("bert", "ForSequenceClassification", "relu"),
    ("albert", "ForTokenClassification", "gelu"),
]
REAL: Mapping[str, GoogleLayout] = {
    "bert_tiny_random": "google-bert",
    "albert_small_random": "google-albert",
    "albert_groups_random": "google-albert",
    "albert_zh_random": "brightmart-albert",
}


@pytest.fixture(autouse=True, scope="module")
def quiet() -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def their_model(kind: str, head: str, activation: str) -> nn.Module:
    """A model of transformers with weights far larger than the usual initial ones, no two of them equal."""
    family = "Bert" if kind == "bert" else "Albert"
    config = getattr(transformers, f"{family}Config")(**SIZES, **KINDS[kind], hidden_act=activation)
    if head in LABELLED:
        config.id2label = dict(enumerate(LABELS))
        config.label2id = {label: index for index, label in enumerate(LABELS)}
    model: nn.Module = getattr(transformers, family + head)(config)
    generator = torch.Generator().manual_seed(13)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
        if kind == "albert of equal widths":  # where Google's code has no projection
            model.get_parameter("albert.encoder.embedding_hidden_mapping_in.weight").copy_(torch.eye(12))
            model.get_parameter("albert.encoder.embedding_hidden_mapping_in.bias").zero_()
    return model.eval()


def opened_there(folder: Path, model: nn.Module) -> nn.Module:
    """The folder as transformers' class of the same name opens it, with nothing missing and nothing left over."""
    again, info = type(model).from_pretrained(folder, output_loading_info=True)  # type: ignore[attr-defined]
    assert {key: value for key, value in info.items() if value} == {}
    chosen = getattr(transformers, json.loads((folder / "config.json").read_text("utf-8"))["architectures"][0])
    assert chosen is type(model)
    return again.eval()  # type: ignore[no-any-return]


def inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(0, 99, (len(LENGTHS), max(LENGTHS)), generator=generator)
    types = torch.randint(0, 3, ids.shape, generator=generator)
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1)).long()
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}


@torch.no_grad()
def outputs(model: nn.Module) -> dict[str, Tensor]:
    found = model(**inputs(), output_hidden_states=True)
    named = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    return named | {f"state {index}": state for index, state in enumerate(found.hidden_states)}


def assert_same_outputs(found: nn.Module, expected: nn.Module) -> None:
    before, after = outputs(expected), outputs(found)
    assert before.keys() == after.keys()
    assert max(float(value.abs().max()) for name, value in before.items() if "state" not in name) > 0.1
    assert [name for name, value in before.items() if not torch.equal(value, after[name])] == []


def assert_same_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name, value in found.items() if not torch.equal(value, expected[name])] == []


def stage(source: Path, target: Path, to: TargetFormat, **options: object) -> tuple[str, ...]:
    result = convert(source, target, to=to, verify=True, **options)  # type: ignore[arg-type]
    assert result.verification is not None
    assert result.verification.passed
    assert result.verification.weights.different == ()
    return result.notes


@pytest.mark.parametrize(("kind", "head", "activation"), CASES)
def test_weights_configuration_and_outputs_survive_every_format(
    tmp_path: Path, kind: str, head: str, activation: str
) -> None:
    model = their_model(kind, head, activation)
    model.save_pretrained(tmp_path / "theirs")  # type: ignore[operator]
    before = open_state(tmp_path / "theirs").state
    stage(tmp_path / "theirs", tmp_path / "ours", "albertine")
    erf = activation == "gelu"
    notes = stage(tmp_path / "ours", tmp_path / "tf", "tensorflow", activation="erf" if erf else None)
    stage(tmp_path / "tf", tmp_path / "again", "albertine")
    stage(tmp_path / "again", tmp_path / "back", "huggingface")

    for folder in ("ours", "back"):
        again = opened_there(tmp_path / folder, model)
        assert_same_outputs(again, model)
        for key in (*SIZES, *KINDS[kind], "hidden_act", "hidden_dropout_prob", "initializer_range"):
            assert getattr(again.config, key) == getattr(model.config, key), key
    assert_same_tensors(read_all(open_tensors(tmp_path / "back")), read_all(open_tensors(tmp_path / "theirs")))
    after = open_state(tmp_path / "back").state
    assert_same_tensors(after.tensors, before.tensors)
    assert after.config == before.config
    assert any("Google's code does not read" in note for note in notes) == erf

    ours = open_state(tmp_path / "ours").state.head
    assert ours == before.head
    if head in LABELLED:
        assert ours is not None
        assert after.head is not None
        assert ours.labels == LABELS
        assert after.head.labels == tuple(f"LABEL_{index}" for index in range(len(LABELS)))
        assert after.head.task == ours.task
        assert any("the labels are left out" in note and "差" in note for note in notes)
    else:
        assert after.head == ours
        assert not any("labels" in note for note in notes)


def test_a_projection_between_equal_widths_is_refused_by_name(tmp_path: Path) -> None:
    model = their_model("albert of equal widths", "ForPreTraining", "gelu_new")
    with torch.no_grad():
        model.get_parameter("albert.encoder.embedding_hidden_mapping_in.bias")[3] = 0.001
    model.save_pretrained(tmp_path / "theirs")  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=r"no original TensorFlow code.*not google-albert: projection='always'"):
        convert(tmp_path / "theirs", tmp_path / "tf", to="tensorflow")
    assert not (tmp_path / "tf").exists()


@pytest.mark.parametrize(("rows", "problem"), [(1, "regression"), (3, "multi_label_classification")])
@torch.no_grad()
def test_what_the_scores_of_a_text_mean_survives(tmp_path: Path, rows: int, problem: str) -> None:
    config = transformers.BertConfig(**SIZES, num_labels=rows, problem_type=problem)
    model = transformers.BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path / "theirs")
    convert(tmp_path / "theirs", tmp_path / "ours", to="albertine", verify=True)
    convert(tmp_path / "ours", tmp_path / "again", to="huggingface", verify=True)
    again = opened_there(tmp_path / "again", model)
    assert again.config.problem_type == problem
    assert torch.equal(again(**inputs()).logits, model(**inputs()).logits)


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("through", ["albertine", "huggingface"])
def test_original_checkpoints_come_back_byte_for_byte(
    tmp_path: Path, data_dir: Path, name: str, through: TargetFormat
) -> None:
    if REAL[name] == "brightmart-albert" and through == "huggingface":
        pytest.skip("transformers has no code for this layout")
    source = data_dir / "checkpoints" / name
    stage(source, tmp_path / "between", through)
    stage(tmp_path / "between", tmp_path / "tf", "tensorflow")
    before, after = (open_bundle(next(place.glob("*.index")).with_suffix("")) for place in (source, tmp_path / "tf"))
    assert dict(after.entries) == dict(before.entries)
    assert_same_tensors(read_all(after), read_all(before))
    assert detect_layout(after.entries, where=name) == REAL[name]
    data = [next(place.glob("*.data-00000-of-00001")).read_bytes() for place in (source, tmp_path / "tf")]
    if before.skipped.summary:
        assert len(data[1]) < len(data[0])
    else:
        assert data[1] == data[0]


def test_the_configuration_of_an_original_checkpoint_keeps_its_meaning(tmp_path: Path, data_dir: Path) -> None:
    for name in REAL:
        source = data_dir / "checkpoints" / name
        stage(source, tmp_path / name, "tensorflow")
        assert open_state(tmp_path / name).state.config == open_state(source).state.config
        written = json.loads(next((tmp_path / name).glob("*bert_config.json")).read_text("utf-8"))
        assert written["hidden_act"] == "gelu"
        assert "hidden_act" not in written.get("albertine", {}), "the tanh form needs no note"


@torch.no_grad()
def test_brightmarts_albert_becomes_a_genuine_bert(tmp_path: Path, data_dir: Path) -> None:
    source = data_dir / "checkpoints" / "albert_zh_random"
    result = convert(source, tmp_path / "bert", to="huggingface", unshare=True, verify=True)
    assert result.verification is not None
    assert result.verification.passed
    values = json.loads((tmp_path / "bert" / "config.json").read_text("utf-8"))
    assert (values["model_type"], values["architectures"]) == ("bert", ["BertForPreTraining"])
    theirs, info = transformers.BertForPreTraining.from_pretrained(tmp_path / "bert", output_loading_info=True)
    assert {key: value for key, value in info.items() if value} == {}
    ours, _ = load_pretraining(source)
    with np.load(source / "expected.npz") as file:
        given = {name: torch.from_numpy(file[name]) for name in ("input_ids", "input_mask", "token_type_ids")}
    words = {
        "input_ids": given["input_ids"].long(),
        "attention_mask": given["input_mask"].long(),
        "token_type_ids": given["token_type_ids"].long(),
    }
    expected, found = ours(**words), theirs.eval()(**words)
    real = words["attention_mask"].bool()
    torch.testing.assert_close(
        found.prediction_logits[real], expected.prediction_logits[real], atol=1e-4, rtol=0, check_dtype=True
    )
    torch.testing.assert_close(found.seq_relationship_logits, expected.pair_logits, atol=1e-4, rtol=0)
    stage(tmp_path / "bert", tmp_path / "tf", "tensorflow")
    entries = open_bundle(tmp_path / "tf" / "bert_model.ckpt").entries
    assert detect_layout(entries, where="tf") == "google-bert"


@pytest.mark.parametrize("kind", ["albert", "albert in groups"])
def test_an_unshared_albert_computes_the_same_in_transformers(tmp_path: Path, kind: str) -> None:
    model = their_model(kind, "ForPreTraining", "gelu_new")
    model.save_pretrained(tmp_path / "theirs")  # type: ignore[operator]
    result = convert(tmp_path / "theirs", tmp_path / "unshared", to="huggingface", unshare=True, verify=True)
    assert result.verification is not None
    assert result.verification.passed
    again = opened_there(tmp_path / "unshared", model)
    passes = SIZES["num_hidden_layers"] * KINDS[kind].get("inner_group_num", 1)
    assert again.config.num_hidden_groups == passes  # type: ignore[union-attr]
    found, expected = outputs(again), outputs(model)
    for name in ("prediction_logits", "sop_logits"):
        assert torch.equal(found[name], expected[name])


@pytest.mark.parametrize("groups", [1, 2])
def test_a_bert_that_was_shared_opens_as_an_albert_of_transformers(tmp_path: Path, groups: int) -> None:
    model = their_model("bert", "ForPreTraining", "gelu")
    model.save_pretrained(tmp_path / "theirs")  # type: ignore[operator]
    result = convert(tmp_path / "theirs", tmp_path / "shared", to="huggingface", share=1, groups=groups, verify=True)
    assert result.verification is not None
    assert result.verification.passed
    again, info = transformers.AlbertForPreTraining.from_pretrained(tmp_path / "shared", output_loading_info=True)
    assert {key: value for key, value in info.items() if value} == {}
    assert again.config.num_hidden_groups == groups
    before = model.state_dict()
    for group in range(groups):
        layer = 1 + group * SIZES["num_hidden_layers"] // groups
        place = f"albert.encoder.albert_layer_groups.{group}.albert_layers.0."
        assert torch.equal(
            again.state_dict()[f"{place}ffn.weight"], before[f"bert.encoder.layer.{layer}.intermediate.dense.weight"]
        )
    ours, _ = load_pretraining(tmp_path / "shared")
    with torch.no_grad():
        expected, found = ours(**inputs()), again.eval()(**inputs())
    torch.testing.assert_close(found.sop_logits, expected.pair_logits, atol=1e-4, rtol=0)
