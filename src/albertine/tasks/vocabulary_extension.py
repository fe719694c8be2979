"""Another vocabulary for a trained encoder: rows of its word tables made out of the rows it has.

V old and W new tokens, E width of the word table.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from albertine.errors import TokenizerError
from albertine.models.encoder import Encoder
from albertine.models.heads import PretrainingModel
from albertine.records import IntArray
from albertine.tokenization.normalization import CHINESE, is_punctuation
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["ExtendedModel", "VocabularyReport", "extend_vocabulary"]

logger = logging.getLogger("albertine")

M = TypeVar("M", Encoder, PretrainingModel)

_INSIDE = "##"
_BLANK = "▁"
_UNUSED = re.compile(r"\[unused\d+\]")
_CHINESE = re.compile(f"[{CHINESE}]")
_NOISE = 0.1
"""How far a row without any piece lies from the mean row, in standard deviations of the rows."""
_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabularyReport:
    """Where the rows of the new vocabulary came from; the three counts add up to its size."""

    copied: int
    """Tokens of both vocabularies, special ones included: their row as it was."""
    averaged: int
    """Tokens that the old vocabulary can spell: the mean of the rows of its pieces."""
    fresh: int
    """Tokens that it cannot: the mean of all rows with a little noise."""
    fresh_tokens: tuple[str, ...]
    """The first few of those."""
    dropped: int
    """Tokens of the old vocabulary that the new one does not have."""

    def describe(self) -> str:
        """Put it on one line."""
        shown = f" ({', '.join(self.fresh_tokens)}{', …' if self.fresh > _SHOWN else ''})" if self.fresh else ""
        return (
            f"new vocabulary: {self.copied:,} rows copied, {self.averaged:,} averaged over the old pieces, "
            f"{self.fresh:,} fresh{shown}; {self.dropped:,} old tokens dropped"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendedModel(Generic[M]):
    """A model with its new vocabulary."""

    module: M
    """A new module of the same kind, in the dtype, on the device and in the mode of the one given."""
    report: VocabularyReport


def extend_vocabulary(module: M, old: Tokenizer, new: Tokenizer, *, seed: int = 0) -> ExtendedModel[M]:
    """Give a trained encoder another vocabulary, larger, smaller or altogether different, before training goes on.

    A token of both vocabularies keeps its row; special tokens find each other by what they are for. Any other token
    gets the mean of the rows of the pieces that the old tokenizer cuts its text into (pieces as they stand inside a
    word for a token that stands there), and one whose text the old tokenizer does not know gets the mean of all rows
    and a little noise, so that such tokens can be told apart. The masked-word head's bias, and its table where that is
    not the encoder's own, are made in the same way. Everything else is copied.

    Args:
        module: an `Encoder` or a `PretrainingModel`; it stays as it is.
        old: the tokenizer it was trained with.
        new: the tokenizer it is to be trained with; of the same kind or the other.
        seed: of the noise.

    Raises:
        TokenizerError: the old tokenizer is not this model's.
    """
    if old.vocab_size > module.config.vocab_size:
        raise TokenizerError(
            "the old tokenizer does not belong to this model",
            received=f"{old.vocab_size} tokens",
            allowed=f"up to {module.config.vocab_size}, the rows of the model's word table",
        )
    rows = _sources(old, new)
    config = dataclasses.replace(module.config, vocab_size=new.vocab_size, pad_token_id=new.pad_id)
    with torch.device("meta"):  # every weight is replaced below
        if isinstance(module, PretrainingModel):
            made: Encoder | PretrainingModel = PretrainingModel(
                config, masked_word=module.masked_word_head is not None, pair=module.pair_head is not None
            )
        else:
            made = Encoder(config)
    prefix = "encoder." if isinstance(module, PretrainingModel) else ""
    tables = (f"{prefix}embeddings.word_embeddings.weight", "masked_word_head.decoder.weight")
    tensors = {}
    for name, tensor in module.state_dict().items():
        if name in tables or name == "masked_word_head.bias":
            generator = torch.Generator().manual_seed(seed) if name in tables else None
            tensors[name] = rows.filled(tensor, generator)
        else:
            tensors[name] = tensor.clone()
    made.load_state_dict(tensors, assign=True)
    made.train(module.training)
    report = rows.report(old, new)
    logger.info("%s", report.describe())
    assert isinstance(made, type(module)), "made of the same kind"
    return ExtendedModel(module=made, report=report)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sources:
    """The old rows that every new row is the mean of."""

    rows: IntArray
    """[R] ids in the old vocabulary, those of one new token after those of another."""
    owners: IntArray
    """[R] ids in the new vocabulary, rising."""
    copied: npt.NDArray[np.bool_]
    """[W] bool: the token stands in both vocabularies."""
    ordinary: IntArray
    """Old ids that the mean row is made of: no special tokens, no unused ones."""

    def filled(self, table: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the new table, [W, …] from [V, …], in the dtype and on the device of the old one.

        Args:
            table: the old one.
            generator: of the noise in rows without a source; None for none.
        """
        before = table.detach().to("cpu", torch.float64)
        owners = torch.from_numpy(self.owners)
        made = torch.zeros(len(self.copied), *before.shape[1:], dtype=torch.float64)
        made.index_add_(0, owners, before[torch.from_numpy(self.rows)])
        counts = torch.bincount(owners, minlength=len(made)).view(-1, *[1] * (before.dim() - 1))
        made /= counts.clamp_min(1)
        without = counts.flatten() == 0
        known = before[torch.from_numpy(self.ordinary)]
        made[without] = known.mean(dim=0)
        if generator is not None:
            noise = torch.randn(int(without.sum()), *before.shape[1:], dtype=torch.float64, generator=generator)
            made[without] += _NOISE * known.std(dim=0, correction=0) * noise
        return made.to(table.device, table.dtype)

    def report(self, old: Tokenizer, new: Tokenizer) -> VocabularyReport:
        """Count where the rows came from."""
        sources = np.bincount(self.owners, minlength=len(self.copied))
        fresh = np.flatnonzero(sources == 0)
        copied = int(self.copied.sum())
        kept = np.unique(self.rows[self.copied[self.owners]])
        return VocabularyReport(
            copied=copied,
            averaged=new.vocab_size - copied - len(fresh),
            fresh=len(fresh),
            fresh_tokens=tuple(new.id_to_token(int(index)) for index in fresh[:_SHOWN]),
            dropped=old.vocab_size - len(kept),
        )


def _sources(old: Tokenizer, new: Tokenizer) -> _Sources:
    """Find the old rows of every new token."""
    pieces: list[Sequence[int]] = [()] * new.vocab_size
    copied = np.zeros(new.vocab_size, dtype=np.bool_)
    roles = {getattr(new, f"{role}_id"): getattr(old, f"{role}_id") for role in ("pad", "unk", "cls", "sep", "mask")}
    spelt: list[int] = []
    for index in range(new.vocab_size):
        token = new.id_to_token(index)
        same = roles.get(index, old.token_to_id(token) if old.kind == new.kind else None)
        if same is not None:
            pieces[index], copied[index] = (same,), True
        elif not _UNUSED.fullmatch(token):
            spelt.append(index)
    texts = [_text(new.id_to_token(index), new) for index in spelt]
    found = old.tokenize([one.text for one in texts], special_tokens=False, offsets=False)
    hidden = old.special_ids
    for place, index in enumerate(spelt):
        ids = found.ids[found.starts[place] : found.starts[place + 1]].tolist()
        if ids and (texts[place].inside or _stands_alone(texts[place].text)):
            ids = _inside(ids, texts[place].text, old)
        pieces[index] = [one for one in ids if one not in hidden]
    ordinary = [
        index
        for index in range(old.vocab_size)
        if index not in hidden and not _UNUSED.fullmatch(old.id_to_token(index))
    ]
    counts = [len(one) for one in pieces]
    return _Sources(
        rows=np.array([one for group in pieces for one in group], dtype=np.int64),
        owners=np.repeat(np.arange(new.vocab_size, dtype=np.int64), counts),
        copied=copied,
        ordinary=np.array(ordinary or range(old.vocab_size), dtype=np.int64),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _TokenText:
    """What a token says."""

    text: str
    inside: bool
    """Whether it stands inside a word, not at its beginning."""


def _text(token: str, tokenizer: Tokenizer) -> _TokenText:
    if tokenizer.kind == "wordpiece":
        return _TokenText(text=token.removeprefix(_INSIDE), inside=token.startswith(_INSIDE) and token != _INSIDE)
    return _TokenText(text=token.replace(_BLANK, " ").strip(), inside=not token.startswith(_BLANK))


def _stands_alone(text: str) -> bool:
    """Say whether a text begins with a character that is a word by itself: punctuation, or a Chinese character."""
    return is_punctuation(text[0]) or _CHINESE.match(text) is not None


def _inside(ids: list[int], text: str, old: Tokenizer) -> list[int]:
    """Put in the place of a first piece that opens a word the same one as it stands inside a word, where there is one.

    WordPiece never uses the inner form of characters that are words by themselves: their rows were not trained.
    """
    first = old.id_to_token(ids[0])
    if old.kind == "wordpiece":
        inner = None if _stands_alone(text) else old.token_to_id(_INSIDE + first)
    elif first == _BLANK and len(ids) > 1:
        return ids[1:]
    else:
        inner = old.token_to_id(first.removeprefix(_BLANK))
    return ids if inner is None else [inner, *ids[1:]]
