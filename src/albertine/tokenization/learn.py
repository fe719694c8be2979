"""Learns a vocabulary, WordPiece or unigram: one function for texts, one for files, with a report.

Chinese is cut by character in WordPiece: every frequent character has a piece and none covers two. A unigram
vocabulary of Chinese text has pieces of several characters, as sentencepiece makes them.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from albertine.data.cleaning import simplifier
from albertine.data.corpus import CorpusFormat, ReadingReport, read_documents
from albertine.errors import ConfigError, DataError
from albertine.files import atomic_folder, write_json
from albertine.tokenization.albert_text import TextRules
from albertine.tokenization.normalization import CHINESE, Rules, is_punctuation
from albertine.tokenization.pieces import Kind
from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer
from albertine.tokenization.unigram import UnigramModel
from albertine.tokenization.unigram_learning import (
    GOOGLE_COVERAGE,
    GOOGLE_LONGEST,
    SAMPLE_CHARACTERS,
    learn_unigram,
)
from albertine.tokenization.vocabulary_report import HeldOut, LearningCounts, VocabularyReport, measured
from albertine.tokenization.word_counts import MOST_WORDS, WordCounts, count_words
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel
from albertine.tokenization.wordpiece_learning import CONTINUES, learn_pieces

__all__ = ["Layout", "learn_vocab", "learn_vocabulary"]

log = logging.getLogger("albertine")

Layout = Literal["compact", "bert"]
"""Where the special tokens stand: ids 0 to 4, or as in Google's BERT, [PAD] 0, [unused1] to [unused99] after it, [UNK]
100, [CLS] 101, [SEP] 102, [MASK] 103. Compact is usual: 99 rows that stand for nothing are a tenth of a small model's
embeddings. Choose bert to leave room for tokens to come, or for tools that count on Google's ids."""
WORDPIECE_COVERAGE = 0.9998
WORDPIECE_LONGEST = 24
RAREST_JOIN = 5
HELD_OUT_EVERY = 10
UNUSED = 99
_CHINESE = re.compile(f"[{CHINESE}]")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choices:
    """What `learn_vocabulary` and `learn_vocab` were asked for, checked."""

    size: int
    kind: Kind
    lowercase: bool
    coverage: float | None
    layout: Layout
    longest_piece: int | None
    rarest: int
    most_words: int
    sample_characters: int
    seed: int

    def __post_init__(self) -> None:
        for name, chosen, names in (("kind", self.kind, get_args(Kind)), ("layout", self.layout, get_args(Layout))):
            if chosen not in names:
                raise ConfigError("no such choice", where=name, received=repr(chosen), allowed=", ".join(names))
        if self.kind == "unigram" and self.layout != "compact":
            raise ConfigError(
                "a unigram vocabulary has the special tokens where ALBERT has them",
                where="layout",
                received=self.layout,
                allowed="compact, or the kind wordpiece",
            )
        if self.coverage is not None and not 0.0 < self.coverage <= 1.0:
            raise ConfigError("not a share", where="coverage", received=self.coverage, allowed="above 0, up to 1")
        least = 2 * len(SPECIAL_TOKENS) + (UNUSED if self.layout == "bert" else 0)
        lowest = {"size": least, "rarest": 1, "most_words": 1000, "sample_characters": 1000}
        lowest |= {} if self.longest_piece is None else {"longest_piece": 1}
        for name, value in lowest.items():
            if getattr(self, name) < value:
                raise ConfigError("too small", where=name, received=getattr(self, name), allowed=f"{value:,} or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Learnt:
    tokenizer: Tokenizer
    counts: LearningCounts


def learn_vocabulary(
    texts: Iterable[str],
    *,
    size: int = 8000,
    kind: Kind = "wordpiece",
    lowercase: bool = True,
    coverage: float | None = None,
    layout: Layout = "compact",
    longest_piece: int | None = None,
    rarest: int = RAREST_JOIN,
    most_words: int = MOST_WORDS,
    sample_characters: int = SAMPLE_CHARACTERS,
    seed: int = 0,
) -> Tokenizer:
    """Learn a vocabulary; the same texts give the same one to the byte, in any order.

    That holds for WordPiece while no words had to be forgotten (`most_words`), which a message would say.

    Args:
        texts: the training texts, and only those: a vocabulary learnt from test texts leaks them. They are read once,
            and memory is bounded however many they are.
        size: the most tokens it may have, special ones included; it has fewer where the texts hold no more.
        kind: wordpiece, joined by likelihood (`wordpiece_learning`), or unigram with ALBERT's settings
            (`unigram_learning`).
        lowercase: whether text is lower-cased and stripped of accents first.
        coverage: the share of characters to be covered, those beyond it become [UNK]; None is 0.9998 for wordpiece
            (ASCII is always covered) and Google's 0.99995 for unigram.
        layout: where the special tokens stand; see `Layout`.
        longest_piece: the most characters of a piece; None is 24 for wordpiece and Google's 16 for unigram.
        rarest: wordpiece: the fewest occurrences of a piece.
        most_words: wordpiece: the most distinct words held while counting; the rarest are forgotten beyond it.
        sample_characters: unigram: the most characters to learn from, of lines drawn by the seed.
        seed: of that drawing.

    Returns:
        The tokenizer. WordPiece has `[PAD] [UNK] [CLS] [SEP] [MASK]` as ids 0 to 4 (or Google's), unigram
        `<pad> <unk> [CLS] [SEP] [MASK]`.

    Raises:
        ConfigError: an option is out of range, or the size does not hold the characters; the message says what does.
        DataError: there is no text to learn from.
    """
    choices = _Choices(
        size=size,
        kind=kind,
        lowercase=lowercase,
        coverage=coverage,
        layout=layout,
        longest_piece=longest_piece,
        rarest=rarest,
        most_words=most_words,
        sample_characters=sample_characters,
        seed=seed,
    )
    return _learnt(texts, choices).tokenizer


def learn_vocab(
    corpus: Sequence[Path | str] | Path | str,
    *,
    out: Path | str,
    size: int = 30_000,
    kind: Kind = "wordpiece",
    lowercase: bool = True,
    coverage: float | None = None,
    layout: Layout = "compact",
    longest_piece: int | None = None,
    rarest: int = RAREST_JOIN,
    most_words: int = MOST_WORDS,
    sample_characters: int = SAMPLE_CHARACTERS,
    seed: int = 0,
    simplify: bool = False,
    against: Path | str | None = None,
    held_out_every: int = HELD_OUT_EVERY,
    encoding: str = "utf-8",
    on_error: str = "stop",
    format: CorpusFormat = "auto",
) -> VocabularyReport:
    """Learn a vocabulary from the files of a corpus, write it, and measure it on documents set apart.

    Args:
        corpus: files, folders and globs, as `albertine.data.corpus.read_documents` takes them.
        out: the folder to write: the tokenizer's files and the report (`vocabulary.json`).
        size: as the options after it, see `learn_vocabulary`.
        kind: the same.
        lowercase: the same.
        coverage: the same.
        layout: the same.
        longest_piece: the same.
        rarest: the same.
        most_words: the same.
        sample_characters: the same.
        seed: the same.
        simplify: turn traditional Chinese characters into simplified ones first, as `build_corpus` does on request.
        against: a tokenizer folder or vocabulary file to measure on the same texts.
        held_out_every: one document in so many is set apart; fewer where those are over two million characters.
        encoding: of plain text.
        on_error: "stop" or "skip" (counted and said) at a part of a file that cannot be read.
        format: of the files.

    Raises:
        ConfigError: an option is out of range; the target is not an empty place.
        DataError: a file cannot be read, or there is no text.
        TokenizerError: `against` is no tokenizer.
        MissingDependencyError: `simplify` without the package opencc.
    """
    choices = _Choices(
        size=size,
        kind=kind,
        lowercase=lowercase,
        coverage=coverage,
        layout=layout,
        longest_piece=longest_piece,
        rarest=rarest,
        most_words=most_words,
        sample_characters=sample_characters,
        seed=seed,
    )
    if held_out_every < 2:
        raise ConfigError("too small", where="held_out_every", received=held_out_every, allowed="2 or more")
    target = Path(out)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ConfigError(
            "something stands there already", where="out", received=str(out), next_step="Name a new folder"
        )
    other = None if against is None else load_tokenizer(against)
    held_out = HeldOut(held_out_every)
    reading = ReadingReport()
    paths = [corpus] if isinstance(corpus, str | Path) else corpus
    documents = read_documents(paths, encoding=encoding, on_error=on_error, format=format, report=reading)
    texts = (document.text for document in documents)
    learnt = _learnt(held_out.rest(map(simplifier(), texts) if simplify else texts), choices)
    if reading.skipped:
        log.warning("left out: %s", ", ".join(f"{count:,} {kind}" for kind, count in sorted(reading.skipped.items())))
    report = VocabularyReport(
        folder=str(out),
        learnt_from=learnt.counts,
        held_out_every=held_out.every,
        held_out_documents=len(held_out.texts),
        learnt=measured(learnt.tokenizer, held_out.texts, name=str(out)),
        against=None if other is None else measured(other, held_out.texts, name=str(against)),
    )
    with atomic_folder(target) as folder:
        learnt.tokenizer.save(folder)
        write_json(folder / "vocabulary.json", report.to_dict())
    return report


def _learnt(texts: Iterable[str], choices: _Choices) -> _Learnt:
    return _learnt_wordpiece(texts, choices) if choices.kind == "wordpiece" else _learnt_unigram(texts, choices)


def _learnt_unigram(texts: Iterable[str], choices: _Choices) -> _Learnt:
    rules = TextRules(lowercase=choices.lowercase, keep_accents=not choices.lowercase)
    learnt = learn_unigram(
        texts,
        size=choices.size,
        rules=rules,
        coverage=GOOGLE_COVERAGE if choices.coverage is None else choices.coverage,
        longest=choices.longest_piece or GOOGLE_LONGEST,
        sample_characters=choices.sample_characters,
        seed=choices.seed,
    )
    tokenizer = Tokenizer(UnigramModel(learnt.data, rules=rules, where="learnt vocabulary"))
    log.info(
        "vocabulary of %s tokens, learnt from %s of %s characters",
        f"{tokenizer.vocab_size:,}",
        f"{learnt.sampled_characters:,}",
        f"{learnt.characters:,}",
    )
    counts = LearningCounts(
        characters=learnt.characters,
        distinct_words=None,
        forgotten_words=0,
        forgotten_occurrences=0,
        sampled_characters=learnt.sampled_characters,
    )
    return _Learnt(tokenizer=tokenizer, counts=counts)


def _learnt_wordpiece(texts: Iterable[str], choices: _Choices) -> _Learnt:
    rules = Rules(lowercase=choices.lowercase, strip_accents=choices.lowercase)
    counted = count_words(texts, rules, most_words=choices.most_words)
    if not counted.words:
        raise DataError("no text to learn a vocabulary from", next_step="Check the files and their format")
    special = _special_tokens(choices.layout)
    characters, covered = _covered(counted, WORDPIECE_COVERAGE if choices.coverage is None else choices.coverage)
    alphabet = [token for character in characters for token in _tokens_of(character)]
    room = choices.size - len(special) - len(alphabet)
    total = counted.characters.total()
    if room < 0:
        raise _too_small(counted, choices.size, len(special), needed=len(special) + len(alphabet))
    pieces = learn_pieces(
        counted.words,
        alphabet=frozenset(characters),
        room=room,
        rarest=choices.rarest,
        longest=choices.longest_piece or WORDPIECE_LONGEST,
    )
    log.info(
        "vocabulary of %s tokens: %s characters, which cover %.3f %% of %s, and %s longer pieces",
        f"{len(special) + len(alphabet) + len(pieces):,}",
        f"{len(characters):,}",
        100 * covered / total,
        f"{total:,}",
        f"{len(pieces):,}",
    )
    if counted.forgotten_words:
        log.info(
            "to bound memory %s rare words (%s occurrences) were forgotten; a count may be %s too low",
            f"{counted.forgotten_words:,}",
            f"{counted.forgotten_occurrences:,}",
            f"{counted.largest_error:,}",
        )
    counts = LearningCounts(
        characters=total,
        distinct_words=len(counted.words),
        forgotten_words=counted.forgotten_words,
        forgotten_occurrences=counted.forgotten_occurrences,
        sampled_characters=None,
    )
    model = WordPieceModel([*special, *alphabet, *pieces], rules=rules, where="learnt vocabulary")
    return _Learnt(tokenizer=Tokenizer(model), counts=counts)


def _special_tokens(layout: Layout) -> list[str]:
    if layout == "compact":
        return list(SPECIAL_TOKENS)
    pad, *others = SPECIAL_TOKENS
    return [pad, *(f"[unused{index}]" for index in range(1, UNUSED + 1)), *others]


def _ranked(counted: WordCounts) -> list[tuple[str, int]]:
    """Return the characters in the order in which they are taken: ASCII, then the others by frequency."""
    return sorted(counted.characters.items(), key=lambda entry: (not entry[0].isascii(), -entry[1], entry[0]))


def _covered(counted: WordCounts, coverage: float) -> tuple[list[str], int]:
    """Return the characters that reach the coverage, all of ASCII among them, and how many of the text's they are."""
    target = coverage * counted.characters.total()
    chosen: list[str] = []
    covered = 0
    for character, count in _ranked(counted):
        if covered >= target and not character.isascii():
            break
        chosen.append(character)
        covered += count
    return chosen, covered


def _tokens_of(character: str) -> tuple[str, ...]:
    """Return the tokens that spell a character wherever it stands; Chinese and punctuation are always whole words."""
    if is_punctuation(character) or _CHINESE.match(character):
        return (character,)
    return character, CONTINUES + character


def _too_small(counted: WordCounts, size: int, special: int, *, needed: int) -> ConfigError:
    room = size - special
    fitting, coverage = 0, 0.0
    for character, count in _ranked(counted):
        room -= len(_tokens_of(character))
        if room < 0:
            break
        fitting += count
        coverage = 0.0 if character.isascii() else math.floor(1e4 * fitting / counted.characters.total()) / 1e4
    return ConfigError(
        "the vocabulary is too small for the characters of these texts",
        where="size",
        received=size,
        allowed=f"{needed:,} or more" + (f", or a coverage of {coverage} or less" if coverage else ""),
    )
