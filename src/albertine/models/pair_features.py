"""What two texts have in common, as a small vector of numbers that do not change when the texts change places.

N pairs, D features. Words are those of `albertine.models.ngrams`: a Chinese character is a word of its own.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from albertine.errors import ConfigError
from albertine.models.ngrams import words_of

__all__ = ["FEATURES", "KINDS", "Frequencies", "Kind", "OverlapConfig", "PairFeatures"]

Indices = npt.NDArray[np.int64]
FloatRows = npt.NDArray[np.float64]
Kind = Literal["characters", "words", "word-pairs"]
"""characters: three in a row inside a word, its two edges counted as blanks, so that a Chinese character is one of
them; words; and two words in a row, the text's edges counted as words."""
KINDS: tuple[Kind, ...] = get_args(Kind)

FEATURES = (
    "character_cosine",  # of TF-IDF vectors, one for each kind of n-gram
    "word_cosine",
    "word_pair_cosine",
    "word_jaccard",  # what both have by what either has
    "word_containment",  # what both have by what the poorer one has
    "word_pair_jaccard",
    "word_pair_containment",
    "character_pair_jaccard",  # two characters in a row, blanks and punctuation too
    "character_pair_containment",
    "length_ratio",  # of words, the shorter by the longer
    "different_numbers",  # the share of the numbers that stand in one text alone
    "different_negation",  # 1 where one text denies something and the other does not
    "rarest_difference",  # the highest idf of a word that stands in one text alone
    "length",  # logarithm of the words of the longer text
)
"""The features, in the order of their columns."""

_CHARACTERS = 3
_ENGLISH_NEGATIONS = ("no", "not", "never", "none", "nobody", "nothing", "neither", "nor", "without", "cannot", "t")
_NEGATIONS = frozenset((*_ENGLISH_NEGATIONS, *"不没沒无無未勿"))
"""t is what is left of don't."""
_BLOCK = 1024
"""Pairs that are in memory at a time."""
_CODE_BITS = 21
_CODES = 1 << 2 * _CODE_BITS
"""Two characters in a row, as their code points, are below."""
_REPEATED = 1000
"""From so many texts on an n-gram is kept only where two of them have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapConfig:
    """Which features of a pair count, and how the linear model over them is held back."""

    features: tuple[str, ...] = FEATURES
    """Where a development split is given, all of these or `character_cosine` alone are kept, whichever is better."""
    max_features: int = 100_000
    """N-grams of each kind whose frequency is kept, the most frequent first; others count as unseen."""
    inverse_regularization: float | None = None
    """C of the logistic regression, or one over the ridge; None to choose it on the development split."""

    def __post_init__(self) -> None:
        if not self.features or len(set(self.features)) < len(self.features) or set(self.features) - set(FEATURES):
            raise ConfigError(
                "unknown, doubled or no features",
                where="features",
                received=list(self.features),
                allowed=", ".join(FEATURES),
            )
        if self.max_features < 1:
            raise ConfigError("must be positive", where="max_features", received=self.max_features)
        if self.inverse_regularization is not None and self.inverse_regularization <= 0:
            raise ConfigError("must be positive", where="inverse_regularization", received=self.inverse_regularization)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frequencies:
    """How rare the n-grams of the training texts are."""

    texts: int
    """Different texts, both sides of all pairs."""
    counts: Mapping[Kind, Mapping[str, int]]
    """In how many of them each n-gram stands."""

    @classmethod
    def learn(cls, texts: Iterable[str], most: int) -> Frequencies:
        """Count the n-grams of texts, equal texts once.

        Args:
            texts: both sides of all pairs.
            most: n-grams to keep of each kind.
        """
        words = [words_of(text) for text in dict.fromkeys(texts)]
        least = 2 if len(words) >= _REPEATED else 1

        def counted(ngrams: Iterable[Iterable[str]]) -> dict[str, int]:
            """Keep the most frequent n-grams, ties by spelling."""
            counts = Counter(chain.from_iterable(map(set, ngrams)))
            kept = [ngram for ngram, count in counts.items() if count >= least]
            return {one: counts[one] for one in sorted(kept, key=lambda ngram: (-counts[ngram], ngram))[:most]}

        single = counted(words)
        known = single.keys() | {""}
        # a pair with a rare word is rare: such pairs, which are most, need not be held in memory
        double = ([f"{one} {two}" for one, two in pairwise(["", *text, ""]) if {one, two} <= known] for text in words)
        inside = (chain.from_iterable(map(_word_characters, text)) for text in words)
        return cls(
            texts=len(words),
            counts={"characters": counted(inside), "words": single, "word-pairs": counted(double)},
        )


class PairFeatures:
    """The features of pairs of texts.

    The cosines are those of scikit-learn's `TfidfVectorizer(sublinear_tf=True)` as long as all n-grams are known. Of
    an unknown one the idf is that of document frequency 0, so that a new word in both texts speaks for them, and one in
    a single text against them.

    Args:
        frequencies: of the training texts' n-grams.
    """

    def __init__(self, frequencies: Frequencies) -> None:
        self.frequencies = frequencies
        texts = frequencies.texts
        self._unseen = math.log(1 + texts) + 1
        self._idf = {
            kind: {ngram: math.log((1 + texts) / (1 + count)) + 1 for ngram, count in counts.items()}
            for kind, counts in frequencies.counts.items()
        }

    def of(self, texts: Sequence[str], pairs: Sequence[str]) -> FloatRows:
        """Return the features of N pairs, [N, D], the columns as in `FEATURES`.

        Args:
            texts: the first texts.
            pairs: the second texts.
        """
        parts = [
            self._block([*texts[start : start + _BLOCK], *pairs[start : start + _BLOCK]])
            for start in range(0, len(texts), _BLOCK)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, len(FEATURES)))

    def _block(self, texts: Sequence[str]) -> FloatRows:
        """Return the features of some pairs, given as all first and then all second texts."""
        words_in = [words_of(text) for text in texts]
        lengths = np.fromiter(map(len, words_in), dtype=np.int64, count=len(texts))
        flat = list(chain.from_iterable(words_in))
        places = {word: place for place, word in enumerate(dict.fromkeys(flat))}
        ids, owners = _indices(places, flat), np.repeat(np.arange(len(texts)), lengths)
        words = _Shared(ids, owners, len(texts), self._weights("words", places))
        characters = self._characters(list(places), ids, owners, len(texts))
        double = self._word_pairs(list(places), ids, lengths)
        letters = _two_characters(texts)
        numbers = np.fromiter((word[0].isdigit() for word in places), dtype=np.float64, count=len(places))
        negations = np.fromiter((word in _NEGATIONS for word in places), dtype=np.float64, count=len(places))
        either, common = words.total(numbers)
        first, second = np.split(lengths, 2)
        denies, denies_too = np.split(words.of_each(negations) > 0, 2)
        columns = [
            characters.cosine(),
            words.cosine(),
            double.cosine(),
            *words.shares(),
            *double.shares(),
            *letters.shares(),
            np.minimum(first, second) / np.maximum(np.maximum(first, second), 1),
            np.divide(either - common, either, out=np.zeros(len(first)), where=either > 0),
            denies != denies_too,
            words.rarest_difference(),
            np.log1p(np.maximum(first, second)),
        ]
        return np.stack(columns, axis=1).astype(np.float64)

    def _weights(self, kind: Kind, ngrams: Collection[str]) -> FloatRows:
        """Return the idf of n-grams, [F]."""
        idf, unseen = self._idf[kind], self._unseen
        return np.fromiter((idf.get(one, unseen) for one in ngrams), dtype=np.float64, count=len(ngrams))

    def _characters(self, distinct: list[str], ids: Indices, owners: Indices, texts: int) -> _Shared:
        """Look into every different word once, then spread what is in it over all its places."""
        inside = list(map(_word_characters, distinct))
        flat = list(chain.from_iterable(inside))
        places = {ngram: place for place, ngram in enumerate(dict.fromkeys(flat))}
        sizes = np.fromiter(map(len, inside), dtype=np.int64, count=len(inside))
        starts = np.cumsum(sizes) - sizes
        repeated = sizes[ids]
        within = np.arange(repeated.sum()) - np.repeat(np.cumsum(repeated) - repeated, repeated)
        spread = _indices(places, flat)[np.repeat(starts[ids], repeated) + within]
        return _Shared(spread, np.repeat(owners, repeated), texts, self._weights("characters", places))

    def _word_pairs(self, distinct: list[str], ids: Indices, lengths: Indices) -> _Shared:
        """Give every text an edge (0) before its first word, and let the next text's be the edge after its last."""
        texts = len(lengths)
        edged = np.zeros(len(ids) + texts + 1, dtype=np.int64)
        owners = np.repeat(np.arange(texts), lengths + 1)
        edges = np.cumsum(lengths + 1) - (lengths + 1)
        edged[np.delete(np.arange(len(ids) + texts), edges)] = ids + 1
        base = len(distinct) + 1
        keys, places = np.unique(edged[:-1] * base + edged[1:], return_inverse=True)
        named = ["", *distinct]
        spelled = [
            f"{named[first]} {named[second]}" for first, second in zip(*map(list, divmod(keys, base)), strict=True)
        ]
        return _Shared(places, owners, texts, self._weights("word-pairs", spelled))


class _Shared:
    """The n-grams of some pairs of texts, and which of them stand in both texts of their pair.

    Args:
        ids: [M] which n-gram stands somewhere, repetitions included.
        owners: [M] in which text; those of the first half are the first texts of the pairs.
        texts: how many texts, twice the pairs.
        idf: [F] by n-gram; None where nothing but their number counts, and `ids` are below `_CODES`.
    """

    def __init__(self, ids: Indices, owners: Indices, texts: int, idf: FloatRows | None = None) -> None:
        self.pairs = texts // 2
        self._idf = idf
        size = _CODES if idf is None else max(1, len(idf))
        keys, self._times = np.unique(owners * size + ids, return_counts=True)
        self._owners, self._ids = np.divmod(keys, size)
        middle = int(np.searchsorted(keys, self.pairs * size))
        first, second = keys[:middle], keys[middle:] - self.pairs * size
        found = np.searchsorted(second, first)
        found[found == len(second)] = 0
        shared = second[found] == first if len(second) else np.zeros(len(first), dtype=np.bool_)
        self._first = np.flatnonzero(shared)
        self._second = middle + found[shared]

    def of_each(self, values: FloatRows | None = None) -> FloatRows:
        """Return the sum of n-grams' values (1 each) over every text, [texts]; repetitions count once."""
        return self._summed(self._owners, None if values is None else values[self._ids], 2 * self.pairs)

    def total(self, values: FloatRows | None = None) -> tuple[FloatRows, FloatRows]:
        """Return the sums of n-grams' values (1 each) over what either text of a pair has, and over what both have."""
        first, second = np.split(self.of_each(values), 2)
        common = self._summed(
            self._owners[self._first], None if values is None else values[self._ids[self._first]], self.pairs
        )
        return first + second - common, common

    def shares(self) -> tuple[FloatRows, FloatRows]:
        """Return Jaccard's index and the containment of the poorer text; nothing beside nothing is equal."""
        either, common = self.total()
        poorer = np.minimum(*np.split(self.of_each(), 2))
        jaccard = np.divide(common, either, out=np.ones(self.pairs), where=either > 0)
        return jaccard, np.divide(common, poorer, out=(either == 0).astype(np.float64), where=poorer > 0)

    def cosine(self) -> FloatRows:
        """Return the cosine of (1 + ln tf) idf; nothing beside nothing is equal."""
        assert self._idf is not None, "a cosine needs weights"
        weights = (1 + np.log(self._times)) * self._idf[self._ids]
        first, second = np.split(np.sqrt(self._summed(self._owners, weights**2, 2 * self.pairs)), 2)
        products = weights[self._first] * weights[self._second]
        common = self._summed(self._owners[self._first], products, self.pairs)
        lengths = first * second
        nothing = ((first == 0) & (second == 0)).astype(np.float64)
        found: FloatRows = np.divide(common, lengths, out=nothing, where=lengths > 0)
        return found

    def rarest_difference(self) -> FloatRows:
        """Return the highest idf of what stands in one text alone, 0 where nothing does, [pairs]."""
        assert self._idf is not None, "rarity needs weights"
        alone = np.ones(len(self._ids), dtype=np.bool_)
        alone[self._first] = alone[self._second] = False
        highest = np.zeros(self.pairs)
        np.maximum.at(highest, self._owners[alone] % self.pairs, self._idf[self._ids[alone]])
        return highest

    @staticmethod
    def _summed(owners: Indices, values: FloatRows | None, count: int) -> FloatRows:
        return np.bincount(owners, values, minlength=count).astype(np.float64)


def _two_characters(texts: Sequence[str]) -> _Shared:
    evened = [f" {' '.join(text.lower().split())} " for text in texts]
    codes = np.frombuffer("".join(evened).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.int64)
    lengths = np.fromiter(map(len, evened), dtype=np.int64, count=len(evened))
    owners = np.repeat(np.arange(len(texts)), lengths)
    inside = owners[:-1] == owners[1:]
    return _Shared(((codes[:-1] << _CODE_BITS) | codes[1:])[inside], owners[:-1][inside], len(texts))


def _indices(places: Mapping[str, int], ngrams: Sequence[str]) -> Indices:
    return np.fromiter(map(places.__getitem__, ngrams), dtype=np.int64, count=len(ngrams))


@functools.lru_cache(maxsize=1 << 14)
def _word_characters(word: str) -> tuple[str, ...]:
    edged = f" {word} "
    return tuple(edged[start : start + _CHARACTERS] for start in range(len(edged) - _CHARACTERS + 1))
