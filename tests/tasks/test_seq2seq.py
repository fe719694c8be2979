"""Sequence to sequence as a record of functions, from texts to texts, and what a small model learns."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from albertine.batching.packing import packed, padded
from albertine.errors import ConfigError, DataError
from albertine.evaluation import generation
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.models.recurrent import RecurrentConfig
from albertine.records import Encoded, Example, Prediction
from albertine.tasks import seq2seq
from albertine.tasks.config import TaskConfig, TaskRequest, options_from
from albertine.tasks.seq2seq import TASK
from albertine.tasks.seq2seq_module import Seq2Seq, Seq2SeqOptions, Written
from albertine.tokenization.learn import learn_vocabulary
from albertine.tokenization.pair import TokenizerPair
from albertine.tokenization.tokenizer import Tokenizer

DIGITS = "zero one two three four five six seven eight nine".split()  # noqa: SIM905  easier to read


def sentences(count: int, seed: int, *, longest: int = 5) -> list[list[str]]:
    generator = random.Random(seed)
    return [generator.choices(DIGITS, k=generator.randint(1, longest)) for _ in range(count)]


def reversals(count: int, seed: int = 0, *, longest: int = 5) -> list[Example]:
    return [
        Example(text=" ".join(words), target=" ".join(reversed(words)), file="digits.csv", line=line)
        for line, words in enumerate(sentences(count, seed, longest=longest), start=2)
    ]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return learn_vocabulary([" ".join(DIGITS)] * 30, size=70, rarest=1)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let words be divided by blanks where sacrebleu is not installed."""

    def statistics(text: str, reference: str, tokenizer: str) -> list[int]:
        ours, theirs = text.split(), reference.split()
        matches = [0, 0, 0, 0]
        for n in range(1, 5):
            expected = [theirs[place : place + n] for place in range(len(theirs) - n + 1)]
            for place in range(len(ours) - n + 1):
                if ours[place : place + n] in expected:
                    expected.remove(ours[place : place + n])
                    matches[n - 1] += 1
        return [len(ours), len(theirs), *matches, *(max(0, len(ours) - n + 1) for n in range(1, 5))]

    monkeypatch.setattr(seq2seq, "refuse_missing_sacrebleu", lambda: None)
    monkeypatch.setattr(seq2seq, "signatures", lambda tokenizer: {"bleu": f"tok:{tokenizer}"})
    monkeypatch.setattr(generation, "_bleu_statistics", statistics)


def encoder_config(tokenizer: Tokenizer, **overrides: str | int | float | bool) -> EncoderConfig:
    values: dict[str, str | int | float | bool] = {
        "vocab_size": tokenizer.vocab_size,
        "embedding_size": 32,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 40,
        "initializer_range": 0.1,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "add_pooler": False,
    }
    return EncoderConfig.preset("bert-tiny", **{**values, **overrides})


def task_config(tokenizer: Tokenizer, **options: object) -> TaskConfig:
    own = {"max_target_length": 16, "target_vocab_size": tokenizer.vocab_size, "bleu_tokenizer": "none", **options}
    return TaskConfig(task="seq2seq", max_length=16, options=options_from(Seq2SeqOptions, own, task="seq2seq"))


def build(tokenizer: Tokenizer, *, seed: int = 3, **options: object) -> tuple[Seq2Seq, TaskConfig]:
    torch.manual_seed(seed)
    config = task_config(tokenizer, **options)
    module = TASK.build(encoder_config(tokenizer), config)
    assert isinstance(module, Seq2Seq)
    return module, config


def encode(
    tokenizer: Tokenizer, rows: Sequence[Example], config: TaskConfig, *, labelled: bool = True
) -> Sequence[Encoded]:
    return TASK.encode(tokenizer, rows, config, labelled=labelled).items


def predict(
    module: Seq2Seq, tokenizer: Tokenizer, rows: Sequence[Example], config: TaskConfig
) -> tuple[list[Written], list[Prediction]]:
    """Do what the engine does."""
    module.eval()
    items = encode(tokenizer, rows, config, labelled=False)
    with torch.inference_mode():
        outputs = TASK.outputs(module, packed(items), config)
    answers = [TASK.answer([one], [item], row, config) for one, item, row in zip(outputs, items, rows, strict=True)]
    return answers, TASK.decode(answers, rows, config)


def test_targets_stand_one_after_another_with_their_frames(tokenizer: Tokenizer) -> None:
    config = task_config(tokenizer)
    items = encode(tokenizer, reversals(3), config)
    batch = packed(items)
    assert batch.labels is not None
    assert batch.label_starts is not None
    for place, row in enumerate(reversals(3)):
        assert row.target is not None
        target = batch.labels[batch.label_starts[place] : batch.label_starts[place + 1]]
        assert target.dtype == torch.int64
        assert (int(target[0]), int(target[-1])) == (tokenizer.cls_id, tokenizer.sep_id)
        assert tokenizer.decode(target.numpy()) == row.target
        assert tokenizer.decode(items[place].input_ids) == row.text
    assert packed(encode(tokenizer, reversals(3), config, labelled=False)).labels is None


def test_what_is_too_long_is_cut_and_named_and_a_cut_target_does_not_end(tokenizer: Tokenizer) -> None:
    config = replace(task_config(tokenizer, max_target_length=6), max_length=7)
    rows = [
        Example(text="one two", target="two one"),
        Example(text=" ".join(DIGITS), target="nine"),
        Example(text="three", target=" ".join(DIGITS)),
    ]
    found = TASK.encode(tokenizer, rows, config, labelled=True)
    assert found.truncated.tolist() == [1, 2]
    assert len(found[1]) == 7
    assert found[1].input_ids[-1] == tokenizer.sep_id
    cut = found[2].target
    assert cut is not None
    assert len(cut) == 6
    assert cut[-1] != tokenizer.sep_id
    assert TASK.encode(tokenizer, rows, config, labelled=False).truncated.tolist() == [1]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_smoothed_cross_entropy_of_what_comes_next(tokenizer: Tokenizer, smoothing: float) -> None:
    module, config = build(tokenizer, label_smoothing=smoothing)
    rows = reversals(9)
    (part,) = TASK.loss(module, packed(encode(tokenizer, rows, config))).values()
    total, count = torch.zeros(()), 0
    for item in encode(tokenizer, rows, config):
        assert item.target is not None
        alone = padded([replace(item, target=None)], pad_id=tokenizer.pad_id)
        memory, layout = module.read(alone)
        target = torch.from_numpy(item.target)
        states = module.decoder(target[None, :-1], memory, memory_layout=layout)
        scores = module.decoder.logits(states)[0]
        total = total + F.cross_entropy(scores, target[1:], label_smoothing=smoothing, reduction="sum")
        count += len(target) - 1
    torch.testing.assert_close(part.total, total, rtol=1e-4, atol=1e-3)
    assert float(part.weight) == count


def test_the_losses_of_parts_add_up_to_that_of_the_whole(tokenizer: Tokenizer) -> None:
    module, config = build(tokenizer)
    items = encode(tokenizer, reversals(11), config)
    whole = TASK.loss(module, packed(items))["target_tokens"]
    parts = [TASK.loss(module, packed(some))["target_tokens"] for some in (items[:4], items[4:])]
    torch.testing.assert_close(torch.stack([one.total for one in parts]).sum(), whole.total, rtol=1e-4, atol=1e-3)
    assert sum(float(one.weight) for one in parts) == float(whole.weight)


def test_every_weight_learns_but_the_poolers(tokenizer: Tokenizer) -> None:
    torch.manual_seed(3)
    config = task_config(tokenizer)
    module = TASK.build(encoder_config(tokenizer, add_pooler=True), config)
    part = TASK.loss(module, packed(encode(tokenizer, reversals(9), config)))["target_tokens"]
    part.total.backward()
    still = {name for name, one in module.named_parameters() if one.grad is None or not bool(one.grad.any())}
    assert {name for name in still if "pooler" not in name} <= {"body.embeddings.token_type_embeddings.weight"}


def test_the_log_shares_are_those_of_every_word(tokenizer: Tokenizer) -> None:
    module, config = build(tokenizer)
    batch = packed(encode(tokenizer, reversals(5), config))
    assert TASK.log_shares is not None
    shares = TASK.log_shares(module, module(batch), batch)
    part = TASK.loss(module, batch)["target_tokens"]
    assert shares.shape == (int(part.weight), tokenizer.vocab_size)
    assert shares.exp().sum(dim=1).tolist() == pytest.approx([1.0] * len(shares), abs=1e-5)


@pytest.fixture(scope="module")
def learnt(tokenizer: Tokenizer) -> tuple[Seq2Seq, TaskConfig]:
    """A small model that reverses numbers, trained in a plain loop."""
    module, config = build(tokenizer, label_smoothing=0.05, beams=3)
    module.train()
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3, betas=(0.9, 0.98))
    steps = 300
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 50, (steps - step) / 150)
    )
    for step in range(steps):
        batch = packed(encode(tokenizer, reversals(64, seed=100 + step), config))
        part = TASK.loss(module, batch)["target_tokens"]
        optimizer.zero_grad()
        (part.total / part.weight).backward()
        optimizer.step()
        schedule.step()
    return module.eval(), config


def test_a_small_model_learns_to_reverse_numbers(
    learnt: tuple[Seq2Seq, TaskConfig], tokenizer: Tokenizer, unmeasured: None
) -> None:
    module, config = learnt
    rows = reversals(100, seed=7)
    answers, predictions = predict(module, tokenizer, rows, config)
    metrics = TASK.score(answers, rows, config)
    assert metrics["exact_match"] > 0.9
    assert metrics["bleu"] > 0.9
    assert all(one.text is not None and one.label is None for one in predictions)
    right = [
        one.score
        for one, row in zip(predictions, rows, strict=True)
        if one.text == row.target and one.score is not None
    ]
    assert np.mean(right) > 0.8
    evidence = TASK.evidence(answers, rows, config)
    assert evidence.shape[1] == len(TASK.evidence_columns(config))
    assert not TASK.did_not_learn(evidence, config)
    for name, metric in TASK.metrics(config).items():
        assert metric.of(evidence) == metrics[name]
    assert TASK.main_metric in metrics
    assert TASK.ranking_metric(config, {}, []) in TASK.metrics(config)


def test_options_at_prediction_are_heeded(learnt: tuple[Seq2Seq, TaskConfig], tokenizer: Tokenizer) -> None:
    module, config = learnt
    rows = reversals(20, seed=8)
    options = config.own(Seq2SeqOptions)
    _, single = predict(module, tokenizer, rows, config)
    assert all(one.scores == {} for one in single)
    _, several = predict(module, tokenizer, rows, replace(config, options=replace(options, n_best=3)))
    for one, best in zip(several, single, strict=True):
        assert 1 < len(one.scores) <= 3
        assert one.text == best.text == next(iter(one.scores))
    sampled = replace(config, options=replace(options, sampling=True, sampling_temperature=3.0, sampling_seed=5))
    first, again = (predict(module, tokenizer, rows, sampled)[1] for _ in range(2))
    assert first == again
    assert [one.text for one in first] != [one.text for one in single]
    longer = replace(config, options=replace(options, min_length=8))
    with torch.inference_mode():
        outputs = TASK.outputs(module, packed(encode(tokenizer, rows, longer, labelled=False)), longer)
    assert all(len(best.tokens) >= 8 for (best,) in outputs)


def test_a_text_is_answered_alone_as_among_others(learnt: tuple[Seq2Seq, TaskConfig], tokenizer: Tokenizer) -> None:
    module, config = learnt
    rows = reversals(17, seed=9)
    together = predict(module, tokenizer, rows, config)[1]
    for row, expected in zip(rows, together, strict=True):
        (alone,) = predict(module, tokenizer, [row], config)[1]
        assert alone.text == expected.text
        assert alone.score == pytest.approx(expected.score, abs=1e-4)


def test_bf16_answers_are_those_of_fp32(learnt: tuple[Seq2Seq, TaskConfig], tokenizer: Tokenizer) -> None:
    module, config = learnt
    rows = reversals(50, seed=10)
    exact = predict(module, tokenizer, rows, config)[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = predict(module, tokenizer, rows, config)[1]
    assert np.mean([one.text == other.text for one, other in zip(exact, near, strict=True)]) > 0.9


def test_training_in_bf16_gives_nearly_the_same_loss(tokenizer: Tokenizer) -> None:
    module, config = build(tokenizer)
    batch = packed(encode(tokenizer, reversals(20), config))
    exact = TASK.loss(module, batch)["target_tokens"].total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = TASK.loss(module, batch)["target_tokens"].total
    near.backward()
    assert near.item() == pytest.approx(exact.item(), rel=0.02)


def test_texts_of_a_model_that_learnt_nothing_are_all_alike(tokenizer: Tokenizer, unmeasured: None) -> None:
    config = task_config(tokenizer)
    rows = reversals(6)
    same = [Written(texts=("one",), probabilities=(0.5,)) for _ in rows]
    assert TASK.did_not_learn(TASK.evidence(same, rows, config), config)
    with pytest.raises(DataError, match="no items"):
        TASK.score([], [], config)


def test_nothing_written_is_an_empty_text(tokenizer: Tokenizer) -> None:
    config = task_config(tokenizer)
    (item,) = encode(tokenizer, reversals(1), config)
    answer = TASK.answer([[]], [item], reversals(1)[0], config)
    (prediction,) = TASK.decode([answer], reversals(1), config)
    assert (prediction.text, prediction.score) == ("", 0.0)


def test_two_vocabularies_have_two_tables(tokenizer: Tokenizer) -> None:
    letters = learn_vocabulary(["a b c d e f g h i j"] * 30, size=40, rarest=1)
    pair = TokenizerPair(tokenizer, letters)
    config = task_config(
        tokenizer,
        shared_vocabulary=False,
        target_vocab_size=letters.vocab_size,
        begin_id=letters.cls_id,
        end_id=letters.sep_id,
        forbidden_ids=(letters.pad_id, letters.unk_id, letters.mask_id),
    )
    module = TASK.build(encoder_config(tokenizer), config)
    assert isinstance(module, Seq2Seq)
    assert module.decoder.table.shape[0] == letters.vocab_size
    rows = [Example(text="one two", target="b c"), Example(text="three", target="d")]
    batch = packed(encode(pair, rows, config))
    assert batch.labels is not None
    assert letters.decode(batch.labels[:4].numpy()) == "b c"
    assert float(TASK.loss(module, batch)["target_tokens"].weight) == 5
    with torch.inference_mode():
        outputs = TASK.outputs(module.eval(), packed(encode(pair, rows, config, labelled=False)), config)
    for prediction, (best,) in zip(predict(module, pair, rows, config)[1], outputs, strict=True):
        assert prediction.text == letters.decode(best.tokens)


def test_rows_that_no_token_belongs_to_are_never_written(tokenizer: Tokenizer) -> None:
    config = task_config(tokenizer)
    module = TASK.build(encoder_config(tokenizer, vocab_size=tokenizer.vocab_size + 7), config)
    assert isinstance(module, Seq2Seq)
    with torch.no_grad():
        module.decoder.bias[-7:] = 9.0
    assert all(one.text is not None for one in predict(module, tokenizer, reversals(5), config)[1])


def test_a_pretrained_encoder_starts_the_decoder_too(tokenizer: Tokenizer) -> None:
    module, _ = build(tokenizer)
    torch.manual_seed(99)
    pretrained = Encoder(encoder_config(tokenizer))
    module.body.load_state_dict(pretrained.state_dict())
    module.body_loaded()
    for index in range(2):
        ours, theirs = module.decoder.self_attention_blocks[index], pretrained.attention_blocks[index]
        assert torch.equal(ours.query.weight, theirs.query.weight)
    assert torch.equal(module.decoder.table, pretrained.embeddings.word_embeddings.weight)


def test_the_weights_come_back_under_their_names(tokenizer: Tokenizer) -> None:
    module, config = build(tokenizer)
    with torch.device("meta"):
        empty = TASK.build(encoder_config(tokenizer), config)
    state: dict[str, Tensor] = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    empty.load_state_dict(state, assign=True)
    assert isinstance(empty, Seq2Seq)
    assert empty.decoder.table is empty.body.embeddings.word_embeddings.weight
    rows = reversals(4)
    assert predict(empty, tokenizer, rows, config)[1] == predict(module, tokenizer, rows, config)[1]


def request(tokenizer: Tokenizer, /, **asked: object) -> TaskRequest:
    return TaskRequest(**{"tokenizer": tokenizer, "body": encoder_config(tokenizer), **asked})  # type: ignore[arg-type]


def test_preparing_measures_lengths_and_takes_the_special_tokens(tokenizer: Tokenizer, unmeasured: None) -> None:
    rows = [*reversals(50), Example(text=" ".join(DIGITS), target="one two")]
    found = TASK.prepare(rows, request(tokenizer, options={"beams": 5, "decoder_layers": 1}))
    options = found.own(Seq2SeqOptions)
    longest = len(tokenizer.tokenize([rows[-1].text]).ids)
    assert found.max_length == 8 * -(-longest // 8)
    assert options.max_target_length == 8
    assert (options.begin_id, options.end_id) == (tokenizer.cls_id, tokenizer.sep_id)
    assert set(options.forbidden_ids) == {tokenizer.pad_id, tokenizer.unk_id, tokenizer.mask_id}
    assert options.shared_vocabulary
    assert options.target_vocab_size == tokenizer.vocab_size
    assert (options.beams, options.decoder_layers, options.bleu_tokenizer) == (5, 1, "13a")
    module = TASK.build(encoder_config(tokenizer), found)
    assert isinstance(module, Seq2Seq)
    assert len(module.decoder.self_attention_blocks) == 1
    assert TASK.prepare(rows, request(tokenizer, max_length=12)).max_length == 12


def test_chinese_targets_are_measured_by_character(tokenizer: Tokenizer, unmeasured: None) -> None:
    rows = [Example(text="one two", target="今天天气很好"), Example(text="three", target="你好")]
    assert TASK.prepare(rows, request(tokenizer)).own(Seq2SeqOptions).bleu_tokenizer == "zh"


def test_two_vocabularies_are_seen_from_the_tokenizer(tokenizer: Tokenizer, unmeasured: None) -> None:
    letters = learn_vocabulary(["a b c d e f g h i j"] * 30, size=40, rarest=1)
    rows = [Example(text="one two", target="b c"), Example(text="three", target="d")]
    found = TASK.prepare(rows, request(tokenizer, tokenizer=TokenizerPair(tokenizer, letters)))
    options = found.own(Seq2SeqOptions)
    assert not options.shared_vocabulary
    assert options.target_vocab_size == letters.vocab_size


def test_the_record_survives_task_json(tokenizer: Tokenizer, unmeasured: None) -> None:
    found = TASK.prepare(reversals(9), request(tokenizer, options={"sampling_temperature": 0.7, "top_p": 0.9}))
    again = TaskConfig.from_dict(json.loads(json.dumps(found.to_dict())), Seq2SeqOptions)
    assert again == found


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"labels": ("a", "b")}, "labels"),
        ({"class_weights": "balanced"}, "class_weights"),
        ({"overlap": 3}, "overlap"),
        ({"max_error": 0.1}, "max_error"),
        ({"max_length": 41}, "up to 40"),
        ({"main_metric": "accuracy"}, "unknown metric"),
        ({"body": None}, "cannot write"),
        ({"body": RecurrentConfig(vocab_size=99, embedding_size=6, hidden_size=5)}, "cannot write"),
        ({"tokenizer": None}, "needs a tokenizer"),
        ({"options": {"beam": 3}}, "beams"),
        ({"options": {"label_smoothing": 1.0}}, "label_smoothing"),
        ({"options": {"decoder_layers": 0}}, "decoder_layers"),
        ({"options": {"length_factor": 0.0}}, "length_factor"),
        ({"options": {"max_target_length": 2}}, "max_target_length"),
        ({"options": {"beams": 2, "n_best": 3}}, "n_best"),
        ({"options": {"bleu_tokenizer": "words"}}, "bleu_tokenizer"),
    ],
)
def test_what_does_not_fit_is_refused(
    asked: dict[str, object], message: str, tokenizer: Tokenizer, unmeasured: None
) -> None:
    with pytest.raises(ConfigError, match=message):
        TASK.prepare(reversals(9), request(tokenizer, **asked))


def test_rows_that_cannot_be_learnt_from_are_named(tokenizer: Tokenizer, unmeasured: None) -> None:
    with pytest.raises(DataError, match="no training examples"):
        TASK.prepare([], request(tokenizer))
    rows = [*reversals(3), Example(text="one", file="digits.csv", line=9)]
    with pytest.raises(DataError, match=r"digits\.csv:9: a source has no target"):
        TASK.prepare(rows, request(tokenizer))
    with pytest.raises(DataError, match=r"digits\.csv:9"):
        TASK.encode(tokenizer, rows, task_config(tokenizer), labelled=True)
    pairs = [Example(text="one", text_pair="two", target="three")]
    for refuse in (
        lambda: TASK.prepare(pairs, request(tokenizer)),
        lambda: TASK.check_inputs(pairs, task_config(tokenizer)),
        lambda: TASK.encode(tokenizer, pairs, task_config(tokenizer), labelled=False),
    ):
        with pytest.raises(DataError, match="single texts"):
            refuse()


def test_the_longest_text_follows_from_the_source() -> None:
    options = Seq2SeqOptions(max_target_length=50, length_factor=1.5)
    assert [options.limit(tokens) for tokens in (3, 20, 400)] == [14, 40, 48]
