"""Examples of a pretraining step: which texts, in which pairs, and that they follow from the seed and the step alone.

Every token of the streams here has an id of its own, so that it can be said of every token of a batch where it stood.
"""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertine.batching.masking import MaskingChoices, MaskingSchedule, TokenFacts
from albertine.batching.pretraining_batch import PretrainingBatch
from albertine.batching.pretraining_examples import ExampleChoices, PretrainingBatches
from albertine.batching.sentence_pairs import UNLABELLED, PairObjective
from albertine.batching.shards import Shards, ShardWriter, id_dtype, write_index
from albertine.batching.step_plan import Phase
from albertine.batching.token_stream import MemoryStream
from albertine.errors import ConfigError, DataError
from albertine.records import IntArray
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel

CLS, SEP, MASK, FIRST = 2, 3, 4, 5


def make_stream(documents: int, seed: int = 0, *, sentences: int = 12, tokens: float = 14.0) -> MemoryStream:
    """Make documents of 1 to 2 * `sentences` - 1 sentences of about `tokens` tokens, token i with id FIRST + i."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(1, 2 * sentences, size=documents)
    lengths = np.clip(generator.lognormal(np.log(tokens), 0.6, size=counts.sum()), 1, 400).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    words = generator.random(int(starts[-1])) < 0.7
    words[starts[:-1]] = True
    return MemoryStream(np.arange(starts[-1]) + FIRST, starts, np.concatenate([[0], np.cumsum(counts)]), words)


def facts(stream: MemoryStream) -> TokenFacts:
    vocabulary = FIRST + stream.num_tokens
    special = np.arange(vocabulary) < FIRST
    return TokenFacts(
        cls_id=CLS, sep_id=SEP, mask_id=MASK, special=special, drawable=np.arange(FIRST, vocabulary, dtype=np.int64)
    )


def make_batches(
    stream: MemoryStream,
    pair: PairObjective = "sop",
    *,
    phases: tuple[Phase, ...] = (Phase(length=64),),
    tokens: int = 2048,
    short: float = 0.1,
    seed: int = 0,
    total_steps: int = 1000,
    masking: MaskingChoices | None = None,
) -> PretrainingBatches:
    choices = ExampleChoices(
        pair=pair,
        phases=phases,
        tokens_per_step=tokens,
        short_share=short,
        seed=seed,
        masking=masking or MaskingChoices(unit="n-grams"),
    )
    return PretrainingBatches(stream, facts(stream), choices, total_steps=total_steps)


def whole_epochs(stream: MemoryStream, pair: PairObjective, *, short: float = 0.1, length: int = 64):
    """Make batches of which every step is one epoch."""
    phases = (Phase(length=length),)
    slots = make_batches(stream, pair, phases=phases).counts.slots_per_epoch[0]
    return make_batches(stream, pair, phases=phases, tokens=slots * length, short=short)


def originals(batch: PretrainingBatch) -> IntArray:
    """Return the ids before masking."""
    ids = batch.batch.input_ids.numpy().copy()
    ids[batch.positions.numpy()] = batch.targets.numpy()
    return ids


def texts(batch: PretrainingBatch) -> list[list[IntArray]]:
    """Return the places in the stream of every text's tokens, one array a segment; checks [CLS], [SEP] and types."""
    assert batch.batch.sequence_starts is not None
    ids, types = originals(batch), batch.batch.token_type_ids.numpy()
    found = []
    for start, stop in pairwise(batch.batch.sequence_starts.tolist()):
        text, kinds = ids[start:stop], types[start:stop]
        ends = np.flatnonzero(text == SEP)
        assert text[0] == CLS
        assert len(ends) in (1, 2)
        assert ends[-1] == len(text) - 1
        assert np.array_equal(kinds, np.arange(len(text)) > ends[0])
        parts = np.split(text, ends)[:-1]
        found.append([part[1:] - FIRST for part in parts])
        assert all(len(part) and part.min() >= 0 for part in found[-1])
    return found


def document_of(stream: MemoryStream, token: int) -> int:
    sentence = np.searchsorted(stream.sentence_starts, token, side="right") - 1
    return int(np.searchsorted(stream.document_starts, sentence, side="right") - 1)


def digest(batch: PretrainingBatch) -> str:
    arrays = [batch.batch.input_ids, batch.batch.token_type_ids, batch.batch.sequence_starts, batch.positions]
    arrays += [batch.targets] + ([] if batch.pair_labels is None else [batch.pair_labels])
    return hashlib.sha256(b"".join(one.numpy().tobytes() for one in arrays if one is not None)).hexdigest()


class TestEpochs:
    @pytest.mark.parametrize("pair", ["sop", "nsp", "none"])
    @pytest.mark.parametrize("length", [32, 97])
    def test_every_sentence_comes_once_an_epoch_and_what_is_trimmed_is_counted(
        self, pair: PairObjective, length: int
    ) -> None:
        stream = make_stream(67)
        batches = whole_epochs(stream, pair, length=length)
        sizes = np.diff(stream.document_starts)
        usable = np.repeat(sizes > (0 if pair == "none" else 1), sizes)
        tokens_usable = np.repeat(usable, np.diff(stream.sentence_starts))
        assert 0 < batches.counts.skipped_tokens < 2000 or pair == "none"
        for epoch in range(3):
            batch = batches.batch(epoch)
            seen = np.bincount(
                np.concatenate([part for text in texts(batch) for part in text]), minlength=stream.num_tokens
            )
            assert seen.max() == 1
            assert not seen[~tokens_usable].any()
            assert seen.sum() + batch.counts.trimmed == tokens_usable.sum() == batches.counts.tokens

    def test_nothing_is_trimmed_from_texts_that_fit(self) -> None:
        # Sentences of one token begin where their window does, and end with it.
        stream = MemoryStream.of([[[FIRST + 50 * document + place] for place in range(50)] for document in range(11)])
        batches = whole_epochs(stream, "sop", length=16)
        for epoch in range(3):
            batch = batches.batch(epoch)
            assert batch.counts.trimmed == 0
            assert sorted(originals(batch)[originals(batch) >= FIRST].tolist()) == list(range(FIRST, FIRST + 550))

    def test_epochs_cut_order_pair_and_mask_differently(self) -> None:
        stream = make_stream(67)
        batches = whole_epochs(stream, "sop", short=0.0)
        first, second = batches.batch(0), batches.batch(1)

        def starts(batch: PretrainingBatch) -> list[int]:
            return [int(min(part[0] for part in text)) for text in texts(batch)]

        one, other = starts(first), starts(second)
        common = set(one) & set(other)
        # texts begin where documents do in every epoch, else elsewhere
        assert len(common) < 0.5 * len(one)
        assert [x for x in one if x in common] != [x for x in other if x in common]
        masked = [set(batch.targets.tolist()) for batch in (first, second)]
        share = len(masked[0] & masked[1]) / len(masked[0])
        assert 0.08 < share < 0.22, "two epochs mask the same token by chance alone"

    def test_single_sentence_documents_are_skipped_and_counted(self) -> None:
        stream = MemoryStream.of([[[10, 11]], [[12], [13, 14]], [[15, 16, 17]], [[18, 19], [20]]])
        counts = make_batches(stream, "sop").counts
        assert (counts.documents, counts.skipped_documents) == (2, 2)
        assert (counts.tokens, counts.skipped_tokens) == (6, 5)
        counts = make_batches(stream, "none").counts
        assert (counts.documents, counts.skipped_documents, counts.tokens, counts.skipped_tokens) == (4, 0, 11, 0)


class TestTexts:
    @pytest.mark.parametrize("pair", ["sop", "nsp", "none"])
    def test_rows_are_never_longer_than_the_length_of_their_phase(self, pair: PairObjective) -> None:
        stream = make_stream(150, seed=1, tokens=25)
        phases = (Phase(length=40, share=0.8), Phase(length=101, share=0.2))
        batches = make_batches(stream, pair, phases=phases, total_steps=20)
        longest = {40: 0, 101: 0}
        for step in range(20):
            starts = batches.batch(step).batch.sequence_starts
            assert starts is not None
            length = 40 if step < 16 else 101
            longest[length] = max(longest[length], int(np.diff(starts.numpy()).max()))
        assert 38 <= longest[40] <= 40
        assert 99 <= longest[101] <= 101

    def test_a_step_has_about_the_tokens_asked_for(self) -> None:
        batches = make_batches(make_stream(400, seed=2), "none", tokens=8192)
        sizes = [batches.batch(step).token_count for step in range(20)]
        assert 0.85 * 8192 < np.mean(sizes) < 1.1 * 8192
        assert np.std(sizes) < 0.08 * 8192

    def test_a_tenth_of_the_slots_is_cut_into_shorter_texts(self) -> None:
        stream = make_stream(900, seed=3, sentences=40, tokens=6)
        batches = make_batches(stream, "none", phases=(Phase(length=128),), tokens=16_384)
        counts = batches.batch(0).counts
        for step in range(1, 20):
            counts = counts + batches.batch(step).counts
        assert counts.slots == 20 * 128
        assert abs(counts.short_slots / counts.slots - 0.1) < 4.5 * math.sqrt(0.09 / counts.slots)
        whole, short = (
            make_batches(stream, "none", phases=(Phase(length=128),), tokens=16_384, short=share).batch(0)
            for share in (0.0, 1.0)
        )
        assert whole.counts.short_slots == 0
        assert len(short) > 2 * len(whole)

    @pytest.mark.parametrize("pair", ["sop", "none"])
    def test_a_text_is_consecutive_sentences_of_one_document(self, pair: PairObjective) -> None:
        stream = make_stream(200, seed=4, tokens=8)
        batches = make_batches(stream, pair, phases=(Phase(length=128),))
        for step in range(10):
            for text in texts(batches.batch(step)):
                tokens = np.sort(np.concatenate(text))
                assert len({document_of(stream, int(token)) for token in (tokens[0], tokens[-1])}) == 1
                for part in text:
                    assert np.array_equal(part, np.arange(part[0], part[0] + len(part)))

    def test_words_are_masked_whole_and_not_broken_by_trimming(self) -> None:
        stream = make_stream(300, seed=5, tokens=30)
        ends = np.append(stream.words[1:], True)  # the token is the last one of its word
        batches = make_batches(stream, "sop", phases=(Phase(length=48),), masking=MaskingChoices(unit="whole-words"))
        word = np.cumsum(stream.words)
        trimmed = 0
        for step in range(20):
            batch = batches.batch(step)
            trimmed += batch.counts.trimmed
            masked = set((batch.targets.numpy() - FIRST).tolist())
            for text in texts(batch):
                for part in text:
                    assert stream.words[part[0]]
                    assert ends[part[-1]]
                    for number in np.unique(word[part]):
                        whole = part[word[part] == number]
                        assert len(masked & set(whole.tolist())) in (0, len(whole))
        assert trimmed > 1000

    def test_every_text_has_a_masked_token_and_the_share_follows_the_schedule(self) -> None:
        masking = MaskingChoices(unit="n-grams", share=MaskingSchedule(first=0.30, last=0.15))
        stream = make_stream(300, seed=6)
        batches = make_batches(stream, "sop", tokens=6400, total_steps=40, masking=masking)
        for step, expected in ((0, 0.30), (20, 0.225), (39, 0.15), (80, 0.15)):
            batch = batches.batch(step)
            assert batch.batch.sequence_starts is not None
            inside = np.searchsorted(batch.batch.sequence_starts.numpy(), batch.positions.numpy(), side="right") - 1
            assert len(np.unique(inside)) == len(batch)
            maskable = int((originals(batch) >= FIRST).sum())
            assert len(batch.positions) / maskable == pytest.approx(expected, abs=0.012)


class TestPairs:
    def test_sentence_order_never_crosses_documents_and_is_balanced(self) -> None:
        stream = make_stream(300, seed=7, tokens=8)
        batches = make_batches(stream, "sop", tokens=4096)
        labels = []
        for step in range(25):
            batch = batches.batch(step)
            assert batch.pair_labels is not None
            for text, label in zip(texts(batch), batch.pair_labels.tolist(), strict=True):
                assert (label == UNLABELLED) == (len(text) == 1)
                if len(text) == 2:
                    a, b = text
                    assert document_of(stream, int(a[0])) == document_of(stream, int(b[-1]))
                    assert (a[-1] < b[0]) if label == 0 else (b[-1] < a[0])
            labels += batch.pair_labels.tolist()
        ones, zeros = labels.count(1), labels.count(0)
        assert abs(ones - zeros) <= 25, "one a step at most"
        assert ones + zeros > 1500

    def test_next_sentence_crosses_documents_exactly_where_it_says_so(self) -> None:
        stream = make_stream(300, seed=8, tokens=8)
        batches = make_batches(stream, "nsp", tokens=4096)
        labels = []
        for step in range(25):
            batch = batches.batch(step)
            assert batch.pair_labels is not None
            for text, label in zip(texts(batch), batch.pair_labels.tolist(), strict=True):
                if label != UNLABELLED:
                    a, b = text
                    same = document_of(stream, int(a[-1])) == document_of(stream, int(b[0]))
                    assert same == (label == 0)
                    assert label == 1 or a[-1] < b[0]
            labels += batch.pair_labels.tolist()
        ones, zeros = labels.count(1), labels.count(0)
        assert abs(ones - zeros) <= 75, "three a step at most"
        assert ones + zeros > 1500

    def test_neither_length_nor_place_tells_the_label(self) -> None:
        stream = make_stream(600, seed=9, sentences=40, tokens=8)
        for pair in ("sop", "nsp"):
            batches = make_batches(stream, pair, phases=(Phase(length=128),), tokens=32_768)
            lengths: dict[int, list[tuple[int, int]]] = {0: [], 1: [], UNLABELLED: []}
            for step in range(8):
                batch = batches.batch(step)
                assert batch.pair_labels is not None
                for text, label in zip(texts(batch), batch.pair_labels.tolist(), strict=True):
                    lengths[label].append((len(text[0]), len(text[-1])))
            next_, other = np.array(lengths[0]), np.array(lengths[1])
            assert min(len(next_), len(other)) > 800
            for column in (0, 1):
                error = math.sqrt(next_[:, column].var() / len(next_) + other[:, column].var() / len(other))
                assert abs(next_[:, column].mean() - other[:, column].mean()) < 4.5 * error
            totals = [np.sort(one.sum(axis=1)) for one in (next_, other)]
            quantiles = [np.quantile(one, [0.1, 0.25, 0.5, 0.75, 0.9]) for one in totals]
            assert np.abs(quantiles[0] - quantiles[1]).max() < 12

    def test_without_a_pair_objective_there_is_one_segment_and_no_label(self) -> None:
        batch = make_batches(make_stream(40), "none").batch(0)
        assert batch.pair_labels is None
        assert all(len(text) == 1 for text in texts(batch))
        assert not batch.batch.token_type_ids.any()
        assert batch.counts.unlabelled == 0


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
import {module} as tests
batches = tests.make_batches(tests.make_stream(67), "nsp")
for step in (11, 3):
    print(tests.digest(batches.batch(step)))
"""


class TestDeterminism:
    def test_a_step_is_the_same_whatever_was_asked_for_before(self) -> None:
        stream = make_stream(67)
        for pair in ("sop", "nsp", "none"):
            straight = make_batches(stream, pair)
            expected = [digest(straight.batch(step)) for step in range(25)]
            assert len(set(expected)) == 25
            resumed = make_batches(stream, pair)
            for step in (24, 12, 13, 0, 13, 7):
                assert digest(resumed.batch(step)) == expected[step]

    def test_another_process_makes_the_same_examples(self) -> None:
        batches = make_batches(make_stream(67), "nsp")
        script = SCRIPT.format(folder=str(Path(__file__).parent), module=Path(__file__).stem)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
        assert done.stdout.split() == [digest(batches.batch(11)), digest(batches.batch(3))]

    def test_seeds_give_other_examples(self) -> None:
        stream = make_stream(67)
        assert digest(make_batches(stream, seed=1).batch(0)) != digest(make_batches(stream, seed=2).batch(0))

    def test_every_step_draws_anew(self) -> None:
        # All slots of all steps are alike here, so that only chance can tell steps apart.
        stream = MemoryStream.of([[[FIRST + place] for place in range(60_000)]])
        batches = make_batches(stream, "sop", short=0.0)
        full = [batch for batch in map(batches.batch, range(12)) if batch.token_count == 2048]
        assert len(full) > 6
        assert len({tuple(batch.positions.tolist()) for batch in full}) == len(full)
        assert len({tuple(batch.pair_labels.tolist()) for batch in full if batch.pair_labels is not None}) == len(full)

    def test_masks_do_not_depend_on_the_number_of_steps_but_through_the_schedule(self) -> None:
        stream = make_stream(67)
        one, other = make_batches(stream, total_steps=100), make_batches(stream, total_steps=777)
        assert digest(one.batch(5)) == digest(other.batch(5))

    def test_shards_give_the_examples_of_the_same_tokens_in_memory(self, tmp_path: Path) -> None:
        stream = make_stream(30)
        tokens = [*SPECIAL_TOKENS, *(f"t{index}" for index in range(stream.num_tokens))]
        tokenizer = Tokenizer(WordPieceModel(tokens, rules=Rules(lowercase=True, strip_accents=True)))
        writer = ShardWriter(tmp_path, "train", id_dtype(len(tokens)), tokens_per_shard=stream.num_tokens // 5)
        writer.add(
            stream.ids,
            sentence_starts=stream.sentence_starts,
            document_starts=stream.document_starts,
            word_starts=stream.words,
        )
        write_index(tmp_path, tokenizer=tokenizer, splits={"train": writer.close(), "held-out": ()})
        shards = Shards(tmp_path, "train")
        choices = ExampleChoices(pair="nsp", phases=(Phase(length=64),), tokens_per_step=2048)
        one = PretrainingBatches(shards, TokenFacts.of(shards.tokenizer()), choices, total_steps=10)
        other = PretrainingBatches(stream, facts(stream), choices, total_steps=10)
        assert [digest(one.batch(step)) for step in range(5)] == [digest(other.batch(step)) for step in range(5)]


class TestHeldOut:
    def test_they_are_the_same_for_every_seed_and_length_of_run(self) -> None:
        stream = make_stream(67)
        one = make_batches(stream, seed=1).held_out(5, tokens=1024)
        other = make_batches(stream, seed=2, short=0.5, total_steps=3).held_out(5, tokens=1024)
        assert [digest(batch) for batch in one] == [digest(batch) for batch in other]
        assert len({digest(batch) for batch in one}) == 5

    def test_no_token_comes_twice_and_the_stream_may_end_before(self) -> None:
        stream = make_stream(67)
        batches = make_batches(stream, "none").held_out(10_000, tokens=640)
        assert len(batches) < 100
        seen = np.concatenate([part for batch in batches for text in texts(batch) for part in text])
        assert len(np.unique(seen)) == len(seen)
        assert len(seen) + sum(batch.counts.trimmed for batch in batches) == stream.num_tokens

    def test_masks_are_those_of_the_end_of_the_schedule(self) -> None:
        masking = MaskingChoices(share=MaskingSchedule(first=0.4, last=0.15))
        made = make_batches(make_stream(200), masking=masking).held_out(3, tokens=4096, length=128)
        for batch in made:
            assert len(batch.positions) / int((originals(batch) >= FIRST).sum()) == pytest.approx(0.15, abs=0.01)
            assert batch.batch.sequence_starts is not None
            assert 64 < np.diff(batch.batch.sequence_starts.numpy()).max() <= 128


class TestOddCorpora:
    @settings(max_examples=60, deadline=None)
    @given(
        documents=st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=6), min_size=2, max_size=6).filter(
            lambda documents: sum(len(document) > 1 for document in documents) > 1
        ),
        pair=st.sampled_from(["sop", "nsp", "none"]),
        length=st.integers(8, 30),
        seed=st.integers(0, 2**40),
    )
    def test_small_corpora_give_batches_at_every_step(
        self, documents: list[list[int]], pair: PairObjective, length: int, seed: int
    ) -> None:
        lengths = [size for document in documents for size in document]
        ids = iter(range(FIRST, FIRST + sum(lengths)))
        stream = MemoryStream.of([[[next(ids) for _ in range(size)] for size in document] for document in documents])
        batches = make_batches(stream, pair, phases=(Phase(length=length),), tokens=3 * length, seed=seed)
        for step in range(6):
            batch = batches.batch(step)
            assert len(batch) == len(texts(batch)) >= 1
            assert len(batch.positions) >= len(batch)

    def test_a_step_in_the_middle_of_a_long_sentence_takes_the_next_slots(self) -> None:
        ids = iter(range(FIRST, FIRST + 3005))
        stream = MemoryStream.of([[[next(ids) for _ in range(size)] for size in (3000, 2)], [[next(ids)], [next(ids)]]])
        batches = make_batches(stream, "sop", phases=(Phase(length=16),), tokens=16)
        for step in range(50):
            assert len(batches.batch(step)) >= 1

    def test_a_corpus_that_gives_no_pairs_is_refused(self) -> None:
        with pytest.raises(DataError, match="two sentences"):
            make_batches(MemoryStream.of([[[9, 9]], [[9]]]), "sop")
        with pytest.raises(DataError, match="no tokens"):
            make_batches(MemoryStream.of([]), "none")

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"phases": ()}, "phase"),
            ({"short_share": 1.5}, "short_share"),
            ({"seed": -1}, "seed"),
            ({"ramp": 0.5}, "first_tokens_per_step"),
            ({"first_tokens_per_step": 600}, "ramp"),
        ],
    )
    def test_choices_out_of_range_are_refused(self, wrong: dict[str, object], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            ExampleChoices(**wrong)  # type: ignore[arg-type]
