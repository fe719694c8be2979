"""Segment pairs: which objective a corpus allows, and what is done to the two segments."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertine.batching.sentence_pairs import UNLABELLED, Segments, choose_pair, divided, exchanged, swapped, trimmed
from albertine.batching.token_stream import MemoryStream
from albertine.errors import ConfigError, DataError


def stream(*documents: list[int]) -> MemoryStream:
    """Make a stream from the lengths of every document's sentences."""
    return MemoryStream.of([[[7] * length for length in document] for document in documents])


def segments(lengths: list[tuple[int, int]]) -> Segments:
    """Lay texts of these lengths of A and B one behind the other, in order."""
    first, second = np.array(lengths).T
    ends = np.cumsum(first + second)
    start = ends - first - second
    return Segments(
        first_start=start,
        first_length=first,
        second_start=start + first,
        second_length=second,
        labels=np.where(second > 0, 0, UNLABELLED),
    )


def ranges(some: Segments) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    return (
        list(zip(some.first_start.tolist(), some.first_length.tolist(), strict=True)),
        list(zip(some.second_start.tolist(), some.second_length.tolist(), strict=True)),
    )


class TestChoosing:
    def test_a_corpus_of_documents_gets_sentence_order(self) -> None:
        found = choose_pair(stream([5, 6], [7], [8, 9, 10]), "auto")
        assert found.objective == "sop"
        assert (found.documents, found.single_sentence_documents, found.single_sentence_tokens) == (3, 1, 7)
        assert "2 of 3 documents have two sentences or more, 84% of tokens" in found.reason

    def test_a_corpus_of_single_sentences_gets_none(self) -> None:
        found = choose_pair(stream([5], [6], [30], [2, 3]), "auto")
        assert found.objective == "none"
        assert "only 1 of 4 documents" in found.reason

    def test_a_corpus_without_borders_of_documents_is_told_so(self) -> None:
        assert "blank lines" in choose_pair(stream([5, 6, 7]), "auto").reason

    def test_what_is_asked_for_is_taken(self) -> None:
        assert choose_pair(stream([5, 6], [7, 8]), "nsp").objective == "nsp"
        assert choose_pair(stream([5], [6]), "none").objective == "none"
        assert "as asked for" in choose_pair(stream([5, 6]), "sop").reason

    @pytest.mark.parametrize(("asked", "documents"), [("sop", [[5], [6]]), ("nsp", [[5, 6], [7]])])
    def test_pairs_that_cannot_be_made_are_refused(self, asked: str, documents: list[list[int]]) -> None:
        with pytest.raises(DataError, match=r"too few documents of two sentences or more.*--pair none"):
            choose_pair(stream(*documents), asked)  # type: ignore[arg-type]

    def test_an_empty_corpus_is_refused(self) -> None:
        with pytest.raises(DataError, match="no tokens"):
            choose_pair(MemoryStream.of([]), "auto")

    def test_another_name_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="nsp, sop, none, auto"):
            choose_pair(stream([5, 6]), "mlm")  # type: ignore[arg-type]


class TestDividing:
    def test_every_border_of_sentences_is_met_equally_often(self) -> None:
        starts = np.array([0, 3, 4, 9, 15])
        cuts = []
        for seed in range(900):
            one = divided(starts, np.array([4]), pairs=True, generator=np.random.default_rng(seed))
            assert one.first_start.tolist() == [0]
            assert one.second_start.tolist() == one.first_length.tolist()
            assert one.lengths.tolist() == [15]
            cuts.append(int(one.first_length[0]))
        counts = {cut: cuts.count(cut) for cut in set(cuts)}
        assert set(counts) == {3, 4, 9}
        assert all(abs(count - 300) < 65 for count in counts.values())  # 4.6 standard deviations

    def test_a_text_of_one_sentence_has_one_segment_and_no_label(self) -> None:
        some = divided(np.array([0, 5, 9, 11]), np.array([1, 2]), pairs=True, generator=np.random.default_rng(0))
        assert some.first_length.tolist() == [5, 4]
        assert some.second_length.tolist() == [0, 2]
        assert some.labels.tolist() == [UNLABELLED, 0]

    def test_without_pairs_texts_stay_whole(self) -> None:
        some = divided(np.array([0, 5, 9, 11]), np.array([2, 1]), pairs=False, generator=np.random.default_rng(0))
        assert some.first_length.tolist() == [9, 2]
        assert not some.second_length.any()


class TestSentenceOrder:
    @settings(max_examples=80, deadline=None)
    @given(
        lengths=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=40),
        seed=st.integers(0, 2**32),
    )
    def test_half_of_the_pairs_is_turned_around_and_nothing_else(
        self, lengths: list[tuple[int, int]], seed: int
    ) -> None:
        before = segments(lengths)
        after = swapped(before, np.random.default_rng(seed))
        for number, label in enumerate(after.labels.tolist()):
            one, other = (number, ranges(before)), (number, ranges(after))
            assert [part[one[0]] for part in one[1]] == [part[other[0]] for part in other[1]][
                :: -1 if label == 1 else 1
            ]
        assert np.array_equal(after.labels == UNLABELLED, before.labels == UNLABELLED)
        assert abs(int((after.labels == 1).sum()) - int((after.labels == 0).sum())) <= 1

    def test_an_odd_pair_may_get_either_label(self) -> None:
        found = {int(swapped(segments([(3, 4)]), np.random.default_rng(seed)).labels[0]) for seed in range(20)}
        assert found == {0, 1}


class TestNextSentence:
    @settings(max_examples=120, deadline=None)
    @given(
        texts=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(0, 6)), min_size=1, max_size=60),
        seed=st.integers(0, 2**32),
    )
    def test_what_must_hold_of_every_exchange(self, texts: list[tuple[int, int, int]], seed: int) -> None:
        documents = np.array([document for *_, document in texts])
        before = segments([(first, second) for first, second, _ in texts])
        after = exchanged(before, documents, np.random.default_rng(seed))
        (first_before, second_before), (first_after, second_after) = ranges(before), ranges(after)
        assert first_after == first_before
        assert sorted(second_after) == sorted(second_before), "every second segment is used once"
        owner = {part: number for number, part in enumerate(second_before) if part[1]}
        for number, label in enumerate(after.labels.tolist()):
            if label == 1:
                assert documents[owner[second_after[number]]] != documents[number]
            else:
                assert second_after[number] == second_before[number]
        ones, zeros = int((after.labels == 1).sum()), int((after.labels == 0).sum())
        assert ones % 2 == 0
        assert abs(ones - zeros) <= 3

    def test_labels_are_balanced_even_where_one_document_has_most_texts(self) -> None:
        documents = np.array([0] * 74 + list(range(1, 27)))
        after = exchanged(segments([(4, 5)] * 100), documents, np.random.default_rng(1))
        assert (after.labels == 1).sum() == 50
        assert (after.labels == 0).sum() == 50

    def test_labels_that_cannot_be_balanced_are_left_out(self) -> None:
        documents = np.array([0] * 90 + [1] * 10)
        after = exchanged(segments([(4, 5)] * 100), documents, np.random.default_rng(1))
        assert (after.labels == 1).sum() == (after.labels == 0).sum() == 20
        alone = exchanged(segments([(4, 5)] * 9), np.zeros(9, dtype=np.int64), np.random.default_rng(1))
        assert not (alone.labels == 1).any()

    def test_the_length_of_a_text_does_not_tell_its_label(self) -> None:
        generator = np.random.default_rng(3)
        first = generator.integers(1, 125, size=4000)
        lengths = [(int(one), 125 - int(one)) for one in first]  # in order, all texts have 125 tokens
        after = exchanged(segments(lengths), np.arange(4000) // 3, generator)
        other = after.lengths[after.labels == 1]
        assert len(other) == 2000
        assert np.abs(other - 125).max() <= 2


class TestTrimming:
    @settings(max_examples=120, deadline=None)
    @given(
        lengths=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60)), min_size=1, max_size=12),
        room=st.integers(5, 40),
        spread=st.integers(1, 5),
        seed=st.integers(0, 2**32),
    )
    def test_what_must_hold_of_every_trimming(
        self, lengths: list[tuple[int, int]], room: int, spread: int, seed: int
    ) -> None:
        generator = np.random.default_rng(seed)
        before = segments(lengths)
        total = int(before.lengths.sum())
        words = generator.integers(spread, size=total) == 0
        after = trimmed(before, np.full(len(lengths), room), words, generator)
        assert np.all(after.lengths <= room)
        assert np.all(after.first_length >= 1)
        assert np.array_equal(after.second_length > 0, before.second_length > 0)
        untouched = before.lengths <= room
        for one in fields(Segments):
            assert np.array_equal(getattr(after, one.name)[untouched], getattr(before, one.name)[untouched])
        begins = words.copy()
        begins[before.first_start] = True
        begins[before.second_start[before.second_length > 0]] = True
        for old, new in zip(zip(*ranges(before), strict=True), zip(*ranges(after), strict=True), strict=True):
            for (start, length), (low, kept) in zip(old, new, strict=True):
                high, stop = low + kept, start + length
                assert start <= low <= high <= stop
                whole_words = np.flatnonzero(begins[low:high])
                if kept and len(whole_words) > 1:
                    assert begins[low], "a segment begins in the middle of a word"
                    assert high == stop or begins[high], "a segment ends in the middle of a word"

    def test_the_longer_segment_gives_way_first(self) -> None:
        words = np.ones(1000, dtype=np.bool_)
        for lengths, room, expected in (
            ((90, 10), 50, (40, 10)),
            ((10, 90), 50, (10, 40)),
            ((40, 30), 51, (26, 25)),
            ((30, 30), 59, (30, 29)),
            ((30, 0), 20, (20, 0)),
        ):
            after = trimmed(segments([lengths]), np.array([room]), words, np.random.default_rng(0))
            assert (int(after.first_length[0]), int(after.second_length[0])) == expected

    def test_every_part_of_a_long_sentence_is_met(self) -> None:
        words = np.ones(500, dtype=np.bool_)
        starts = [
            int(trimmed(segments([(500, 0)]), np.array([100]), words, np.random.default_rng(seed)).first_start[0])
            for seed in range(600)
        ]
        assert min(starts) < 10
        assert max(starts) > 390
        assert abs(np.mean(starts) - 200) < 4.5 * 400 / np.sqrt(12 * 600)
