"""How BERT prepares a word before it is cut into pieces, with the place of every character in the input.

The rules are those of Google's BERT `tokenization.py` as transformers' `BertTokenizerLegacy` keeps them: drop control
and unassigned characters, compose (NFC), lower-case, decompose and drop accents (NFD, category Mn), and make every
punctuation mark a word. They are applied to one word at a time, which gives the same as applying them to the whole
text, because none of them reaches over white space or over a Chinese character.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

__all__ = [
    "ASCII_WORDS",
    "BASIC_SPACE",
    "CHINESE",
    "CHINESE_BLOCKS",
    "BasicWord",
    "Rules",
    "basic_words",
    "is_punctuation",
    "part_pattern",
]

BASIC_SPACE = " \t\n\r\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""Inside of a regular-expression class: what separates words. Other white space is a control character, and dropped."""


def _assigned(ranges: Iterable[tuple[int, int]]) -> str:
    """Return the ranges for a regular-expression class, without the unassigned characters, which are dropped."""
    runs = []
    for first, last in ranges:
        points = (point for point in range(first, last + 1) if unicodedata.category(chr(point)) != "Cn")
        for _, run in groupby(enumerate(points), key=lambda entry: entry[1] - entry[0]):
            members = [point for _, point in run]
            runs.append(f"{chr(members[0])}-{chr(members[-1])}")
    return "".join(runs)


CHINESE_BLOCKS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)
"""First and last code point of the blocks of Chinese characters, each character of which is a word."""
CHINESE = _assigned(CHINESE_BLOCKS)
"""Inside of a regular-expression class: these characters."""

ASCII_WORDS = re.compile(r"[0-9A-Za-z]+|[^0-9A-Za-z]")
"""The words of a piece of printable ASCII text without blanks: letters and digits, or one punctuation mark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is done to a word before it is cut."""

    lowercase: bool
    """Lower-case it."""
    strip_accents: bool
    """Decompose it and drop the accents; BERT does when it lower-cases."""
    split_chinese: bool = True
    """Make every Chinese character a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicWord:
    """A normalised word without punctuation inside, or one punctuation mark."""

    text: str
    """As the vocabulary is asked for it."""
    begins: tuple[int, ...]
    """Where the source of each character begins in the word that was given."""
    ends: tuple[int, ...]
    """One past its end, accents that were dropped included."""


def part_pattern(rules: Rules) -> re.Pattern[str]:
    """Return the pattern that cuts any text into parts: words and runs of white space, nothing left out.

    A word takes one blank before it along, which halves the number of parts.
    """
    single, others = (f"|[{CHINESE}]", CHINESE) if rules.split_chinese else ("", "")
    return re.compile(f" ?[^{BASIC_SPACE}{others}]+{single}|[{BASIC_SPACE}]+")


def basic_words(word: str, rules: Rules) -> list[BasicWord]:
    """Normalise a word that holds no white space and split its punctuation off.

    Args:
        word: at most one Chinese character and then nothing else, or none (unless they are not split).
        rules: what to do to it.
    """
    text, begins, ends = _normalised(word, rules)
    found = []
    start = 0
    for index in range(len(text) + 1):
        mark = index < len(text) and is_punctuation(text[index])
        if mark or index == len(text):
            for part in (slice(start, index), slice(index, index + 1)):
                if text[part]:
                    found.append(BasicWord(text=text[part], begins=tuple(begins[part]), ends=tuple(ends[part])))
            start = index + 1
    return found


@lru_cache(maxsize=65536)
def is_punctuation(character: str) -> bool:
    """Say whether BERT takes a character for punctuation: any ASCII sign, and Unicode's categories P."""
    if character.isascii():
        return not character.isalnum() and character.isprintable() and character != " "
    return unicodedata.category(character).startswith("P")


def _normalised(word: str, rules: Rules) -> tuple[str, list[int], list[int]]:
    """Return the normalised word, and for each of its characters where its source begins and ends."""
    kept = [index for index, character in enumerate(word) if not _is_dropped(character)]
    text = "".join([word[index] for index in kept])
    whole = _folded(text, rules)
    out: list[str] = []
    begins: list[int] = []
    ends: list[int] = []
    start = 0
    for index in range(1, len(text) + 1):
        if index < len(text) and _continues(text[index]):
            continue
        if index > start:
            part = _folded(text[start:index], rules)
            out.append(part)
            begins += [kept[start]] * len(part)
            ends += [kept[index - 1] + 1] * len(part)
        start = index
    # Characters that look at their neighbours (a final sigma) keep their number; where even that differs, every
    # character is said to come from the whole word.
    if len(whole) != len(begins) and whole:
        begins, ends = [kept[0]] * len(whole), [kept[-1] + 1] * len(whole)
    return whole, begins, ends


def _folded(text: str, rules: Rules) -> str:
    text = unicodedata.normalize("NFC", text)
    if rules.lowercase:
        text = text.lower()
    if rules.strip_accents:
        decomposed = unicodedata.normalize("NFD", text)
        text = "".join([character for character in decomposed if unicodedata.category(character) != "Mn"])
    return text


@lru_cache(maxsize=65536)
def _is_dropped(character: str) -> bool:
    return character == "\ufffd" or unicodedata.category(character).startswith("C")


@lru_cache(maxsize=65536)
def _continues(character: str) -> bool:
    """Say whether a character may combine with the one before it: marks, and the vowels and finals of Hangul."""
    return unicodedata.category(character).startswith("M") or "\u1160" <= character <= "\u11ff"
