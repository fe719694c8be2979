"""Joins chosen by likelihood, held against the definition worked out the slow way."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertine.tokenization import wordpiece_learning
from albertine.tokenization.wordpiece_learning import learn_pieces

Words = dict[str, int]
Cut = dict[str, list[str]]


def learn(words: Words, room: int, *, rarest: int = 1, longest: int = 99) -> tuple[str, ...]:
    return learn_pieces(words, alphabet=set("".join(words)), room=room, rarest=rarest, longest=longest)


def letters(word: str) -> list[str]:
    return [letter if index == 0 else f"##{letter}" for index, letter in enumerate(word)]


def joined(left: str, right: str) -> str:
    return left + right.removeprefix("##")


def after_join(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    rest = list(pieces)
    while rest:
        if tuple(rest[:2]) == pair:
            out.append(joined(*pair))
            del rest[:2]
        else:
            out.append(rest.pop(0))
    return out


def counts_of(cut: Cut, words: Words) -> Counter[str]:
    counts: Counter[str] = Counter()
    for word, pieces in cut.items():
        for piece in pieces:
            counts[piece] += words[word]
    return counts


def log_likelihood(cut: Cut, words: Words) -> float:
    """The text under the unigram model whose probabilities are the shares of its own pieces."""
    counts = counts_of(cut, words)
    total = sum(counts.values())
    return math.fsum(count * math.log(count / total) for count in counts.values())


def slowly(words: Words, room: int, *, rarest: int, longest: int) -> list[str]:
    """Try every pair by cutting the whole text anew and take the one that the text is likeliest with."""
    cut = {word: letters(word) for word in words if len(word) > 1}
    made: dict[str, None] = {}
    while sum(counts_of(cut, words)[piece] >= rarest for piece in made) < room:
        now = log_likelihood(cut, words)
        tried = []
        for pair in {pair for pieces in cut.values() for pair in pairwise(pieces)}:
            after = {word: after_join(pieces, pair) for word, pieces in cut.items()}
            number = sum(words[word] * (len(cut[word]) - len(after[word])) for word in cut)
            if number >= rarest and len(joined(*pair).removeprefix("##")) <= longest:
                tried.append((log_likelihood(after, words) - now, number, pair))
        if not tried or max(tried)[0] <= 1e-9:
            break
        best = max(tried)[0]
        equal = [(-number, pair) for gain, number, pair in tried if gain >= best * (1 - 1e-9) - 1e-9]
        pair = min(equal)[1]
        cut = {word: after_join(pieces, pair) for word, pieces in cut.items()}
        made[joined(*pair)] = None
    counts = counts_of(cut, words)
    return [piece for piece in made if counts[piece] >= rarest]


@settings(max_examples=150, deadline=None)
@given(
    words=st.dictionaries(st.text("abc", min_size=1, max_size=7), st.integers(1, 30), min_size=1, max_size=9),
    room=st.integers(1, 12),
    rarest=st.integers(1, 4),
    longest=st.integers(2, 6),
)
def test_every_join_is_the_one_the_definition_chooses(words: Words, room: int, rarest: int, longest: int) -> None:
    found = learn(words, room, rarest=rarest, longest=longest)
    assert list(found) == slowly(words, room, rarest=rarest, longest=longest)


@pytest.mark.parametrize(("packed", "refreshed"), [(2.0, 1), (0.0, 7), (0.99, 10**9)])
def test_packing_and_bringing_up_to_date_change_nothing(
    monkeypatch: pytest.MonkeyPatch, packed: float, refreshed: int
) -> None:
    generator = random.Random(5)
    words = {
        "".join(generator.choices("abcdefg", k=generator.randint(1, 9))): generator.randint(1, 99) for _ in range(300)
    }
    usual = learn(words, 211)
    monkeypatch.setattr(wordpiece_learning, "SPARSE", packed)
    monkeypatch.setattr(wordpiece_learning, "REFRESHED_EVERY", refreshed)
    assert learn(words, 211) == usual


# Any of a to e stands before any of v to z: none of these pairs is a surprise.
NO_SURPRISE = {left + right: 25 for left in "abcde" for right in "vwxyz"}


def test_a_surprising_pair_is_joined_and_a_more_frequent_one_that_is_none_is_not() -> None:
    """Byte-pair encoding would begin with one of those that occur 25 times."""
    assert learn({**NO_SURPRISE, "qu": 9}, 99) == ("qu",)


def test_a_pair_that_becomes_a_surprise_by_its_frequency_is_joined() -> None:
    assert learn(NO_SURPRISE, 99) == ()
    assert learn({**NO_SURPRISE, "av": 125}, 99)[0] == "av"


def test_a_misprint_does_not_come_before_a_word() -> None:
    """By n / (c_a c_b), the gain of one occurrence, "xj" would come first."""
    assert learn({"xj": 1, "th": 500, "te": 90, "hi": 90}, 1) == ("th",)


def test_a_piece_of_which_longer_ones_leave_too_few_gives_its_place_up() -> None:
    words = {"abc": 50, "abd": 2}
    assert learn(words, 1, rarest=3) == ("ab",)
    assert learn(words, 2, rarest=2) == ("ab", "abc")
    assert learn(words, 2, rarest=3) == ("abc",)


def test_equal_gains_are_decided_by_the_spelling_in_any_order() -> None:
    words = {"ab": 7, "cd": 7, "ef": 7, "gh": 7}
    backwards = dict(reversed(words.items()))
    assert learn(words, 3) == learn(backwards, 3) == ("ab", "cd", "ef")


def test_words_with_other_characters_are_left_out() -> None:
    words = {"abab": 30, "zzzz": 99}
    assert not any("z" in piece for piece in learn_pieces(words, alphabet={"a", "b"}, room=9, rarest=1, longest=9))


def test_no_words_give_no_pieces() -> None:
    assert learn({"a": 5}, 9) == ()
    assert learn_pieces({}, alphabet=set(), room=9, rarest=1, longest=9) == ()
