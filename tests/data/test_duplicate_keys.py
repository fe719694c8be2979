from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertine.data import duplicate_keys
from albertine.data.duplicate_keys import DuplicateChoices, KeyFile, document_keys, write_keys
from albertine.errors import ConfigError

CHOICES = DuplicateChoices(shortest=5)
LETTERS = st.text(alphabet="abC 大小,。\n1Ａ𠀀😀é", max_size=40)


@given(st.lists(LETTERS, max_size=8), st.integers(0, 8))
@settings(max_examples=80, deadline=None)
def test_the_keys_of_a_document_depend_on_nothing_but_its_text(texts: list[str], cut: int) -> None:
    together = document_keys(texts, CHOICES)
    apart = [document_keys(part, CHOICES) for part in (texts[:cut], texts[cut:])]
    assert np.array_equal(together.exact, np.concatenate([keys.exact for keys in apart]))
    assert np.array_equal(together.bands, np.concatenate([keys.bands for keys in apart], axis=1))
    assert np.array_equal(together.signatures, np.concatenate([keys.signatures for keys in apart]))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("He left, early.", "he  LEFT\nearly", True),
        ("第１条：“总则”", "第1条 总则", True),
        ("𠀀字", "𠀁字", False),
        ("a b", "b a", False),
        ("ab c", "a bc", True),
        ("!!!", "???", False),
        ("", "", True),
        ("😀", "😁", False),
    ],
)
def test_documents_are_the_same_by_their_letters_and_digits(one: str, other: str, same: bool) -> None:
    exact = document_keys([one, other], CHOICES).exact
    assert bool(exact[0] == exact[1]) is same


def test_the_share_of_equal_minima_estimates_the_similarity() -> None:
    words = [f"w{number % 977}x{number}" for number in range(1500)]
    for changes in (15, 40, 90):
        changed = list(words)
        changed[: changes * 10 : 10] = [f"new{number}" for number in range(changes)]
        sets = [{tuple(text[start : start + 5]) for start in range(len(text) - 4)} for text in (words, changed)]
        similarity = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
        keys = document_keys([" ".join(words), " ".join(changed)], CHOICES)
        assert abs((keys.signatures[0] == keys.signatures[1]).mean() - similarity) < 0.2


def test_documents_that_are_too_short_are_not_compared() -> None:
    keys = document_keys(["一二三四", "一二三四五", "one two three four", "one two three four five", "....."], CHOICES)
    assert keys.bands.any(axis=0).tolist() == [False, True, False, True, False]


def test_word_borders_count_for_near_duplicates() -> None:
    keys = document_keys(["ab cd ef gh ij kl", "abc de fg hi jk l"], CHOICES)
    assert keys.exact[0] == keys.exact[1]
    assert not (keys.signatures[0] == keys.signatures[1]).any()


def test_what_is_written_is_what_was_computed_over_many_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicate_keys, "_BATCH_TEXTS", 7)
    texts = [f"text number {number} has eight words of its own" for number in range(31)]
    assert write_keys(tmp_path / "keys", iter(texts)) == 31
    file = KeyFile(tmp_path / "keys")
    expected = document_keys(texts, DuplicateChoices())
    assert file.documents == 31
    assert np.array_equal(np.concatenate(list(file.column(None))), expected.exact)
    for band in range(12):
        assert np.array_equal(np.concatenate(list(file.column(band))), expected.bands[band])
    chosen = np.array([0, 6, 7, 19, 30])
    assert np.array_equal(file.signatures(chosen), expected.signatures[chosen])
    assert (tmp_path / "keys").stat().st_size == 31 * 224 + 5 * 32


def test_nothing_is_left_of_keys_that_were_not_finished(tmp_path: Path) -> None:
    def failing() -> object:
        yield "one text"
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write_keys(tmp_path / "keys", failing())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("choices", [{"threshold": 0.3}, {"threshold": 1.1}, {"shortest": 4}])
def test_choices_out_of_range_are_refused(choices: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        DuplicateChoices(**choices)  # type: ignore[arg-type]
