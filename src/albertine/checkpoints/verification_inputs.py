"""What two models are compared on: the same texts through both tokenizers, or random ids where one has none."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from albertine.errors import ConfigError, DataError
from albertine.models.config import EncoderConfig
from albertine.records import Encoded, Tokens
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["VerificationInputs", "verification_inputs"]

_TEXTS: tuple[str | tuple[str, str], ...] = (
    "好",
    "Hello, world!",
    "这家店的面很好吃，下次还会再来。",
    ("今天天气怎么样？", "北京今天晴，最高气温二十三度。"),
    ("How old is the bridge?", "It was opened in 1937, twelve years after the first plans were drawn."),
    "快递三天才到，包装也破了，客服说会补发一件新的，希望这次没有问题。Model X-200 (2019) 😀",
    "Unbelievably, the naïve café owner re-read Dvořák's 14-page e-mail: https://example.com/a?b=c #tag @name 3.14%",
)
_LONG_TEXT = "the quick brown fox jumps over a lazy dog while 北京 的 天气 越来越 好 and nobody knows why"
_LONGEST = 1024
"""Attention takes memory with the square of the length; positions beyond it are compared as embeddings."""
_RANDOM_LENGTHS = (1, 2, 3, 7, 18, 45)
_SEED = 20190926
_SPECIAL = ("pad", "unk", "cls", "sep", "mask")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationInputs:
    """Token ids that both models take."""

    rows: tuple[Encoded, ...]
    description: str
    """How many, how long, and where from."""
    tokenizer_difference: str | None = None
    """Where the two tokenizers part; None where they agree or were not compared."""
    notes: tuple[str, ...] = ()
    """What had to be assumed."""


def verification_inputs(
    a: EncoderConfig,
    b: EncoderConfig,
    tokenizers: tuple[Tokenizer | None, Tokenizer | None],
    texts: Sequence[str | tuple[str, str]] | None,
) -> VerificationInputs:
    """Make the input on which two models are compared.

    Args:
        a: the configuration of the first.
        b: of the second.
        tokenizers: theirs.
        texts: texts and pairs of texts; None for the built-in ones.

    Raises:
        ConfigError: no texts.
        DataError: a text is not a string, or a pair does not hold two.
    """
    limit = min(a.max_position_embeddings, b.max_position_embeddings, _LONGEST)
    found = _from_texts(a, b, tokenizers, _checked(texts), limit)
    if 1 not in (a.type_vocab_size, b.type_vocab_size):
        return found
    rows = tuple(replace(row, token_type_ids=np.zeros_like(row.token_type_ids)) for row in found.rows)
    note = "a model has a single segment: second texts were marked as belonging to it"
    return replace(found, rows=rows, notes=(*found.notes, note))


def _from_texts(
    a: EncoderConfig,
    b: EncoderConfig,
    tokenizers: tuple[Tokenizer | None, Tokenizer | None],
    texts: Sequence[str | tuple[str, str]] | None,
    limit: int,
) -> VerificationInputs:
    vocabulary = min(a.vocab_size, b.vocab_size)
    first, second = tokenizers
    if first is None or second is None:
        absent = [name for name, tokenizer in (("a", first), ("b", second)) if tokenizer is None]
        ignored = "" if texts is None else ", and the given texts are not used"
        return _random(vocabulary, limit, f"no tokenizer in {' and '.join(absent)}: the ids are random{ignored}")
    entries = (*_TEXTS, _long_text(limit)) if texts is None else tuple(texts)
    cut = _tokenize(first, entries, limit)
    difference = _difference(first, second, entries, cut, _tokenize(second, entries, limit))
    if int(cut.ids.max()) >= vocabulary:
        note = f"the tokenizer gives id {int(cut.ids.max())} and a model has {vocabulary} words: the ids are random"
        return replace(_random(vocabulary, limit, note), tokenizer_difference=difference)
    rows = tuple(cut.rows())
    notes = (
        ()
        if texts is None or not len(cut.truncated)
        else (f"{len(cut.truncated)} of the texts were cut to {limit} tokens",)
    )
    return VerificationInputs(
        rows=rows, description=_described("texts", rows), tokenizer_difference=difference, notes=notes
    )


def _checked(texts: Sequence[str | tuple[str, str]] | None) -> Sequence[str | tuple[str, str]] | None:
    """Return the texts, which are there and whose pairs hold two; the tokenizer checks that they are strings."""
    if texts is None:
        return None
    if isinstance(texts, str):
        raise DataError(
            "a list of texts was expected", where="texts", received="one string", next_step="Put it into a list"
        )
    if not len(texts):
        raise ConfigError("there are no texts to compare on", where="texts", allowed="at least one, or None")
    for entry in texts:
        if isinstance(entry, tuple) and len(entry) != 2:
            raise DataError("a pair does not hold two texts", received=repr(entry), allowed="(first, second)")
    return texts


def _tokenize(tokenizer: Tokenizer, entries: Sequence[str | tuple[str, str]], limit: int) -> Tokens:
    first = [entry[0] if isinstance(entry, tuple) else entry for entry in entries]
    second = [entry[1] if isinstance(entry, tuple) else None for entry in entries]
    return tokenizer.tokenize(first, second, max_length=limit, offsets=False)


def _long_text(limit: int) -> str:
    """Return a text of at least `limit` tokens in any vocabulary: a word is one token or more."""
    return " ".join(itertools.islice(itertools.cycle(_LONG_TEXT.split()), limit))


def _difference(
    a: Tokenizer, b: Tokenizer, entries: Sequence[str | tuple[str, str]], first: Tokens, second: Tokens
) -> str | None:
    """Say where two tokenizers part first; None where they have the same vocabulary and settings."""
    for number, (one, other) in enumerate(zip(first.rows(), second.rows(), strict=True)):
        text = repr(entries[number])
        shown = text if len(text) <= 40 else text[:40] + "…"
        for place, (left, right) in enumerate(zip(one.input_ids.tolist(), other.input_ids.tolist(), strict=False)):
            if left != right:
                return (
                    f"text {number + 1} ({shown}), token {place}: id {left} ({a.id_to_token(left)}) in a, "
                    f"id {right} ({b.id_to_token(right)}) in b"
                )
        if len(one) != len(other):
            return f"text {number + 1} ({shown}): {len(one)} tokens in a, {len(other)} in b"
    for name in _SPECIAL:
        left, right = getattr(a, f"{name}_id"), getattr(b, f"{name}_id")
        if left != right:
            return f"the {name} token has id {left} in a and {right} in b"
    if a.vocab_size != b.vocab_size:
        return f"{a.vocab_size:,} tokens in a, {b.vocab_size:,} in b"
    for index, (ours, theirs) in enumerate(zip(a.model.tokens, b.model.tokens, strict=True)):
        if ours != theirs:
            return f"token {index} of the vocabulary is {ours!r} in a and {theirs!r} in b"
    if a.model.settings() != b.model.settings():
        return f"the settings are {a.model.settings()} in a and {b.model.settings()} in b"
    return None


def _random(vocabulary: int, limit: int, note: str) -> VerificationInputs:
    generator = np.random.default_rng(_SEED)
    rows = []
    for length in (*(length for length in _RANDOM_LENGTHS if length < limit), limit):
        second = int(generator.integers(1, length + 1))  # where the second text begins; at the end there is none
        types = (np.arange(length) >= second).astype(np.uint8)
        ids = generator.integers(0, vocabulary, size=length, dtype=np.int32)
        rows.append(Encoded(input_ids=ids, token_type_ids=types))
    return VerificationInputs(rows=tuple(rows), description=_described("rows of random ids", rows), notes=(note,))


def _described(what: str, rows: Sequence[Encoded]) -> str:
    lengths = [len(row) for row in rows]
    return f"{len(rows)} {what}, {sum(lengths):,} tokens, the longest {max(lengths)}"
