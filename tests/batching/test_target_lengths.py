"""Texts about which another is written cost what both are long."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertine.batching.loader import TrainingBatches
from albertine.batching.token_batches import TokenBatches
from albertine.records import Encoded, EncodedExamples, Example
from albertine.tasks.config import TaskConfig
from albertine.tasks.seq2seq import TASK
from albertine.tasks.seq2seq_module import Seq2SeqOptions
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel

TOKENIZER = Tokenizer(WordPieceModel([*SPECIAL_TOKENS, "w", "v"], rules=Rules(lowercase=True, strip_accents=True)))
CONFIG = TaskConfig(task=TASK.name, max_length=64, options=Seq2SeqOptions(max_target_length=64))


def encoded(lengths: list[tuple[int, int]], *, labelled: bool = True) -> EncodedExamples:
    """Encode sources and targets of so many words; each has two special tokens more."""
    rows = [Example(text="w " * source, target="v " * target) for source, target in lengths]
    return TASK.encode(TOKENIZER, rows, CONFIG, labelled=labelled)


LENGTHS = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=50)


@settings(max_examples=25, deadline=None)
@given(lengths=LENGTHS, budget=st.integers(6, 90), seed=st.integers(0, 99))
def test_a_batch_of_a_token_budget_has_room_for_its_targets(
    lengths: list[tuple[int, int]], budget: int, seed: int
) -> None:
    batches = TokenBatches(encoded(lengths), max_tokens=budget, seed=seed)
    found = [batches.batch_indices(step) for step in range(batches.steps(1))]
    assert sorted(np.concatenate(found).tolist()) == list(range(len(lengths)))
    for indices in found:
        assert sum(sum(lengths[index]) + 4 for index in indices) <= budget or len(indices) == 1


def test_batches_hold_texts_of_which_source_and_target_together_are_alike() -> None:
    generator = np.random.default_rng(0)
    # all sources are as long, so that nothing but the targets can tell them apart
    lengths = [(5, int(target)) for target in generator.integers(1, 40, size=400)]
    batches = TrainingBatches(encoded(lengths), batch_size=10, seed=2, window=40)
    spreads = [np.ptp([lengths[index][1] for index in batches.batch_indices(step)]) for step in range(40)]
    assert max(spreads) < 8
    drawn = TrainingBatches(encoded(lengths), batch_size=10, seed=2, window=1)
    assert np.mean([np.ptp([lengths[i][1] for i in drawn.batch_indices(step)]) for step in range(40)]) > 20


@pytest.mark.parametrize("make", [TrainingBatches, TokenBatches])
def test_a_step_is_the_same_whatever_was_asked_for_before(make: type[TrainingBatches] | type[TokenBatches]) -> None:
    lengths = [(1 + n * 7 % 31, 1 + n * 5 % 23) for n in range(99)]
    size = {"batch_size": 13} if make is TrainingBatches else {"max_tokens": 200}
    straight = make(encoded(lengths), seed=5, **size)  # type: ignore[arg-type]
    expected = [straight.batch_indices(step).tolist() for step in range(20)]
    jumping = make(encoded(lengths), seed=5, **size)  # type: ignore[arg-type]
    for step in [19, 7, 8, 0, 13, 12, 7]:
        assert jumping.batch_indices(step).tolist() == expected[step]


def test_a_label_of_every_token_is_no_text_to_be_written() -> None:
    tagged = Encoded(input_ids=np.arange(7), token_type_ids=np.zeros(7, dtype=np.uint8), target=np.zeros(7, dtype=int))
    assert tagged.training_tokens == len(tagged) == 7
    (source,) = encoded([(5, 3)], labelled=False)
    assert source.training_tokens == len(source) == 7
    (source,) = encoded([(5, 3)])
    assert (len(source), source.training_tokens) == (7, 12)
