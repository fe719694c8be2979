"""Which scripts a text is written in, and whether it is Chinese, English or something else."""

from __future__ import annotations

import functools
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from albertine.errors import ConfigError

__all__ = [
    "DocumentLanguage",
    "LanguageChoices",
    "LanguageFilter",
    "LanguageReport",
    "LanguageShares",
    "ScriptShares",
    "guess_language",
    "language_shares",
    "script_shares",
]

DocumentLanguage = Literal["zh", "en", "other"]

_NONE, _HAN, _LATIN, _CYRILLIC, _KANA, _HANGUL, _OTHER, _DIGITS = range(8)
# The first and last code unit of UTF-16, in which a character beyond U+FFFF is counted at its first half.
_RANGES = (
    (_LATIN, 0x0041, 0x024F),
    (_LATIN, 0x1E00, 0x1EFF),
    (_LATIN, 0xFF21, 0xFF5A),
    (_CYRILLIC, 0x0400, 0x052F),
    (_KANA, 0x3041, 0x30FF),
    (_KANA, 0x31F0, 0x31FF),
    (_KANA, 0xFF66, 0xFF9D),
    (_HANGUL, 0x1100, 0x11FF),
    (_HANGUL, 0x3131, 0x318E),
    (_HANGUL, 0xAC00, 0xD7A3),
    (_HAN, 0x3005, 0x3007),
    (_HAN, 0x3400, 0x4DBF),
    (_HAN, 0x4E00, 0x9FFF),
    (_HAN, 0xF900, 0xFAFF),
    (_HAN, 0xD840, 0xD8BF),
)
# What a letter of each script takes in UTF-8, so that Chinese with English names in it counts as Chinese.
_BYTES = np.array([0, 3, 1, 2, 3, 3, 2, 0], dtype=np.float64)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ENGLISH = _set(
    """
    the of and in to a is was for on that by with as it from at his he are an be were this which or has had not have
    their its but they she her been who you we i
    """
)
_FOREIGN = _set(
    """
    de la le les des et du en un une est dans que pour qui au aux sur pas plus par der die das und den von zu mit sich
    ist nicht dem ein eine auf im el los las y se del con por su para como al il di che e per della non gli sono het een
    van dat op te zijn o os da do em não och att som på av det er og til med w z na się nie jest ve bir bu
    """
)
_WORD = re.compile(r"[^\W\d_]+")
_SAMPLE = 150
_SAMPLES = 4
_FEW_WORDS = 12
_LEAST_ENGLISH = 0.08
_LEAST_KANA = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptShares:
    """Shares of a text's letters and digits; they add up to 1, or to 0 where there are none."""

    han: float
    latin: float
    cyrillic: float
    kana: float
    hangul: float
    other: float
    """Letters of any other script."""
    digits: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageShares:
    """Shares of the bytes (UTF-8) of a text's letters; they add up to 1, or to 0 where there are none."""

    zh: float
    en: float
    other: float

    @property
    def largest(self) -> DocumentLanguage:
        """The language with the largest share; "other" where there are no letters."""
        if self.zh >= max(self.en, self.other) and self.zh > 0:
            return "zh"
        return "en" if self.en >= self.other and self.en > 0 else "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageChoices:
    """Which documents are kept."""

    keep: DocumentLanguage | None = None
    """The language; None keeps every document."""
    share: float = 0.5
    """The least share that the language must have."""

    def __post_init__(self) -> None:
        if self.keep is not None and self.keep not in get_args(DocumentLanguage):
            allowed = ", ".join(get_args(DocumentLanguage))
            raise ConfigError("unknown language of a corpus", received=repr(self.keep), allowed=allowed)
        if not 0 < self.share <= 1:
            raise ConfigError("the least share of a language is out of range", received=self.share, allowed="(0, 1]")


@dataclass(slots=True, kw_only=True)
class LanguageReport:
    """What a `LanguageFilter` has seen."""

    documents: Counter[str] = field(default_factory=Counter)
    """By their largest language."""
    characters: Counter[str] = field(default_factory=Counter)
    """Of these documents."""
    removed: int = 0
    """Documents that are not in the language asked for."""

    def add(self, other: LanguageReport) -> None:
        """Add what another filter has seen."""
        self.documents.update(other.documents)
        self.characters.update(other.characters)
        self.removed += other.removed


class LanguageFilter:
    """Says which documents are kept, and counts the languages."""

    def __init__(self, choices: LanguageChoices | None = None) -> None:
        self.choices = choices or LanguageChoices()
        self.report = LanguageReport()

    def __call__(self, text: str) -> bool:
        """Say whether a document is kept."""
        shares = language_shares(text)
        largest = shares.largest
        self.report.documents[largest] += 1
        self.report.characters[largest] += len(text)
        keep = self.choices.keep
        kept = keep is None or {"zh": shares.zh, "en": shares.en, "other": shares.other}[keep] >= self.choices.share
        self.report.removed += not kept
        return kept


def script_shares(text: str) -> ScriptShares:
    """Count the letters of every script."""
    counts = _counts(text)
    counts[_NONE] = 0
    shares = [float(share) for share in counts / max(counts.sum(), 1)]
    return ScriptShares(
        han=shares[_HAN],
        latin=shares[_LATIN],
        cyrillic=shares[_CYRILLIC],
        kana=shares[_KANA],
        hangul=shares[_HANGUL],
        other=shares[_OTHER],
        digits=shares[_DIGITS],
    )


def language_shares(text: str) -> LanguageShares:
    """Estimate how much of a text is Chinese, English or anything else.

    Han characters are Chinese unless kana say that they are Japanese; Latin letters are English where samples from the
    text hold its function words, and more of them than of other languages' ones.
    """
    counts = _counts(text)
    sizes = counts * _BYTES
    total = float(sizes.sum())
    if not total:
        return LanguageShares(zh=0.0, en=0.0, other=0.0)
    japanese = counts[_KANA] > _LEAST_KANA * (counts[_HAN] + counts[_KANA])
    zh = 0.0 if japanese else float(sizes[_HAN])
    en = float(sizes[_LATIN]) if counts[_LATIN] and _is_english(text) else 0.0
    return LanguageShares(zh=zh / total, en=en / total, other=(total - zh - en) / total)


def guess_language(text: str) -> DocumentLanguage:
    """Say which language most of a text is in; "other" where it has no letters."""
    return language_shares(text).largest


def _counts(text: str) -> npt.NDArray[np.int64]:
    """Return how many characters are in each class, [8]."""
    if text.isascii():
        units: npt.NDArray[np.integer] = np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    else:
        units = np.frombuffer(text.encode("utf-16-le", errors="surrogatepass"), dtype=np.uint16)
    return np.bincount(_classes()[units], minlength=8)


@functools.cache
def _classes() -> npt.NDArray[np.uint8]:
    """Return the class of every code unit."""
    classes = np.zeros(1 << 16, dtype=np.uint8)
    letters = np.array([chr(unit).isalpha() for unit in range(1 << 16)])
    classes[letters] = _OTHER
    classes[[unit for unit in range(1 << 16) if chr(unit).isdecimal()]] = _DIGITS
    for script, first, last in _RANGES:
        inside = slice(first, last + 1)
        # Ideographic numbers and the first halves of pairs are no letters for Unicode, but are Han characters.
        chosen = letters[inside] | (script == _HAN)
        classes[inside][chosen] = script
    return classes


def _is_english(text: str) -> bool:
    if len(text) > _SAMPLE * _SAMPLES:
        step = len(text) // _SAMPLES
        text = " ".join(text[start : start + _SAMPLE] for start in range(0, step * _SAMPLES, step))
    words = [word for word in _WORD.findall(text.lower()) if word[0] < "\u0250"]
    english = sum(map(_ENGLISH.__contains__, words))
    foreign = sum(map(_FOREIGN.__contains__, words))
    if len(words) < _FEW_WORDS:
        accented = sum(not word.isascii() for word in words)
        return english >= foreign and (english > 0 or accented * 4 <= len(words))
    return english > foreign and english >= _LEAST_ENGLISH * len(words)
