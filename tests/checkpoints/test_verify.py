from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from albertine.checkpoints.sharing import unshared
from albertine.checkpoints.state import ModelState, TaskHead
from albertine.checkpoints.verification import OutputComparison, Verification
from albertine.checkpoints.verify import compare_states, verify
from albertine.checkpoints.writing import save_encoder
from albertine.errors import ConfigError, DataError
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel
from albertine.models.pooling import DenseLayer, SentencePooling
from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer

# fmt: off
CONFIG = EncoderConfig(vocab_size=61, hidden_size=12, num_hidden_layers=3, num_attention_heads=3, intermediate_size=20,
                       embedding_size=7, share="all", max_position_embeddings=37)
# fmt: on
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "a", "##s", "dog", "cat", "house", "好", "吃", "天", "气")
QUERY = "encoder.attention_blocks.0.query.weight"
KEY_BIAS = "encoder.attention_blocks.0.key.bias"
TABLE = "encoder.embeddings.word_embeddings.weight"


def made(
    config: EncoderConfig = CONFIG, *, labels: Sequence[str] = (), task: str = "text-classification"
) -> ModelState:
    shapes = {
        name: tensor.shape for name, tensor in PretrainingModel(config, pair=config.add_pooler).state_dict().items()
    }
    if labels:
        shapes |= {"classifier.weight": torch.Size((len(labels), 12)), "classifier.bias": torch.Size((len(labels),))}
    generator = torch.Generator().manual_seed(8)
    tensors = {name: torch.randn(shape, generator=generator) * 0.5 for name, shape in shapes.items()}
    tensors |= {name: tensor + 1 for name, tensor in tensors.items() if name.endswith("layer_norm.weight")}
    head = TaskHead(task=task, labels=tuple(labels), module="classifier") if labels else None
    return ModelState(config=config, tensors=tensors, head=head)


def changed(state: ModelState, name: str, place: tuple[int, ...], by: float) -> ModelState:
    tensor = state.tensors[name].clone()
    tensor[place] += by
    return replace(state, tensors={**state.tensors, name: tensor})


def without(state: ModelState, *prefixes: str) -> ModelState:
    return replace(state, tensors={name: one for name, one in state.tensors.items() if not name.startswith(prefixes)})


def rows(result: Verification) -> dict[str, OutputComparison]:
    assert len({output.name for output in result.outputs}) == len(result.outputs)
    return {output.name: output for output in result.outputs}


def failing(result: Verification) -> set[str]:
    return {output.name for output in result.outputs if not output.within}


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    return tokenizer_of(WORDS, tmp_path)


def tokenizer_of(words: Sequence[str], folder: Path) -> Tokenizer:
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return load_tokenizer(folder)


def test_a_model_equals_itself_in_everything_that_it_computes(tokenizer: Tokenizer) -> None:
    state = made(labels=("good", "bad"))
    result = compare_states(state, state, tokenizers=(tokenizer, tokenizer))
    assert result.passed
    assert list(rows(result)) == [
        "embeddings",
        "hidden_states",
        "last_hidden_state",
        "pooler_output",
        "pair_logits",
        "text-classification logits",
        "prediction_logits",
        "key_biases",
    ]
    assert all(output.largest == 0.0 and output.sides == "both" for output in result.outputs)
    assert all((output.scale or 0.0) > 0.05 for output in result.outputs)
    assert (result.weights.equal, result.weights.compared) == (len(state.tensors), len(state.tensors))
    assert result.tokenizer_difference is None
    assert result.notes == ()
    assert result.inputs.startswith("8 texts, ")
    assert result.inputs.endswith("the longest 37")


def test_the_difference_is_the_largest_that_the_models_show_when_run_by_hand(tokenizer: Tokenizer) -> None:
    a = made()
    b = changed(a, "encoder.feed_forward_blocks.0.output.bias", (5,), 1e-3)
    text = ("the dogs", "a cat")
    result = rows(compare_states(a, b, tokenizers=(tokenizer, tokenizer), texts=[text]))
    states: list[list[Tensor]] = []
    for state in (a, b):
        model = PretrainingModel(CONFIG).eval()
        model.load_state_dict(dict(state.tensors))
        batch = tokenizer([text])
        with torch.no_grad():
            output = model(batch.input_ids, token_type_ids=batch.token_type_ids, output_hidden_states=True)
        assert output.prediction_logits is not None
        states.append([*(output.encoder.hidden_states or ()), output.prediction_logits])
    differences = [float((one - other).abs().max()) for one, other in zip(*states, strict=True)]
    hidden = result["hidden_states"]
    assert hidden.largest == pytest.approx(max(differences[:-1]), rel=1e-4)
    assert hidden.detail == f"pass {differences.index(max(differences[:-1]))}"
    assert result["last_hidden_state"].largest == pytest.approx(differences[-2], rel=1e-4)
    assert result["prediction_logits"].largest == pytest.approx(differences[-1], rel=1e-4)
    assert result["last_hidden_state"].scale == pytest.approx(float(states[0][-2].abs().max()), rel=1e-2)


def test_the_tolerance_decides() -> None:
    a = made()
    b = changed(a, QUERY, (0, 0), 1e-2)
    largest = max(output.largest or 0.0 for output in compare_states(a, b).outputs)
    assert largest > 1e-5
    assert not compare_states(a, b, tolerance=largest * 0.99).passed
    assert compare_states(a, b, tolerance=largest).passed


@pytest.mark.parametrize(
    ("name", "place", "expected"),
    [
        ("masked_word_head.bias", (60,), {"prediction_logits"}),
        ("pair_head.weight", (1, 3), {"pair_logits"}),
        ("classifier.bias", (1,), {"text-classification logits"}),
        ("encoder.pooler.dense.bias", (2,), {"pooler_output", "pair_logits", "text-classification logits"}),
        (KEY_BIAS, (4,), {"key_biases"}),
        # no text reaches this position, this word and this segment all at once, or at all
        ("encoder.embeddings.position_embeddings.weight", (36, 0), {"embeddings"}),
        (TABLE, (60, 1), {"embeddings"}),
        ("encoder.embeddings.token_type_embeddings.weight", (2, 1), {"embeddings"}),
    ],
)
def test_a_change_shows_where_it_acts(
    tokenizer: Tokenizer, name: str, place: tuple[int, ...], expected: set[str]
) -> None:
    a = made(replace(CONFIG, type_vocab_size=3), labels=("good", "bad"))
    b = changed(a, name, place, 0.01)
    result = compare_states(a, b, tokenizers=(tokenizer, tokenizer), texts=["the cat", ("好吃", "a house")])
    assert not result.passed
    assert failing(result) - {"prediction_logits"} == expected - {"prediction_logits"}
    assert result.weights.different == (name,)
    assert result.weights.equal == len(a.tensors) - 1


def test_another_activation_and_another_epsilon_are_seen(tokenizer: Tokenizer) -> None:
    for overrides in ({"hidden_act": "gelu_tanh"}, {"layer_norm_eps": 1e-2}):
        b = replace(made(), config=replace(CONFIG, **overrides))
        result = compare_states(made(), b, tokenizers=(tokenizer, tokenizer), tolerance=1e-6)
        assert not result.passed
        assert "last_hidden_state" in failing(result)
        assert result.weights.equal == len(b.tensors)
        assert any(next(iter(overrides)) in note for note in result.notes)


def test_a_shared_model_equals_its_unshared_form_although_the_weights_have_other_names(tokenizer: Tokenizer) -> None:
    a = made(replace(CONFIG, embedding_norm_width="hidden", projection_bias=False))
    result = compare_states(a, unshared(a), tokenizers=(tokenizer, tokenizer), tolerance=1e-5)
    assert result.passed
    assert all(output.sides == "both" for output in result.outputs)
    assert result.weights.other_shape == (TABLE,)
    assert result.weights.only_in_a == ("encoder.embeddings.projection.weight",)
    assert len(result.weights.only_in_b) == 2 * 26 - 2 * 10


def test_outputs_of_one_side_are_listed(tokenizer: Tokenizer) -> None:
    a = made(labels=("x", "y", "z"))
    b = without(
        replace(a, head=None, config=replace(CONFIG, add_pooler=False)), "encoder.pooler.", "pair_head", "class"
    )
    for one, other, side in ((a, b, "a"), (b, a, "b")):
        result = compare_states(one, other, tokenizers=(tokenizer, tokenizer))
        assert result.passed
        own = {"a": result.only_in_a, "b": result.only_in_b}
        assert set(own[side]) == {"pooler_output", "pair_logits", "text-classification logits"}
        assert not own["b" if side == "a" else "a"]
        assert f"only in {side}" in result.render()
        assert rows(result)["pooler_output"].largest is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("one_sided", [False, True])
def test_a_value_that_is_not_finite_fails_even_where_both_have_it(value: float, one_sided: bool) -> None:
    a = changed(made(labels=("x", "y")), "classifier.bias", (1,), value)
    b = without(replace(a, head=None), "classifier.") if one_sided else a
    result = compare_states(a, b)
    assert not result.passed
    assert failing(result) == {"text-classification logits"}
    row = rows(result)["text-classification logits"]
    assert (row.largest, row.scale, row.detail) == (None, None, "values that are not finite")
    json.dumps(result.to_dict(), allow_nan=False)


def test_what_stands_at_padding_is_not_compared(tokenizer: Tokenizer) -> None:
    a = made()
    b = changed(a, TABLE, (0, 0), 1.0)  # the padding's own embedding
    result = compare_states(a, b, tokenizers=(tokenizer, tokenizer), texts=["the", "a cat a dog a house"])
    assert result.inputs == "2 texts, 11 tokens, the longest 8"
    assert failing(result) == {"embeddings", "prediction_logits"}
    assert rows(result)["hidden_states"].largest == 0.0


def test_other_sizes_are_named_and_not_compared() -> None:
    other = EncoderConfig.from_dict({**CONFIG.to_dict(), "hidden_size": 15, "num_hidden_layers": 2})
    b = made(other)
    result = compare_states(made(), b)
    assert not result.passed
    by_name = rows(result)
    assert by_name["last_hidden_state"].detail == "12 wide in a, 15 in b"
    assert by_name["hidden_states"].largest is None
    assert "hidden_size 12 and 15" in " ".join(result.notes)
    fewer = compare_states(made(), replace(made(), config=replace(CONFIG, num_hidden_layers=2)))
    assert rows(fewer)["hidden_states"].detail == "4 in a, 3 in b"
    assert not fewer.passed


def test_a_smaller_vocabulary_bounds_the_random_ids() -> None:
    a = made()
    table = replace(CONFIG, vocab_size=40)
    cut = {name: one[:40] if one.shape[:1] == (61,) else one for name, one in a.tensors.items()}
    result = compare_states(a, replace(a, config=table, tensors=cut))
    assert failing(result) == {"prediction_logits", "vocab_size"}
    assert rows(result)["prediction_logits"].detail == "61 wide in a, 40 in b"
    assert rows(result)["embeddings"].largest == 0.0


def test_without_a_tokenizer_the_ids_are_random_and_the_report_says_so(tokenizer: Tokenizer) -> None:
    a = made()
    for pair, absent in (((None, None), "a and b"), ((tokenizer, None), "b"), ((None, tokenizer), "a")):
        result = compare_states(a, a, tokenizers=pair)
        assert result.passed
        assert result.inputs == "6 rows of random ids, 68 tokens, the longest 37"
        assert result.notes == (f"no tokenizer in {absent}: the ids are random",)
    assert "given texts are not used" in compare_states(a, a, texts=["the cat"]).notes[0]
    assert compare_states(a, a).to_dict() == compare_states(a, a).to_dict()


def test_a_tokenizer_of_another_vocabulary_is_a_failure_of_its_own(tokenizer: Tokenizer, tmp_path: Path) -> None:
    swapped = list(WORDS)
    swapped[8], swapped[9] = swapped[9], swapped[8]
    other = tokenizer_of(swapped, tmp_path / "other")
    a = made()
    result = compare_states(a, a, tokenizers=(tokenizer, other), texts=["a house", ("the 好", "a dog")])
    assert not result.passed
    assert not failing(result)
    said = result.tokenizer_difference or ""
    assert said == "text 2 (('the 好', 'a dog')), token 5: id 8 (dog) in a, id 9 (dog) in b"
    assert said in result.render()
    assert result.to_dict()["tokenizer_difference"] == said


def test_tokenizers_that_differ_in_a_special_token_only_differ(tokenizer: Tokenizer, tmp_path: Path) -> None:
    swapped = ["[MASK]", *WORDS[1:4], "[PAD]", *WORDS[5:]]
    result = compare_states(made(), made(), tokenizers=(tokenizer, tokenizer_of(swapped, tmp_path / "other")))
    assert result.tokenizer_difference == "the pad token has id 0 in a and 4 in b"


def test_vocabularies_that_differ_where_no_text_reaches_differ(tokenizer: Tokenizer, tmp_path: Path) -> None:
    unseen = [*WORDS[:-2], WORDS[-1], WORDS[-2]]
    texts = [WORDS[5]]
    result = compare_states(
        made(), made(), tokenizers=(tokenizer, tokenizer_of(unseen, tmp_path / "other")), texts=texts
    )
    assert not result.passed
    assert result.tokenizer_difference is not None
    assert result.tokenizer_difference.startswith(f"token {len(WORDS) - 2} of the vocabulary")


@pytest.mark.parametrize(("field", "value"), [("max_position_embeddings", 12), ("type_vocab_size", 1)])
def test_a_model_that_reaches_less_far_is_another(field: str, value: int) -> None:
    table = {"max_position_embeddings": "position", "type_vocab_size": "token_type"}[field]
    a = made()
    cut = {name: one[:value] if f"{table}_embeddings" in name else one for name, one in a.tensors.items()}
    result = compare_states(a, replace(a, config=replace(a.config, **{field: value}), tensors=cut))
    assert failing(result) == {field}


def test_tiny_outputs_are_held_to_their_own_size() -> None:
    a = made()
    tiny = {name: 1e-6 * one if name.startswith("pair_head") else one for name, one in a.tensors.items()}
    negated = {name: -one if name.startswith("pair_head") else one for name, one in tiny.items()}
    assert compare_states(replace(a, tensors=tiny), replace(a, tensors=tiny)).passed
    assert failing(compare_states(replace(a, tensors=tiny), replace(a, tensors=negated))) == {"pair_logits"}


def test_what_only_one_side_has_stands_in_the_last_line() -> None:
    a = made()
    b = replace(a, tensors={name: one for name, one in a.tensors.items() if not name.startswith("pair_head")})
    result = compare_states(a, b)
    assert result.passed
    assert result.render().endswith("equal within 0.0001, but only a has pair_logits")


def test_a_tokenizer_with_more_words_than_the_model_gives_random_ids(tmp_path: Path) -> None:
    large = tokenizer_of([*WORDS, *(f"w{index}" for index in range(60)), "zebra"], tmp_path / "large")
    result = compare_states(made(), made(), tokenizers=(large, large), texts=["zebra"])
    assert result.notes == ("the tokenizer gives id 75 and a model has 61 words: the ids are random",)
    assert result.passed


def test_texts_that_are_too_long_are_cut_and_the_report_says_so(tokenizer: Tokenizer) -> None:
    result = compare_states(made(), made(), tokenizers=(tokenizer, tokenizer), texts=["the " * 90, "cat", "dog " * 36])
    assert result.inputs == "3 texts, 77 tokens, the longest 37"
    assert result.notes == ("2 of the texts were cut to 37 tokens",)


def test_a_model_of_one_segment_is_run_on_one(tokenizer: Tokenizer) -> None:
    a = made(replace(CONFIG, type_vocab_size=1))
    result = compare_states(a, a, tokenizers=(tokenizer, tokenizer))
    assert result.passed
    assert "single segment" in result.notes[0]
    assert compare_states(made(replace(CONFIG, type_vocab_size=0)), made(replace(CONFIG, type_vocab_size=0))).passed


def test_labels_in_another_order_are_compared_by_name() -> None:
    a = made(labels=("good", "bad", "so-so"))
    order = [2, 0, 1]
    weight, bias = a.tensors["classifier.weight"][order], a.tensors["classifier.bias"][order]
    assert a.head is not None
    head = replace(a.head, labels=("so-so", "good", "bad"))
    moved = replace(a, head=head, tensors={**a.tensors, "classifier.weight": weight, "classifier.bias": bias})
    result = compare_states(a, moved)
    assert result.passed
    assert "another order (good, bad, so-so in a, so-so, good, bad in b)" in result.notes[1]
    # the rows stayed and the names moved: every prediction would be another
    assert failing(compare_states(a, replace(a, head=head))) == {"text-classification logits"}


def test_other_labels_fail() -> None:
    a = made(labels=("good", "bad"))
    assert a.head is not None
    result = compare_states(a, replace(a, head=replace(a.head, labels=("good", "LABEL_1"))))
    assert failing(result) == {"labels"}
    assert rows(result)["labels"].detail == "good, bad in a, good, LABEL_1 in b"


def test_many_labels_are_named_from_the_first_that_differs() -> None:
    labels = [f"L{number}" for number in range(23)]
    a = made(labels=labels)
    assert a.head is not None
    b = replace(a, head=replace(a.head, labels=(*labels[:11], "other", *labels[12:])))
    assert rows(compare_states(a, b))["labels"].detail == (
        "11 as in the other, then L11, L12, L13, L14, L15, L16, L17, L18 and 4 more in a, "
        "11 as in the other, then other, L12, L13, L14, L15, L16, L17, L18 and 4 more in b"
    )


def test_a_head_on_every_token_is_run_on_every_token(tokenizer: Tokenizer) -> None:
    a = made(labels=("O", "B", "I"), task="token-classification")
    b = changed(a, "classifier.weight", (1, 1), 0.05)
    result = compare_states(a, b, tokenizers=(tokenizer, tokenizer))
    assert failing(result) == {"token-classification logits"}
    by_task = compare_states(a, made(labels=("O", "B", "I")))
    assert by_task.only_in_a == ("token-classification logits",)
    assert by_task.only_in_b == ("text-classification logits",)
    assert failing(by_task) == {"task"}


def test_sentence_vectors_are_compared_where_both_have_a_pooling(tokenizer: Tokenizer) -> None:
    pooling = SentencePooling(
        modes=("mean", "cls"), dense=(DenseLayer(in_features=24, out_features=5),), normalize=True
    )
    dense = {"pooling.dense.0.weight": torch.randn(5, 24), "pooling.dense.0.bias": torch.randn(5)}
    a = made()
    a = replace(a, pooling=pooling, tensors={**a.tensors, **dense})
    assert rows(compare_states(a, a, tokenizers=(tokenizer, tokenizer)))["sentence_vectors"].largest == 0.0
    b = replace(a, pooling=replace(pooling, modes=("max", "cls"), max_length=20))
    result = compare_states(a, b, tokenizers=(tokenizer, tokenizer))
    assert failing(result) == {"sentence_vectors", "sentence max_length"}
    assert rows(result)["sentence max_length"].detail == "37 tokens in a, 20 tokens in b"
    same = compare_states(a, replace(a, pooling=replace(pooling, max_length=512)))
    assert same.passed  # no text is longer than the positions reach
    assert failing(compare_states(a, replace(a, pooling=replace(pooling, lowercase=True)))) == {"sentence lowercase"}
    assert compare_states(a, made()).only_in_a == ("sentence_vectors",)


def test_the_longest_text_is_the_tokenizers_where_the_pooling_names_none(tokenizer: Tokenizer) -> None:
    def row(a: int | None, b: int | None, *lengths: int | None, one_has_none: bool = False) -> str | None:
        first, second = (Tokenizer(tokenizer.model, max_length=length) for length in (a, b))
        states = [replace(made(), pooling=SentencePooling(max_length=length)) for length in lengths or (None, None)]
        tokenizers = (first, None if one_has_none else second)
        result = compare_states(states[0], states[1], tokenizers=tokenizers)
        assert failing(result) <= {"sentence max_length"}
        return rows(result)["sentence max_length"].detail if failing(result) else None

    assert row(13, 21) == "13 tokens in a, 21 tokens in b"
    assert row(13, None) == "13 tokens in a, 37 tokens in b"
    assert row(13, 21, 9, None) == "9 tokens in a, 21 tokens in b"
    assert row(13, 21, 9, 9) is None
    assert row(13, 21, 21, None) is None
    assert row(13, 13, None, 13) is None
    assert row(99, 512) is None
    assert row(13, None, one_has_none=True) is None


def test_a_vector_that_is_cut_is_another(tokenizer: Tokenizer) -> None:
    def cut_to(width: int | None) -> ModelState:
        return replace(made(), pooling=SentencePooling(truncate_dim=width))

    result = compare_states(cut_to(5), cut_to(None), tokenizers=(tokenizer, tokenizer))
    assert failing(result) == {"sentence_vectors", "sentence truncate_dim"}
    assert rows(result)["sentence truncate_dim"].detail == "5 in a, None in b"
    assert compare_states(cut_to(5), cut_to(5)).passed
    assert compare_states(cut_to(12), cut_to(None)).passed  # no vector is wider
    assert compare_states(cut_to(12), cut_to(768)).passed


def test_weights_of_a_narrower_type_are_run_in_float32() -> None:
    a = made()
    narrow = replace(a, tensors={name: tensor.bfloat16() for name, tensor in a.tensors.items()})
    again = replace(a, tensors={name: tensor.float() for name, tensor in narrow.tensors.items()})
    result = compare_states(narrow, again)
    assert result.passed
    assert all(output.largest == 0.0 for output in result.outputs)
    assert result.weights.equal == len(a.tensors)
    assert not compare_states(a, narrow).passed


def test_minus_zero_is_not_the_same_bits() -> None:
    a = changed(made(), KEY_BIAS, (0,), 0.0)
    a.tensors[KEY_BIAS][0] = 0.0
    b = changed(a, KEY_BIAS, (1,), 0.0)
    b.tensors[KEY_BIAS][0] = -0.0
    result = compare_states(a, b)
    assert result.weights.different == (KEY_BIAS,)
    assert result.passed


def test_the_models_given_are_left_as_they_were() -> None:
    a = made()
    before = {name: tensor.clone() for name, tensor in a.tensors.items()}
    compare_states(a, a)
    assert all(torch.equal(before[name], a.tensors[name]) for name in before)
    assert not any(tensor.requires_grad for tensor in a.tensors.values())


def test_long_logits_come_in_pieces_that_cover_every_token(monkeypatch: pytest.MonkeyPatch) -> None:
    a = made()
    b = changed(a, "masked_word_head.dense.weight", (1, 2), 0.01)
    whole = rows(compare_states(a, b))["prediction_logits"].largest
    monkeypatch.setattr("albertine.checkpoints.verify._WORDS_AT_ONCE", 3)
    monkeypatch.setattr("albertine.checkpoints.verify._ROWS_AT_ONCE", 7)
    assert rows(compare_states(a, b))["prediction_logits"].largest == pytest.approx(whole, rel=1e-3)


@pytest.mark.parametrize("tolerance", [-1e-9, float("nan"), float("inf")])
def test_a_tolerance_that_is_none_is_refused(tolerance: float) -> None:
    with pytest.raises(ConfigError, match="not a tolerance"):
        compare_states(made(), made(), tolerance=tolerance)


def test_texts_that_are_none_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="no texts"):
        compare_states(made(), made(), texts=[])
    with pytest.raises(DataError, match="one string"):
        compare_states(made(), made(), texts="the cat")
    with pytest.raises(DataError, match="pair"):
        compare_states(made(), made(), texts=[("a", "b", "c")])  # type: ignore[list-item]
    with pytest.raises(DataError, match="not a string"):
        compare_states(made(), made(), tokenizers=(tokenizer, tokenizer), texts=["a", 3])  # type: ignore[list-item]


def test_the_report_is_a_table_and_a_document(tokenizer: Tokenizer) -> None:
    a = made()
    b = changed(a, QUERY, (0, 0), 5.0)
    shown = compare_states(a, b, tokenizers=(tokenizer, tokenizer), names=("here", "there"))
    lines = shown.render().splitlines()
    assert lines[:2] == ["a: here", "b: there"]
    assert lines[-1] == "NOT equal within 0.0001"
    assert any(line.startswith("last_hidden_state") and line.endswith("NO") for line in lines)
    assert any(line.startswith("embeddings") and line.endswith("yes") for line in lines)
    assert f"weights: {len(a.tensors) - 1} of {len(a.tensors)} tensors" in shown.render()
    assert f"  other values: {QUERY}" in lines
    assert max(map(len, lines)) <= 120
    document = json.loads(json.dumps(shown.to_dict(), allow_nan=False))
    assert document["schema_version"] == 1
    assert document["passed"] is False
    assert document["weights"]["different"] == [QUERY]
    assert {output["name"] for output in document["outputs"]} == set(rows(shown))


def test_folders_are_opened_with_their_tokenizers(tmp_path: Path, tokenizer: Tokenizer) -> None:
    a = made()
    for name, state in (("a", a), ("b", changed(a, QUERY, (3, 3), 2.0))):
        model = PretrainingModel(CONFIG)
        model.load_state_dict(dict(state.tensors))
        save_encoder(model, tokenizer, tmp_path / name)
    same = verify(tmp_path / "a", str(tmp_path / "a"))
    assert same.passed
    assert "texts" in same.inputs
    assert (same.a, same.b) == (str(tmp_path / "a"), str(tmp_path / "a"))
    other = verify(tmp_path / "a", tmp_path / "b", texts=["a dog", ("the cats", "好吃")], tolerance=1e-7)
    assert not other.passed
    assert other.weights.different == (QUERY,)
