"""Learns a unigram vocabulary with the sentencepiece library and the settings of Google's English ALBERT.

The settings stand in the `spiece.model` that Google published (its trainer_spec): unigram, at most 16 characters a
piece, a million seeds, 16 threads, nmt_nfkc, coverage 0.99995, `<pad> <unk> [CLS] [SEP] [MASK] ( ) " - . – £ €` first.
Google drew 10 million sentences at random. Here the sample is bounded in characters, because the library's memory
grows with them, by 30 to 60 bytes each, and it is drawn by the hash of the line and a seed: the same lines of a corpus
are taken in whatever order they come. The number of threads is part of the result, which adds up in floating point in
each of them, and is therefore fixed.
"""

from __future__ import annotations

import hashlib
import heapq
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import sentencepiece

from albertine.errors import ConfigError, DataError, FailureError
from albertine.tokenization.albert_text import TextRules, prepared
from albertine.tokenization.word_counts import cut_text

__all__ = ["GOOGLE_COVERAGE", "GOOGLE_LONGEST", "SAMPLE_CHARACTERS", "LearntUnigram", "learn_unigram"]

GOOGLE_COVERAGE = 0.99995
GOOGLE_LONGEST = 16
SAMPLE_CHARACTERS = 10_000_000
"""The library then takes 300 MB for English and 600 MB for Chinese."""
LONGEST_LINE = 1000
"""Longer lines are cut, at white space where there is any: a cut costs at most one piece."""
THREADS = 16
USER_DEFINED = ("(", ")", '"', "-", ".", "–", "£", "€")
_TOO_SMALL = re.compile(r"smaller than required_chars\. \d+ vs (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class LearntUnigram:
    """A SentencePiece model and what it was learnt from."""

    data: bytes
    """The content of `spiece.model`."""
    characters: int
    """Characters of the corpus, line ends left out."""
    sampled_characters: int
    """Those of the lines that it was learnt from."""


@dataclass(slots=True, kw_only=True)
class _Sample:
    """The lines of the lowest hashes that together stay within a number of characters."""

    lines: list[tuple[int, str]]
    """A heap: the negative hash, so that the highest comes first, and the line."""
    characters: int
    """Of those lines."""
    seen: int
    """Characters of all lines met."""


def learn_unigram(
    texts: Iterable[str],
    *,
    size: int,
    rules: TextRules,
    coverage: float = GOOGLE_COVERAGE,
    longest: int = GOOGLE_LONGEST,
    sample_characters: int = SAMPLE_CHARACTERS,
    seed: int = 0,
) -> LearntUnigram:
    """Learn a unigram vocabulary.

    Args:
        texts: read once.
        size: the most pieces, special ones included; there are fewer where the texts hold no more.
        rules: the preparation, the one that the model will be used with.
        coverage: the share of characters to be covered.
        longest: the most characters of a piece.
        sample_characters: the most characters to learn from.
        seed: chooses the sample, where one is needed.

    Raises:
        DataError: there is no text.
        ConfigError: the size does not hold the characters to be covered.
        FailureError: the library fails in another way.
    """
    sample = _sampled(texts, rules, sample_characters, seed)
    if not sample.lines:
        raise DataError("no text to learn a vocabulary from", next_step="Check the files and their format")
    lines = [line for _, line in sorted(sample.lines, reverse=True)]
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="unigram",
            vocab_size=size,
            hard_vocab_limit=False,
            pad_id=0,
            unk_id=1,
            bos_id=-1,
            eos_id=-1,
            control_symbols=["[CLS]", "[SEP]", "[MASK]"],
            user_defined_symbols=list(USER_DEFINED),
            character_coverage=coverage,
            max_sentencepiece_length=longest,
            max_sentence_length=8 * LONGEST_LINE,
            num_threads=THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _explained(error, size) from error
    return LearntUnigram(data=model.getvalue(), characters=sample.seen, sampled_characters=sample.characters)


def _sampled(texts: Iterable[str], rules: TextRules, most: int, seed: int) -> _Sample:
    """Read all lines and keep a sample of them, prepared."""
    sample = _Sample(lines=[], characters=0, seen=0)
    key = str(seed).encode()
    highest = 1 << 64
    for line in _lines(texts):
        sample.seen += len(line)
        digest = hashlib.blake2b(line.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
        rank = int.from_bytes(digest, "big")
        if rank >= highest:
            continue
        ready = prepared(line, rules)
        if not ready:
            continue
        heapq.heappush(sample.lines, (-rank, ready))
        sample.characters += len(ready)
        while sample.characters > most and len(sample.lines) > 1:
            # The highest hash goes, and none as high comes back: what stays does not depend on the order.
            negative, dropped = heapq.heappop(sample.lines)
            highest = -negative
            sample.characters -= len(dropped)
    return sample


def _lines(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for line in text.splitlines():
            yield from cut_text(line, LONGEST_LINE)


def _explained(error: RuntimeError, size: int) -> ConfigError | FailureError:
    """Return the error of the library in the user's terms."""
    found = _TOO_SMALL.search(str(error))
    if found:
        return ConfigError(
            "the vocabulary is too small for the characters of these texts",
            where="size",
            received=size,
            allowed=f"{found[1]} or more, or a lower coverage",
        )
    return FailureError("SentencePiece cannot learn from these texts", received=str(error).strip())
