"""What a learnt vocabulary does to texts that it has not seen, beside another vocabulary: `VocabularyReport`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from albertine.records import IntArray
from albertine.tokenization.normalization import CHINESE
from albertine.tokenization.pieces import Kind, chunks
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["HeldOut", "LearningCounts", "UnknownText", "VocabularyMeasures", "VocabularyReport", "measured"]

SCHEMA_VERSION = 1
MOST_HELD_OUT = 2_000_000
"""Characters of held-out texts, which are kept in memory; measures of that many hardly move any more."""
UNKNOWNS_SHOWN = 10
LONGEST_SHOWN = 40
CHARACTERS_A_CHUNK = 1 << 20
_WORDS = re.compile(f"[{CHINESE}]|[^\\W_{CHINESE}]+")
_CHINESE = re.compile(f"[{CHINESE}]")


class HeldOut:
    """Sets every k-th text apart while a stream goes by; k doubles when too much has been set apart.

    Args:
        every: k at first, 2 or more.
        most_characters: the most that is kept; more only where one text alone is longer.
    """

    def __init__(self, every: int, most_characters: int = MOST_HELD_OUT) -> None:
        self.every = every
        self.texts: list[str] = []
        self._most = most_characters
        self._characters = 0

    def rest(self, texts: Iterable[str]) -> Iterator[str]:
        """Yield the texts that are not set apart, among them those that were for a while."""
        for index, text in enumerate(texts):
            if index % self.every != self.every - 1:
                yield text
                continue
            self.texts.append(text)
            self._characters += len(text)
            while self._characters > self._most and len(self.texts) > 1:
                given_back, self.texts = self.texts[0::2], self.texts[1::2]
                self.every *= 2
                self._characters = sum(map(len, self.texts))
                yield from given_back


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownText:
    """A stretch of text for which a vocabulary has no pieces."""

    text: str
    """As it stands in the texts; the end of a long one is left out."""
    count: int
    """How often it occurs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabularyMeasures:
    """How a vocabulary cuts the held-out texts."""

    name: str
    """Where it lies."""
    kind: Kind
    """wordpiece or unigram."""
    size: int
    """Its tokens, special ones included."""
    lowercase: bool
    """Whether it lower-cases text."""
    characters: int
    """Characters of the texts, white space left out."""
    known_characters: int
    """Those that do not lie in an unknown token."""
    tokens: int
    """Tokens of the texts, without [CLS] and [SEP]."""
    unknown_tokens: int
    """Those that are [UNK]."""
    words: int
    """Runs of letters and digits other than Chinese ones."""
    word_tokens: int
    """Tokens that cover some of them."""
    whole_words: int
    """Words that are one token, and not the unknown one."""
    chinese_characters: int
    """Chinese characters of the texts."""
    chinese_tokens: int
    """Tokens that cover some of them."""
    frequent_unknowns: tuple[UnknownText, ...]
    """What became unknown most often."""

    @property
    def coverage(self) -> float | None:
        """Share of characters that are known."""
        return _share(self.known_characters, self.characters)

    @property
    def unknown_rate(self) -> float | None:
        """Share of tokens that are unknown."""
        return _share(self.unknown_tokens, self.tokens)

    @property
    def tokens_per_word(self) -> float | None:
        """Tokens of a word that is not Chinese; None where there are no such words."""
        return _share(self.word_tokens, self.words)

    @property
    def whole_word_rate(self) -> float | None:
        """Share of the words that are one token."""
        return _share(self.whole_words, self.words)

    @property
    def tokens_per_chinese_character(self) -> float | None:
        """Tokens of a Chinese character; below 1 where pieces cover several."""
        return _share(self.chinese_tokens, self.chinese_characters)

    @property
    def characters_per_token(self) -> float | None:
        """Characters of a token, white space left out: more of them make shorter inputs."""
        return _share(self.characters, self.tokens)

    def to_dict(self) -> dict[str, object]:
        """Return the counts and the rates."""
        return {
            **asdict(self),
            "frequent_unknowns": [asdict(unknown) for unknown in self.frequent_unknowns],
            **{name: getattr(self, name) for name in _RATES},
        }


_RATES = {
    "coverage": ("characters covered", "{:.3%}"),
    "unknown_rate": ("unknown tokens", "{:.3%}"),
    "tokens_per_word": ("tokens a word", "{:.3f}"),
    "whole_word_rate": ("words kept whole", "{:.1%}"),
    "tokens_per_chinese_character": ("tokens a Chinese character", "{:.3f}"),
    "characters_per_token": ("characters a token", "{:.2f}"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCounts:
    """What a vocabulary was learnt from."""

    characters: int
    """Characters that were counted: of words, or, for unigram, of lines."""
    distinct_words: int | None
    """Different words that were kept; None for unigram."""
    forgotten_words: int
    """Rare words forgotten while counting, to bound memory."""
    forgotten_occurrences: int
    """How often those had occurred."""
    sampled_characters: int | None
    """For unigram: the characters of the sample it was learnt from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabularyReport:
    """What was learnt, from what, and how it does on texts that were set apart."""

    folder: str
    """Where the vocabulary was written."""
    learnt_from: LearningCounts
    """The texts."""
    held_out_every: int
    """One document in so many was set apart."""
    held_out_documents: int
    """How many those are; with none of them, the measures are empty."""
    learnt: VocabularyMeasures
    """The new vocabulary."""
    against: VocabularyMeasures | None
    """The one that it was to be compared with."""

    def to_dict(self) -> dict[str, object]:
        """Return the document that `--json` prints."""
        return {
            "schema_version": SCHEMA_VERSION,
            "folder": self.folder,
            "learnt_from": asdict(self.learnt_from),
            "held_out_every": self.held_out_every,
            "held_out_documents": self.held_out_documents,
            "learnt": self.learnt.to_dict(),
            "against": None if self.against is None else self.against.to_dict(),
        }

    def render(self) -> str:
        """Return the lines for a terminal."""
        source = self.learnt_from
        lines = [
            f"{self.folder}: {self.learnt.size:,} tokens, {self.learnt.kind}, "
            f"learnt from {source.characters:,} characters"
        ]
        if source.distinct_words is not None:
            lines.append(f"  {source.distinct_words:,} distinct words")
        if source.forgotten_words:
            lines.append(
                f"  {source.forgotten_words:,} rare words ({source.forgotten_occurrences:,} occurrences) were "
                "forgotten while counting, to bound memory"
            )
        if source.sampled_characters is not None and source.sampled_characters < source.characters:
            lines.append(f"  of which a sample of {source.sampled_characters:,} was used")
        if not self.held_out_documents:
            lines.append(f"no measures: fewer than {self.held_out_every} documents, so none was set apart")
            return "\n".join(lines)
        lines.append(
            f"on {self.held_out_documents:,} held-out documents (every {self.held_out_every}th, "
            f"{self.learnt.characters:,} characters):"
        )
        shown = [self.learnt] if self.against is None else [self.learnt, self.against]
        if len(shown) > 1:
            lines.append(f"  {'':28}{'learnt':>12}{'against':>12}   against: {shown[1].name}")
            lines.append(f"  {'tokens in the vocabulary':28}" + "".join(f"{one.size:>12,}" for one in shown))
        for name, (label, form) in _RATES.items():
            values = [getattr(one, name) for one in shown]
            if any(value is not None for value in values):
                cells = ["-" if value is None else form.format(value) for value in values]
                lines.append(f"  {label:28}" + "".join(f"{cell:>12}" for cell in cells))
        for one, label in zip(shown, ("learnt", "against"), strict=False):
            if one.frequent_unknowns:
                listed = ", ".join(f"{unknown.text} ({unknown.count:,})" for unknown in one.frequent_unknowns)
                lines.append(f"  most often unknown, {label}: {listed}")
        return "\n".join(lines)


@dataclass(slots=True, kw_only=True)
class _Tally:
    """The counts of `VocabularyMeasures`, while they are made."""

    characters: int = 0
    known_characters: int = 0
    tokens: int = 0
    unknown_tokens: int = 0
    words: int = 0
    word_tokens: int = 0
    whole_words: int = 0
    chinese_characters: int = 0
    chinese_tokens: int = 0


def measured(tokenizer: Tokenizer, texts: Sequence[str], *, name: str) -> VocabularyMeasures:
    """Cut texts with a vocabulary and count what becomes of them.

    Args:
        tokenizer: the vocabulary.
        texts: texts that it was not learnt from.
        name: what it is called in the report.
    """
    tally = _Tally()
    unknowns: Counter[str] = Counter()
    for part in chunks(texts, CHARACTERS_A_CHUNK):
        tokens = tokenizer.tokenize(part, special_tokens=False)
        assert tokens.offsets is not None
        unknown = tokens.ids == tokenizer.unk_id
        tally.tokens += len(tokens.ids)
        tally.unknown_tokens += int(unknown.sum())
        for index, text in enumerate(part):
            rows = slice(int(tokens.starts[index]), int(tokens.starts[index + 1]))
            _tally_text(tally, unknowns, text, tokens.offsets[rows], unknown[rows])
    frequent = sorted(unknowns.items(), key=lambda entry: (-entry[1], entry[0]))[:UNKNOWNS_SHOWN]
    return VocabularyMeasures(
        name=name,
        kind=tokenizer.kind,
        size=tokenizer.vocab_size,
        lowercase=tokenizer.lowercase,
        frequent_unknowns=tuple(UnknownText(text=text, count=count) for text, count in frequent),
        **asdict(tally),
    )


def _tally_text(tally: _Tally, unknowns: Counter[str], text: str, offsets: IntArray, unknown: IntArray) -> None:
    """Count one text.

    Args:
        tally: is added to.
        unknowns: is added to.
        text: as it was given to the tokenizer.
        offsets: [S, 2] the ranges of its tokens.
        unknown: [S] which of them are unknown.
    """
    lost = 0
    for begin, end in offsets[unknown].tolist():
        stretch = text[begin:end]
        lost += len("".join(stretch.split()))
        unknowns[stretch if len(stretch) <= LONGEST_SHOWN else stretch[:LONGEST_SHOWN] + "…"] += 1
    solid = sum(map(len, text.split()))
    tally.characters += solid
    tally.known_characters += solid - lost
    spans = np.array([match.span() for match in _WORDS.finditer(text)], dtype=np.int64).reshape(-1, 2)
    chinese = np.fromiter((bool(_CHINESE.match(text, begin)) for begin in spans[:, 0]), dtype=bool, count=len(spans))
    # Both ends of the ranges never decrease: the tokens of a word are those that end behind its begin and begin
    # before its end.
    first = np.searchsorted(offsets[:, 1], spans[:, 0], side="right")
    last = np.searchsorted(offsets[:, 0], spans[:, 1], side="left")
    counts = np.maximum(last - first, 0)
    known = np.append(~unknown, False)
    tally.words += int((~chinese).sum())
    tally.word_tokens += int(counts[~chinese].sum())
    tally.whole_words += int(((counts == 1) & known[first] & ~chinese).sum())
    tally.chinese_characters += int(chinese.sum())
    marks = np.zeros(len(offsets) + 1, dtype=np.int64)
    np.add.at(marks, first[chinese & (counts > 0)], 1)
    np.add.at(marks, last[chinese & (counts > 0)], -1)
    tally.chinese_tokens += int((np.cumsum(marks) > 0).sum())


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
