"""What every format keeps of a model, and what is said of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

import pytest
import torch

from albertine.checkpoints.fitting import TargetFormat, fitted
from albertine.checkpoints.sharing import unshared
from albertine.checkpoints.state import HEAD_MODULES, ModelState, TaskHead
from albertine.checkpoints.verify import compare_states
from albertine.errors import CheckpointError, ConfigError
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel
from albertine.models.pooling import DenseLayer, SentencePooling

SIZES = {
    "vocab_size": 99,
    "hidden_size": 12,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 29,
    "max_position_embeddings": 17,
}
BERT = EncoderConfig.preset("bert-tiny", **SIZES, embedding_size=12, hidden_act="gelu_tanh")
ALBERT = EncoderConfig.preset("albert-base", **SIZES, embedding_size=7, num_hidden_groups=2)
EQUAL_WIDTHS = EncoderConfig.preset("albert-base", **SIZES, embedding_size=12)
BRIGHTMART = EncoderConfig.preset(
    "albert-base", **SIZES, embedding_size=7, embedding_norm_width="hidden", projection_bias=False
)
SINUSOIDAL = EncoderConfig.preset("transformer-base", **SIZES, embedding_size=12)
POOLING = SentencePooling(
    modes=("mean",), dense=(DenseLayer(in_features=12, out_features=5, bias=True, activation="tanh"),), normalize=True
)
FORMATS: tuple[TargetFormat, ...] = get_args(TargetFormat)


def some_state(config: EncoderConfig, *, task: str | None = None, pooling: bool = False) -> ModelState:
    torch.manual_seed(5)
    model = PretrainingModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    tensors = {name: one.detach() for name, one in model.state_dict().items()}
    head = None
    if task is not None:
        labels = ("start", "end") if task == "question-answering" else tuple(f"类{n}" for n in range(11))
        head = TaskHead(task=task, labels=labels, module=HEAD_MODULES[task])
        tensors |= {
            f"{head.module}.weight": torch.randn(len(labels), 12),
            f"{head.module}.bias": torch.randn(len(labels)),
        }
    if pooling:
        tensors |= {"pooling.dense.0.weight": torch.randn(5, 12), "pooling.dense.0.bias": torch.randn(5)}
    return ModelState(config=config, tensors=tensors, head=head, pooling=POOLING if pooling else None)


def parts(state: ModelState) -> set[str]:
    """What a model has besides its encoder."""
    first = {name.partition(".")[0] for name in state.tensors} - {"encoder"}
    return first | ({"pooler"} if any(name.startswith("encoder.pooler.") for name in state.tensors) else set())


PRETRAINING = {"masked_word_head", "pair_head"}
KEPT: Mapping[str | None, Mapping[TargetFormat, set[str]]] = {
    None: {
        "albertine": {"pooler", *PRETRAINING},
        "huggingface": {"pooler", *PRETRAINING},
        "tensorflow": {"pooler", *PRETRAINING},
        "sentence-transformers": {"pooler", "pooling"},
    },
    "text-classification": {
        "albertine": {"pooler", "classifier"},
        "huggingface": {"pooler", "classifier"},
        "tensorflow": {"pooler", "classifier", *PRETRAINING},
        "sentence-transformers": {"pooler", "pooling"},
    },
    "token-classification": {
        "albertine": {"pooler", "classifier"},
        "huggingface": {"classifier"},
        "tensorflow": {"classifier", "masked_word_head"},
        "sentence-transformers": {"pooler", "pooling"},
    },
    "question-answering": {
        "albertine": {"pooler", "qa_outputs"},
        "huggingface": {"qa_outputs"},
        "tensorflow": {"pooler", "qa_outputs", *PRETRAINING},
        "sentence-transformers": {"pooler", "pooling"},
    },
}


@pytest.mark.parametrize("config", [BERT, ALBERT], ids=["bert", "albert"])
@pytest.mark.parametrize("task", KEPT)
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_keeps_what_it_has_a_place_for(
    config: EncoderConfig, task: str | None, format: TargetFormat
) -> None:
    state = some_state(config, task=task, pooling=True)
    fit = fitted(state, format)
    assert parts(fit.state) == KEPT[task][format]
    assert fit.state.config.add_pooler == ("pooler" in parts(fit.state))
    assert (fit.state.head is None) == (task is None or format == "sentence-transformers")
    assert (fit.state.pooling is None) == (format != "sentence-transformers")
    kept = fit.state.tensors
    assert all(torch.equal(tensor, state.tensors[name]) for name, tensor in kept.items())
    missing = parts(state) - parts(fit.state)
    for part, word in (
        ("pooling", "the sentence pooling is left out"),
        ("pooler", "the pooler is left out"),
        ("masked_word_head", "heads are left out"),
    ):
        assert any(word in note for note in fit.notes) == (part in missing), (part, fit.notes)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("task", ["text-classification", "token-classification", "question-answering"])
def test_labels_stay_where_the_format_has_a_place_for_them(task: str, format: TargetFormat) -> None:
    state = some_state(BERT, task=task)
    fit = fitted(state, format)
    assert state.head is not None
    if format == "sentence-transformers":
        assert fit.state.head is None
    elif format == "tensorflow" and task != "question-answering":
        assert fit.state.head == replace(state.head, labels=tuple(f"LABEL_{n}" for n in range(11)))
        said = [note for note in fit.notes if "labels" in note]
        assert said == [
            "the labels are left out, a TensorFlow checkpoint has no place for them: 类0, 类1, 类2, 类3, 类4, 类5, "
            "类6, 类7 and 3 more"
        ]
    else:
        assert fit.state.head == state.head
        assert not any("labels" in note for note in fit.notes)


@pytest.mark.parametrize("format", FORMATS)
def test_a_model_that_fits_is_taken_as_it_is_without_a_word(format: TargetFormat) -> None:
    state = some_state(BERT)
    if format == "sentence-transformers":
        encoder = {name: one for name, one in state.tensors.items() if name.startswith("encoder.")}
        state = replace(state, tensors=encoder, pooling=SentencePooling(modes=("cls",)))
    fit = fitted(state, format)
    assert fit.state == state
    assert fit.notes == ()


def test_sentence_vectors_are_means_where_nobody_says_otherwise() -> None:
    fit = fitted(some_state(BERT), "sentence-transformers")
    assert fit.state.pooling == SentencePooling(modes=("mean",))
    assert any("mean pooling was written" in note for note in fit.notes)


def test_a_projection_that_changes_nothing_comes_and_goes() -> None:
    state = some_state(EQUAL_WIDTHS)
    there = fitted(state, "huggingface")
    assert there.state.config.has_projection
    assert any("a projection that changes nothing was added" in note for note in there.notes)
    back = fitted(there.state, "tensorflow")
    assert any("a projection that changes nothing was taken out" in note for note in back.notes)
    assert not back.state.config.has_projection
    assert back.state.tensors.keys() == state.tensors.keys()
    for other in (there.state, back.state):
        result = compare_states(state, other, tolerance=0)
        assert result.passed, result.render()


@pytest.mark.parametrize("format", ["huggingface", "sentence-transformers"])
@pytest.mark.parametrize("config", [BRIGHTMART, SINUSOIDAL], ids=["brightmart", "sinusoidal"])
def test_what_transformers_cannot_compute_is_refused_with_the_fields(
    config: EncoderConfig, format: TargetFormat
) -> None:
    with pytest.raises(ConfigError, match=r"transformers has no code.*as bert: .*as albert: ") as caught:
        fitted(some_state(config), format)
    field = "embedding_norm_width='hidden'" if config is BRIGHTMART else "position_embedding='sinusoidal'"
    assert field in str(caught.value)
    assert 'format="albertine"' in str(caught.value.next_step)


@pytest.mark.parametrize(
    "changes",
    [
        {"embedding_size": 7, "embedding_norm_width": "hidden", "projection_bias": False},
        {"embedding_size": 7, "embedding_norm_width": "hidden"},
        {"embedding_size": 7, "projection_bias": False},
        {"embedding_size": 7, "share": "attention"},
        {"embedding_size": 12, "share": "feed-forward"},
        {"embedding_size": 7, "share": "none", "inner_group_num": 2, "projection_bias": False},
        {"embedding_size": 12, "position_embedding": "sinusoidal"},
        {"embedding_size": 12, "norm_placement": "pre"},
    ],
    ids=str,
)
def test_unsharing_is_advised_where_it_makes_a_model_fit_and_nowhere_else(
    changes: Mapping[str, str | int | bool],
) -> None:
    state = some_state(EncoderConfig.preset("albert-base", **{**SIZES, **changes}))
    with pytest.raises(ConfigError) as caught:
        fitted(state, "huggingface")
    try:
        result = compare_states(state, fitted(unshared(state), "huggingface").state, tolerance=1e-4)
    except ConfigError:
        assert "--unshare" not in str(caught.value)
    else:
        assert "--unshare" in str(caught.value)
        assert result.passed, result.render()


def test_what_no_original_code_computes_is_refused_with_the_fields() -> None:
    with pytest.raises(CheckpointError, match=r"no original TensorFlow code.*layer_norm_eps=1e-05"):
        fitted(some_state(replace(BERT, layer_norm_eps=1e-5)), "tensorflow")
    state = some_state(replace(BERT, tie_word_embeddings=False))
    with pytest.raises(CheckpointError, match="tie_word_embeddings=False"):
        fitted(state, "tensorflow")


def test_a_table_of_its_own_that_is_the_encoders_is_tied_for_google() -> None:
    state = some_state(BERT)
    table = state.tensors["encoder.embeddings.word_embeddings.weight"]
    untied = replace(
        state,
        config=replace(BERT, tie_word_embeddings=False),
        tensors={**state.tensors, "masked_word_head.decoder.weight": table.clone()},
    )
    assert fitted(untied, "tensorflow").state == state


def test_the_layout_of_brightmart_is_one_of_googles_formats() -> None:
    state = some_state(BRIGHTMART)
    assert fitted(state, "tensorflow").state == state
    assert fitted(state, "albertine").state == state


def test_an_unknown_format_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown format.*'hugginface'.*Did you mean 'huggingface'"):
        fitted(some_state(BERT), "hugginface")  # type: ignore[arg-type]
