"""Words and n-grams of a text, and which of them are worth keeping."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from albertine.errors import ConfigError

__all__ = ["BagOfWordsConfig", "Block", "block_features", "learn_block", "with_pair", "words_of"]

Block = Literal["words", "characters"]

# A Chinese character or a Japanese kana is a word of its own: no spaces part them, and n-grams of two make words.
_ALONE = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_ALONE}]|[^\W{_ALONE}]+")
_PAIR_SIGN = " \u2016 "


@dataclass(frozen=True, slots=True, kw_only=True)
class BagOfWordsConfig:
    """Which features are counted, and how the linear model over them is held back."""

    blocks: tuple[Block, ...] = ("words", "characters")
    """The kinds of features; where a development split is given, the best of each alone and both together is kept."""
    word_ngrams: tuple[int, int] = (1, 2)
    """Fewest and most words in a row; a Chinese character counts as a word."""
    character_ngrams: tuple[int, int] = (2, 4)
    """Fewest and most characters in a row, across words, spaces included."""
    max_features: int = 100_000
    """Features kept of each kind, those in most texts first."""
    inverse_regularization: float | None = None
    """C of the logistic regression; None to choose it on the development split (4 without one)."""

    def __post_init__(self) -> None:
        if not self.blocks or len(set(self.blocks)) < len(self.blocks) or set(self.blocks) - set(get_args(Block)):
            raise ConfigError(
                "unknown, doubled or no features",
                where="blocks",
                received=list(self.blocks),
                allowed=" and ".join(get_args(Block)),
            )
        for name in ("word_ngrams", "character_ngrams"):
            ends = getattr(self, name)
            if len(ends) != 2 or not 1 <= ends[0] <= ends[1]:
                raise ConfigError("not a range", where=name, received=ends, allowed="fewest and most, 1 or more")
        if self.max_features < 1:
            raise ConfigError("must be positive", where="max_features", received=self.max_features)
        if self.inverse_regularization is not None and self.inverse_regularization <= 0:
            raise ConfigError("must be positive", where="inverse_regularization", received=self.inverse_regularization)

    def ngrams(self, block: Block) -> tuple[int, int]:
        """Return the fewest and the most units in a row of a block."""
        return self.word_ngrams if block == "words" else self.character_ngrams


def with_pair(text: str, pair: str | None) -> str:
    """Join the two texts of a pair by a sign that n-grams see."""
    return text if pair is None else f"{text}{_PAIR_SIGN}{pair}"


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case; of a text that has none, such as a face, what blanks divide it into."""
    lowered = text.lower()
    return _WORD.findall(lowered) or lowered.split()


def block_features(text: str, block: Block, config: BagOfWordsConfig) -> list[str]:
    """Return every feature of a text of one kind, repetitions included."""
    low, high = config.ngrams(block)
    units = _units(text, block)
    return [feature for width in range(low, high + 1) for feature in _ngrams(units, width)]


def learn_block(texts: Sequence[str], block: Block, config: BagOfWordsConfig) -> dict[str, int]:
    """Return the features to keep and in how many texts each stands, most frequent first, ties by spelling.

    From a thousand texts on, a feature must stand in two of them. An n-gram can only do so where the one without its
    last unit does, so that the rare long ones, which are most of all, are never held in memory.
    """
    least = 2 if len(texts) >= 1000 else 1
    low, high = config.ngrams(block)
    kept: dict[str, int] = {}
    frequent: set[str] = set()
    for width in range(1, high + 1):
        counts: Counter[str] = Counter()
        for text in texts:
            units = _units(text, block)
            grown = {
                feature
                for start, feature in enumerate(_ngrams(units, width))
                if width == 1 or _joined(units[start : start + width - 1]) in frequent
            }
            counts.update(grown)
        found = {feature: times for feature, times in counts.items() if times >= least}
        frequent = set(found)
        if width >= low:
            kept |= found
    best = sorted(kept, key=lambda feature: (-kept[feature], feature))[: config.max_features]
    return {feature: kept[feature] for feature in best}


def _units(text: str, block: Block) -> str | list[str]:
    """Return what n-grams are made of: the words in lower case, or the characters with spaces evened out."""
    lowered = text.lower()
    return _WORD.findall(lowered) if block == "words" else f" {' '.join(lowered.split())} "


def _joined(units: str | list[str]) -> str:
    return units if isinstance(units, str) else " ".join(units)


def _ngrams(units: str | list[str], width: int) -> Iterator[str]:
    if isinstance(units, list):
        if width == 1:
            return iter(units)
        return map(" ".join, zip(*(units[start:] for start in range(width)), strict=False))
    return (units[start : start + width] for start in range(len(units) - width + 1))
