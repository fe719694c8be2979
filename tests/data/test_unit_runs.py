"""Texts as units, and the hashes of runs of them."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import numpy as np
import pytest

from albertine.data import unit_runs
from albertine.data.duplicate_keys import DuplicateChoices, document_keys
from albertine.data.unit_runs import code_units, letters, normal_code_units, split_units, together

TEXTS = ["One two—three", "", "山羊 goats, 7", "…", "𠀀a😀", "café ﬁn"]


def units_of(*texts: str) -> list[list[str]]:
    units = split_units([normal_code_units(text) for text in texts])
    edges = units.firsts.tolist()
    return [[units.text(unit, 1) for unit in range(first, end)] for first, end in pairwise(edges)]


def test_words_and_single_chinese_characters_are_units() -> None:
    assert units_of(*TEXTS) == [
        ["One", "two", "three"],
        [],
        ["山", "羊", "goats", "7"],
        [],
        ["𠀀", "a", "😀"],
        ["café", "fin"],
    ]


def test_every_character_counts_as_its_compatible_form() -> None:
    for point in range(1 << 16):
        character = chr(point)
        if 0xD800 <= point < 0xE000:
            continue
        given = letters(normal_code_units(f"a{character}b"))
        wanted = letters(code_units(unicodedata.normalize("NFKC", f"a{character}b")))
        assert given.tolist() == wanted.tolist(), hex(point)


def test_equal_runs_have_equal_hashes_wherever_they_stand() -> None:
    one, other = (split_units([code_units(text)]) for text in ("b c D e", "a, b (c) d E f"))
    assert one.runs(4).tolist() == other.runs(4)[1:2].tolist()
    assert one.runs(2).tolist() == other.runs(2)[1:4].tolist()
    assert one.run_at(np.array([2, 0]), 2).tolist() == other.run_at(np.array([3, 1]), 2).tolist()
    assert not set(one.runs(2).tolist()) & set(split_units([code_units("bc de")]).runs(2).tolist())
    assert [len(one.runs(length)) for length in (1, 4, 5, 9)] == [4, 1, 0, 0]


def test_runs_that_reach_into_the_next_text_are_marked() -> None:
    units = split_units([code_units(text) for text in ("a b c", "", "d", "e f g h")])
    assert units.inside(3).tolist() == [True, False, False, False, True, True]
    assert units.inside(9).tolist() == []
    assert units.owners(np.arange(8)).tolist() == [0, 0, 0, 2, 3, 3, 3, 3]


def test_numbers_are_told_from_words() -> None:
    assert split_units([code_units("in 1999 七 ② B2 😀")]).lettered().tolist() == [True, False, True, False, True, True]


@pytest.mark.parametrize("most", [1, 10, 1000])
def test_how_many_texts_are_split_at_once_does_not_matter(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    texts = [" ".join(f"{word}{number % 7}" for word in "abcdefgh") for number in range(20)]
    before = document_keys(texts, DuplicateChoices(shortest=5))
    monkeypatch.setattr(unit_runs, "_CODES_TOGETHER", most)
    after = document_keys(texts, DuplicateChoices(shortest=5))
    assert np.array_equal(before.bands, after.bands)
    assert np.array_equal(before.signatures, after.signatures)
    parts = list(together([len(text) for text in texts]))
    assert [place for start, end in parts for place in range(start, end)] == list(range(20))
    assert list(together([])) == []
