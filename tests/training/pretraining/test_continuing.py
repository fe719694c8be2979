"""From a checkpoint on: what it knew is kept, what it lacks starts at random and is said."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import load_file

import albertine as al
from albertine.batching.masking import MaskingSchedule, TokenFacts
from albertine.batching.pretraining_examples import ExampleChoices, PretrainingBatches
from albertine.batching.shards import Shards
from albertine.batching.step_plan import Phase
from albertine.errors import ConfigError, DataError, TokenizerError
from albertine.models.discriminator import ReplacedTokenModel
from albertine.models.heads import PretrainingModel
from albertine.tokenization.tokenizer import Tokenizer
from albertine.training.candidates import find_candidate
from albertine.training.held_out import measure_held_out
from albertine.training.pretraining import setup
from albertine.training.pretraining.choices import PretrainingConfig, pretraining_defaults
from albertine.training.pretraining.run import PretrainingOutcome

Pretrain = Callable[..., PretrainingOutcome]
WORDS = "encoder.embeddings.word_embeddings.weight"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def heads(folder: Path) -> tuple[bool, bool]:
    """Say whether the folder has a masked-word head and a pair head."""
    model, _ = al.load_pretraining(folder)
    return model.masked_word_head is not None, model.pair_head is not None


def plan_of(outcome: PretrainingOutcome) -> dict[str, object]:
    plan: dict[str, object] = json.loads((outcome.folder / "plan.json").read_text(encoding="utf-8"))["plan"]
    return plan


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("albertine"), "propagate", True)
    caplog.set_level(logging.INFO, "albertine")
    return caplog


def test_it_starts_where_the_checkpoint_was(
    pretrain: Pretrain, trained: PretrainingOutcome, encoder: Path, tmp_path: Path
) -> None:
    gentle = {"max_steps": 2, "evaluate_every": 1, "learning_rate": 1e-5}
    on = pretrain(tmp_path / "on", encoder=trained.folder, training=gentle)
    anew = pretrain(tmp_path / "anew", training=gentle)
    before = trained.measurements.dev_metrics
    first = next(point for point in on.curve if point.dev_metrics)
    assert first.step == 1
    assert first.dev_metrics["masked_word_loss"] == pytest.approx(before["masked_word_loss"], abs=0.01)
    assert first.dev_metrics["pair_accuracy"] == pytest.approx(before["pair_accuracy"], abs=0.05)
    assert on.curve[0].parts["masked_words"] < anew.curve[0].parts["masked_words"] - 2


def test_going_on_makes_it_better(pretrain: Pretrain, trained: PretrainingOutcome, tmp_path: Path) -> None:
    on = pretrain(tmp_path / "on", encoder=trained.folder, training={"max_steps": 60})
    before, after = (one.measurements.dev_metrics["masked_word_loss"] for one in (trained, on))
    assert after < before - 0.05


def test_the_measurements_are_those_of_the_saved_encoder(trained: PretrainingOutcome, corpus: Path) -> None:
    model, tokenizer = al.load_pretraining(trained.folder)
    assert tokenizer is not None
    choices = ExampleChoices(pair="nsp", phases=(Phase(length=32),), tokens_per_step=512)
    made = PretrainingBatches(Shards(corpus, "held-out"), TokenFacts.of(tokenizer), choices, total_steps=200)
    values = measure_held_out(model, made.held_out(2, tokens=8192), "fp32").values()
    assert values == pytest.approx(trained.measurements.dev_metrics, rel=1e-5)


def test_a_pair_head_that_is_not_trained_stays_bit_for_bit(
    pretrain: Pretrain, trained: PretrainingOutcome, tmp_path: Path
) -> None:
    on = pretrain(tmp_path / "on", encoder=trained.folder, pair="none")
    before, after = weights(trained.folder), weights(on.folder)
    assert before.keys() == after.keys()
    kept = [name for name in before if "pair_head" in name or "seq_relationship" in name or "pooler" in name]
    assert len(kept) == 4
    for name in before:
        assert torch.equal(before[name], after[name]) == (name in kept), name
    assert "pair_accuracy" not in on.measurements.dev_metrics
    assert heads(on.folder) == (True, True)


def test_a_head_that_is_missing_starts_at_random_and_is_said(
    pretrain: Pretrain, make_encoder: Callable[..., Path], said: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    alone = make_encoder(pair=False, add_pooler=False)
    on = pretrain(tmp_path / "on", encoder=alone)
    assert heads(alone) == (True, False)
    assert heads(on.folder) == (True, True)
    line = next(text for text in said.messages if "start at random" in text)
    assert "pair_head" in line
    assert "encoder.pooler" in line
    assert "masked_word_head" not in line


def test_a_whole_checkpoint_needs_no_such_line(
    pretrain: Pretrain, said: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    pretrain(tmp_path / "on", training={"max_steps": 1})
    assert not [text for text in said.messages if "start at random" in text]


def test_the_encoder_is_not_overwritten_by_what_becomes_of_it(
    pretrain: Pretrain, encoder: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(encoder)
    before = (encoder / "model.safetensors").read_bytes()
    for out in (encoder, link):
        for resume in (True, False):
            with pytest.raises(ConfigError, match=r"--out.*overwritten.*Give another folder"):
                pretrain(out, resume=resume)
    assert (encoder / "model.safetensors").read_bytes() == before


def test_another_vocabulary_is_refused_with_both_ways_out(
    pretrain: Pretrain,
    make_encoder: Callable[..., Path],
    tokenizer: Callable[..., Tokenizer],
    tmp_path: Path,
) -> None:
    other = make_encoder(tokenizer=tokenizer(("lantern", "##kept")))
    with pytest.raises(TokenizerError, match=r"--tokenizer start.*--new-vocabulary"):
        pretrain(tmp_path / "out", encoder=other)
    assert not (tmp_path / "out").exists()


def test_a_new_vocabulary_keeps_the_rows_of_the_words_that_stay(
    pretrain: Pretrain,
    trained: PretrainingOutcome,
    make_corpus: Callable[..., Path],
    texts: Callable[..., list[str]],
    tokenizer: Callable[..., Tokenizer],
    said: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    larger = tokenizer(("mends", "paints", "lantern"))
    source = make_corpus(texts(200), larger)
    still = {"max_steps": 1, "learning_rate": 1e-9}
    on = pretrain(tmp_path / "on", encoder=trained.folder, corpus=source, new_vocabulary=True, training=still)
    model, own = al.load_pretraining(on.folder)
    before, old = al.load_pretraining(trained.folder)
    assert own is not None
    assert old is not None
    assert own.vocab_size == model.config.vocab_size == old.vocab_size + 3
    table, start = (one.encoder.embeddings.word_embeddings.weight for one in (model, before))
    for word in ("the", "fisher", "[MASK]", "##s", "."):
        torch.testing.assert_close(table[own.token_to_id(word)], start[old.token_to_id(word)], atol=1e-7, rtol=0)
    pieces = (start[old.token_to_id("mend")] + start[old.token_to_id("##s")]) / 2
    torch.testing.assert_close(table[own.token_to_id("mends")], pieces, atol=1e-7, rtol=0)
    assert any("rows copied" in text for text in said.messages)
    assert on.measurements.dev_metrics["masked_word_loss"] < 3


def test_the_same_vocabulary_may_be_called_new(pretrain: Pretrain, trained: PretrainingOutcome, tmp_path: Path) -> None:
    still = {"max_steps": 1, "learning_rate": 1e-9}
    on = pretrain(tmp_path / "on", encoder=trained.folder, new_vocabulary=True, training=still)
    torch.testing.assert_close(weights(on.folder), weights(trained.folder), atol=1e-7, rtol=0)


def test_dropout_of_the_run_is_not_that_of_the_encoder(
    pretrain: Pretrain, encoder: Path, make_encoder: Callable[..., Path], tmp_path: Path
) -> None:
    dropped = make_encoder(hidden_dropout_prob=0.07, attention_probs_dropout_prob=0.03)
    own = pretrain(tmp_path / "own", encoder=dropped)
    none = pretrain(tmp_path / "none", encoder=dropped, training={"max_steps": 3, "dropout": 0.0})
    much = pretrain(tmp_path / "much", encoder=dropped, training={"max_steps": 3, "dropout": 0.5})
    for one in (own, none, much):
        config = al.load_encoder(one.folder)[0].config
        assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.07, 0.03)
    without = pretrain(tmp_path / "without", encoder=encoder)
    assert [point.loss for point in none.curve] == [point.loss for point in without.curve]
    first = [one.curve[0].loss for one in (none, own, much)]
    assert len(set(first)) == 3


@pytest.mark.parametrize(("preset", "pair"), [("bert-tiny", "nsp"), ("albert-base", "sop")])
def test_the_pair_objective_is_the_family_s_own(
    pretrain: Pretrain, make_encoder: Callable[..., Path], tmp_path: Path, preset: str, pair: str
) -> None:
    outcome = pretrain(tmp_path / "out", encoder=make_encoder(preset), training={"max_steps": 1})
    assert plan_of(outcome)["pair"] == pair
    assert "documents have two sentences or more" in str(plan_of(outcome)["pair_reason"])
    assert heads(outcome.folder) == (True, True)


def test_sentence_order_is_learnt(pretrain: Pretrain, make_encoder: Callable[..., Path], tmp_path: Path) -> None:
    start = make_encoder(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    outcome = pretrain(tmp_path / "out", encoder=start, pair="sop", training={"max_steps": 150})
    assert outcome.measurements.dev_metrics["pair_accuracy"] > 0.75


def test_a_preset_gives_the_published_shape_and_without_pairs_no_pooler(pretrain: Pretrain, tmp_path: Path) -> None:
    outcome = pretrain(tmp_path / "out", encoder="preset:bert-tiny", pair="none", training={"max_steps": 1})
    encoder, tokenizer = al.load_encoder(outcome.folder)
    assert tokenizer is not None
    assert (encoder.config.hidden_size, encoder.config.num_hidden_layers) == (128, 2)
    assert encoder.config.vocab_size == tokenizer.vocab_size
    assert not encoder.config.add_pooler
    assert heads(outcome.folder) == (True, False)
    assert str(plan_of(outcome)["pair_reason"]).startswith("none, as asked for; ")


def test_documents_of_one_sentence_give_no_pairs_and_that_is_said(
    pretrain: Pretrain,
    make_corpus: Callable[..., Path],
    texts: Callable[..., list[str]],
    said: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    short = make_corpus(texts(80, sentences=1))
    outcome = pretrain(tmp_path / "out", corpus=short, training={"max_steps": 1})
    assert plan_of(outcome)["pair"] == "none"
    assert any(re.search(r"no pair objective, as only 0 of \d+ documents", text) for text in said.messages)
    with pytest.raises(DataError, match=r"too few documents of two sentences.*--pair none"):
        pretrain(tmp_path / "asked", corpus=short, pair="sop")
    assert not (tmp_path / "asked").exists()


def test_a_corpus_that_holds_too_little_out_for_pairs_is_refused_before_anything_is_written(
    pretrain: Pretrain, make_corpus: Callable[..., Path], texts: Callable[..., list[str]], tmp_path: Path
) -> None:
    small = make_corpus(texts(12))
    assert Shards(small, "held-out").num_documents == 1
    with pytest.raises(DataError, match=r"held out.*--held-out"):
        pretrain(tmp_path / "out", corpus=small)
    assert not (tmp_path / "out").exists()
    assert pretrain(tmp_path / "none", corpus=small, pair="none").measurements.steps == 3


def test_what_is_no_encoder_is_refused(pretrain: Pretrain, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no encoder"):
        pretrain(tmp_path / "out", encoder="bag-of-words")
    assert not (tmp_path / "out").exists()


def test_an_encoder_without_segments_cannot_tell_pairs_apart(
    pretrain: Pretrain, make_encoder: Callable[..., Path], tmp_path: Path
) -> None:
    alone = make_encoder(pair=False, type_vocab_size=0)
    with pytest.raises(ConfigError, match=r"type_vocab_size.*--pair none"):
        pretrain(tmp_path / "out", encoder=alone)
    assert pretrain(tmp_path / "none", encoder=alone, pair="none").measurements.steps == 3


def test_frequencies_are_known_before_the_first_step_and_a_checkpoint_keeps_what_it_knows(
    corpus: Path, encoder: Path
) -> None:
    config = PretrainingConfig(phases=(Phase(length=32),))
    opened = [
        setup.open_setup(corpus, find_candidate(name), config, pretraining_defaults(max_steps=1))
        for name in ("preset:bert-tiny", str(encoder))
    ]
    counts = opened[0].token_counts
    heads = [cast("PretrainingModel", one.module).masked_word_head for one in opened]
    assert heads[0] is not None
    assert heads[1] is not None
    shares = heads[0].bias.detach().exp().numpy()
    assert shares.sum() == pytest.approx(1.0, abs=1e-5)
    frequent = counts > 50
    assert shares[frequent] == pytest.approx(counts[frequent] / counts.sum(), rel=0.05)
    assert shares[opened[0].facts.special].max() < 0.001
    assert not heads[1].bias.any()


def test_the_share_of_replaced_tokens_is_known_before_the_first_step(corpus: Path) -> None:
    config = PretrainingConfig(
        phases=(Phase(length=32),), objective="replaced-tokens", mask_share=MaskingSchedule(first=0.2, last=0.1)
    )
    opened = setup.open_setup(corpus, find_candidate("preset:bert-tiny"), config, pretraining_defaults(max_steps=1))
    module = cast("ReplacedTokenModel", opened.module)
    assert float(module.head.output.bias.detach().sigmoid()) == pytest.approx(0.2)
    words = module.generator.masked_word_head
    assert words is not None
    assert float(words.bias.detach().exp().sum()) == pytest.approx(1.0, abs=1e-5)
