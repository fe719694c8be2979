"""Counts the words of any amount of text in bounded memory, as the WordPiece tokenizer will see them.

Text is counted in runs of a few million characters. When the table holds more distinct words than it may, the rarest
are forgotten at once, the whole of every frequency up to a threshold (lossy counting, Manku and Motwani 2002): the
counts of the words that stay are too low by no more than the sum of the thresholds, and what was forgotten is reported.
Characters are counted exactly, whatever becomes of their words. While nothing is forgotten, the order of the texts
makes no difference.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from albertine.tokenization.normalization import ASCII_WORDS, Rules, basic_words, part_pattern
from albertine.tokenization.wordpiece import LONGEST_WORD

__all__ = ["MOST_WORDS", "WordCounts", "count_words", "cut_text", "runs_of_text"]

MOST_WORDS = 2_000_000
"""Distinct words in the table, about 130 bytes each."""
CHARACTERS_AT_ONCE = 1 << 22
_SPACE = re.compile(r"\s")


@dataclass(frozen=True, slots=True, kw_only=True)
class WordCounts:
    """The words of a corpus, normalised, and how often each occurs."""

    words: Counter[str]
    """Every word that was kept; one of more than 100 characters, which the tokenizer gives up on, never is."""
    characters: Counter[str]
    """Every character, counted exactly."""
    forgotten_words: int
    """Words dropped to bound memory; one that was dropped and came back is counted each time."""
    forgotten_occurrences: int
    """How often those had occurred."""
    largest_error: int
    """By how much the count of a word that was kept can be too low at most."""


def count_words(texts: Iterable[str], rules: Rules, *, most_words: int = MOST_WORDS) -> WordCounts:
    """Count the words of all texts, normalised as the tokenizer will do it.

    Args:
        texts: read once.
        rules: the normalisation.
        most_words: the most distinct words held between two runs of text.
    """
    pattern = part_pattern(rules)
    words: Counter[str] = Counter()
    characters: Counter[str] = Counter()
    forgotten = occurrences = error = 0
    for text in runs_of_text(texts, CHARACTERS_AT_ONCE):
        for part, count in Counter(pattern.findall(text)).items():
            for word in _normalised(part, rules):
                words[word] += count
        if len(words) > most_words:
            threshold = _threshold(words, most_words)
            rare = [word for word, count in words.items() if count <= threshold]
            for word in rare:
                count = words.pop(word)
                occurrences += count
                for character in word:
                    characters[character] += count
            forgotten += len(rare)
            error += threshold
            words = Counter(dict(words))  # a dictionary gives room back only when it is made anew
    for word, count in words.items():
        for character in word:
            characters[character] += count
    kept = Counter({word: count for word, count in words.items() if len(word) <= LONGEST_WORD})
    return WordCounts(
        words=kept,
        characters=characters,
        forgotten_words=forgotten,
        forgotten_occurrences=occurrences,
        largest_error=error,
    )


def runs_of_text(texts: Iterable[str], size: int) -> Iterator[str]:
    """Yield texts joined by line breaks, or a long one cut at white space, in runs of about `size` characters."""
    run: list[str] = []
    held = 0
    for text in texts:
        for part in cut_text(text, size):
            run.append(part)
            held += len(part) + 1
            if held >= size:
                yield "\n".join(run)
                run, held = [], 0
    if run:
        yield "\n".join(run)


def cut_text(text: str, size: int) -> Iterator[str]:
    """Cut a long text behind the first white space after every `size` characters; where there is none, anywhere."""
    start = 0
    while len(text) - start > size:
        space = _SPACE.search(text, start + size, start + 2 * size)
        end = space.end() if space else start + size
        yield text[start:end]
        start = end
    yield text[start:]


def _normalised(part: str, rules: Rules) -> list[str]:
    """Return the words of a part of a text: white space, or a word with at most one blank before it."""
    if part.isspace():
        return []
    part = part.removeprefix(" ")
    if part.isascii() and part.isprintable():
        return ASCII_WORDS.findall(part.lower() if rules.lowercase else part)
    return [word.text for word in basic_words(part, rules)]


def _threshold(words: Counter[str], most: int) -> int:
    """Return the lowest frequency up to which words must go for no more than half of `most` to stay."""
    frequencies = Counter(words.values())
    left = len(words)
    threshold = 0
    for frequency in sorted(frequencies):
        if left <= most // 2:
            break
        left -= frequencies[frequency]
        threshold = frequency
    return threshold
