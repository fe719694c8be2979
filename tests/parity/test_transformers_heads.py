"""Fine-tuned heads: those that transformers saved score the same here, and those written here open there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from albertine.checkpoints.huggingface import config_from_json, config_to_json, model_type
from albertine.checkpoints.huggingface_heads import head_config, read_head
from albertine.checkpoints.load import open_encoder, open_pretraining
from albertine.checkpoints.names import ENCODER_PREFIX, canonical, file_names
from albertine.checkpoints.native import write_model_folder
from albertine.checkpoints.pickles import open_pickle
from albertine.checkpoints.source import TensorSource, read_tensor
from albertine.checkpoints.state import TaskHead
from albertine.checkpoints.tensors import open_tensors
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.models.outputs import EncoderOutput

transformers = pytest.importorskip("transformers", reason="transformers is needed for parity", exc_type=ImportError)

TOLERANCE = 1e-4
LENGTHS = (13, 7, 1, 11)
LABELS = ("O", "B-人", "I-人", "B-LOC", "I-LOC")
SIZES = {
    "vocab_size": 99,
    "hidden_size": 12,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 29,
    "max_position_embeddings": 17,
    "type_vocab_size": 3,
}
HEADS = {  # class of transformers -> the class that opens it by itself, and its head
    "ForSequenceClassification": (
        "AutoModelForSequenceClassification",
        TaskHead(task="text-classification", labels=LABELS, module="classifier"),
    ),
    "ForTokenClassification": (
        "AutoModelForTokenClassification",
        TaskHead(task="token-classification", labels=LABELS, module="classifier"),
    ),
    "ForQuestionAnswering": (
        "AutoModelForQuestionAnswering",
        TaskHead(task="question-answering", labels=("start", "end"), module="qa_outputs"),
    ),
}
every_head = pytest.mark.parametrize("suffix", HEADS)
every_kind = pytest.mark.parametrize("kind", ["bert", "albert"])


@pytest.fixture(autouse=True, scope="module")
def quiet() -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def give_random_weights(module: nn.Module) -> None:
    """Weights far larger than the usual initial ones, so that a wrong place shows."""
    generator = torch.Generator().manual_seed(13)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))


def inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(0, 99, (len(LENGTHS), max(LENGTHS)), generator=generator)
    types = torch.randint(0, 3, ids.shape, generator=generator)
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1)).long()
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}


def their_model(kind: str, suffix: str) -> nn.Module:
    name = {"bert": "Bert", "albert": "Albert"}[kind]
    values = SIZES | ({"embedding_size": 7, "num_hidden_groups": 1} if kind == "albert" else {})
    config = getattr(transformers, f"{name}Config")(**values, attn_implementation="eager")
    if suffix != "ForQuestionAnswering":
        config.id2label = dict(enumerate(LABELS))
        config.label2id = {label: index for index, label in enumerate(LABELS)}
    model = getattr(transformers, f"{name}{suffix}")(config)
    give_random_weights(model)
    return model.eval()


def head_of(folder: Path, source: TensorSource) -> TaskHead | None:
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shapes = {canonical(name, values["model_type"]): entry.shape for name, entry in source.entries.items()}
    return read_head(values, shapes, where=str(folder / "config.json"))


def our_logits(encoded: EncoderOutput, head: TaskHead, weight: Tensor, bias: Tensor) -> Tensor:
    if head.task == "text-classification":
        assert encoded.pooler_output is not None
        return F.linear(encoded.pooler_output, weight, bias)
    return F.linear(encoded.last_hidden_state, weight, bias)[inputs()["attention_mask"].bool()]


def their_logits(model: nn.Module, head: TaskHead) -> Tensor:
    out = model(**inputs())
    if head.task == "text-classification":
        return out.logits
    logits = torch.stack((out.start_logits, out.end_logits), -1) if head.module == "qa_outputs" else out.logits
    return logits[inputs()["attention_mask"].bool()]


def assert_near(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert theirs.abs().max() > 0.3, "too small to tell a difference"
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0)


@every_kind
@every_head
@torch.no_grad()
def test_a_head_of_transformers_scores_the_same(tmp_path: Path, kind: str, suffix: str) -> None:
    model = their_model(kind, suffix)
    model.save_pretrained(tmp_path)
    source = open_tensors(tmp_path)
    head = head_of(tmp_path, source)
    assert head == HEADS[suffix][1]
    weight, bias = (read_tensor(source, f"{head.module}.{last}") for last in ("weight", "bias"))
    encoded = open_encoder(tmp_path).module(**inputs())
    assert_near(our_logits(encoded, head, weight, bias), their_logits(model, head))


@every_kind
@every_head
@torch.no_grad()
def test_a_head_written_here_opens_there(tmp_path: Path, kind: str, suffix: str) -> None:
    opener, head = HEADS[suffix]
    # Their classes for tokens and questions have no pooler.
    pooled = head.task == "text-classification"
    preset = {"bert": "bert-tiny", "albert": "albert-base"}[kind]
    width = {"bert": 12, "albert": 7}[kind]
    config = EncoderConfig.preset(preset, **SIZES, embedding_size=width, add_pooler=pooled)  # type: ignore[arg-type]
    assert model_type(config) == kind
    encoder = Encoder(config).eval()
    give_random_weights(encoder)
    generator = torch.Generator().manual_seed(5)
    rows = len(head.labels)
    weight, bias = torch.randn(rows, 12, generator=generator), torch.randn(rows, generator=generator)
    tensors = {ENCODER_PREFIX + name: tensor for name, tensor in encoder.state_dict().items()}
    tensors |= {f"{head.module}.weight": weight, f"{head.module}.bias": bias}
    names = file_names(tensors, config, model_type(config))
    values = config_to_json(config) | head_config(head, model_type(config))
    write_model_folder(
        tmp_path,
        config=values,
        tensors={names[name]: tensor for name, tensor in tensors.items()},
        tokenizer=None,
        task=None,
        manifest={},
        card="",
    )
    model, report = getattr(transformers, opener).from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation="eager"
    )
    assert type(model).__name__ == {"bert": "Bert", "albert": "Albert"}[kind] + suffix
    for part in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        assert not report[part], (part, report[part])
    if head.module == "classifier":
        assert model.config.id2label == dict(enumerate(LABELS))
        assert model.config.label2id == {label: index for index, label in enumerate(LABELS)}
    assert_near(our_logits(encoder(**inputs()), head, weight, bias), their_logits(model.eval(), head))
    assert head_of(tmp_path, open_tensors(tmp_path)) == head
    assert config_from_json(values, where="config.json").foreign_keys == ()


@every_kind
@torch.no_grad()
def test_a_masked_language_model_has_no_tasks_head(tmp_path: Path, kind: str) -> None:
    model = their_model(kind, "ForMaskedLM")
    model.save_pretrained(tmp_path)
    assert head_of(tmp_path, open_tensors(tmp_path)) is None
    real = inputs()["attention_mask"].bool()
    ours = open_pretraining(tmp_path).module(**inputs()).prediction_logits
    assert_near(ours[real], model(**inputs()).logits[real])


@torch.no_grad()
def test_next_sentence_prediction_is_a_head_of_pretraining(tmp_path: Path) -> None:
    model = their_model("bert", "ForNextSentencePrediction")
    model.save_pretrained(tmp_path)
    assert head_of(tmp_path, open_tensors(tmp_path)) is None
    opened = open_pretraining(tmp_path).module(**inputs())
    assert_near(opened.pair_logits, model(**inputs()).logits)


@every_kind
@every_head
@torch.no_grad()
def test_pickled_weights_score_the_same(tmp_path: Path, kind: str, suffix: str) -> None:
    model = their_model(kind, suffix)
    model.save_pretrained(tmp_path)
    state = model.state_dict()
    torch.save(state, tmp_path / "pytorch_model.bin")
    source = open_pickle(tmp_path)
    assert head_of(tmp_path, source) == HEADS[suffix][1]
    saved = open_tensors(tmp_path)
    for name in saved.entries:
        assert torch.equal(read_tensor(source, name), read_tensor(saved, name)), name
