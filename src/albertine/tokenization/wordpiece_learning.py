"""Learns WordPiece: units are joined by how much the likelihood of the text grows, as its authors describe it.

Schuster and Nakajima ("Japanese and Korean voice search", ICASSP 2012, section 3) start from the characters, build a
language model of the text cut into the current units, and go on adding the combination of two units that increases the
likelihood of the training data the most, until there are enough units or the increase is too small. Google's trainer
was never published. What is fixed here, and why:

* The language model is the unigram model with its maximum-likelihood estimates, the smallest one that fits the
  description and the one whose gain is exact in closed form. With c the counts of units, N their sum and
  f(x) = x log x, the log-likelihood is sum f(c) - f(N), and joining n occurrences of (a, b) to ab changes it by

      f(c_a - n) - f(c_a) + f(c_b - n) - f(c_b) + f(c_ab + n) - f(c_ab) + f(N) - f(N - n)

  which is near n (log(n N / (c_a c_b)) - 1): frequency times surprise. The quotient n / (c_a c_b) that is often given
  for WordPiece is the gain of one occurrence; by itself it joins misprints before words. Byte-pair encoding, which the
  usual trainers use under this name, looks at n alone.
* Pairs that occur fewer than `rarest` times are not joined, and a unit of which later joins leave fewer than that (the
  "abou" of "about") gives its place up: an embedding that is hardly ever trained is worth less than its parts.

Gains are computed from whole numbers afresh each time; those that differ by less than one part in 10^9 count as equal,
and the more frequent pair wins, then the spelling: neither the order of the words nor rounding decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from albertine.records import IntArray

__all__ = ["CONTINUES", "learn_pieces"]

CONTINUES = "##"
WORDS_LEARNT_FROM = 1_000_000
"""The most frequent words that joins are counted on, about 40 bytes a character."""
EQUAL_GAINS = 1e-9
REFRESHED_EVERY = 256
"""Joins after which all gains are brought up to date, so that few stale ones have to be looked at in between."""
SPARSE = 0.6
"""The share of positions in use below which the corpus is packed anew."""

FloatArray = npt.NDArray[np.float64]
Number = TypeVar("Number", bound=np.generic)


def learn_pieces(
    words: Mapping[str, int], *, alphabet: Set[str], room: int, rarest: int, longest: int
) -> tuple[str, ...]:
    """Join characters to pieces by likelihood.

    Args:
        words: how often each word occurs.
        alphabet: the characters that have pieces; words with others are left out.
        room: the most pieces to make.
        rarest: the fewest occurrences that are joined.
        longest: the most characters of a piece.

    Returns:
        The pieces of two characters or more, in the order in which they were made; those inside a word start with ##.
        Fewer than `room` where no join gains anything.
    """
    corpus = _Corpus(_chosen(words, alphabet))
    joins = _Joins(corpus, rarest=rarest, longest=longest)
    while joins.in_use < room:
        pair = joins.best()
        if pair is None:
            break
        joins.join(pair)
    return joins.pieces()


def _chosen(words: Mapping[str, int], alphabet: Set[str]) -> list[tuple[str, int]]:
    """Return the words that can be joined, the most frequent first."""
    letters = frozenset(alphabet)
    usable = [(word, count) for word, count in words.items() if len(word) > 1 and letters.issuperset(word)]
    usable.sort(key=lambda entry: (-entry[1], entry[0]))
    return usable[:WORDS_LEARNT_FROM]


class _Corpus:
    """All words one behind another, cut into pieces: a doubly linked list in arrays, indexed by position.

    Args:
        words: with their counts.
    """

    def __init__(self, words: list[tuple[str, int]]) -> None:
        text = "".join(word for word, _ in words)
        lengths = np.fromiter((len(word) for word, _ in words), dtype=np.int64, count=len(words))
        counts = np.fromiter((count for _, count in words), dtype=np.int64, count=len(words))
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        letters, numbers = np.unique(points, return_inverse=True)
        first = np.zeros(len(points), dtype=bool)
        first[np.cumsum(lengths) - lengths] = True
        self.spellings = [prefix + chr(letter) for letter in letters for prefix in ("", CONTINUES)]
        self.piece: IntArray = (2 * numbers + ~first).astype(np.int32)
        """The piece that begins here."""
        self.weight: IntArray = np.repeat(counts, lengths)
        """How often the word occurs."""
        self.pair: IntArray = np.full(len(points), -1, dtype=np.int32)
        """The pair whose left half begins here; -1 at the last piece of a word and where no piece begins."""
        self.after: IntArray = np.zeros(0, dtype=np.int32)
        """Where the next piece of the word begins; -1 at the last one."""
        self.before: IntArray = np.zeros(0, dtype=np.int32)
        self._link(first)

    def _link(self, first: npt.NDArray[np.bool_]) -> None:
        """Link neighbours that lie side by side."""
        here = np.arange(len(first), dtype=np.int32)
        self.before = np.where(first, -1, here - 1).astype(np.int32)
        last = np.append(first[1:], True)
        self.after = np.where(last, -1, here + 1).astype(np.int32)

    def pack(self) -> None:
        """Drop the positions where no piece begins any more, and words of one piece."""
        begins = self.piece >= 0
        keep = begins & ((self.after >= 0) | (self.before >= 0))
        first = self.before[keep] < 0
        self.piece, self.weight, self.pair = self.piece[keep], self.weight[keep], self.pair[keep]
        self._link(first)

    def occurrences(self, pair: int, *, twins: bool) -> IntArray:
        """Return where a pair is to be joined, from the left.

        Args:
            pair: its number.
            twins: whether its halves are equal: of a run of them, every second pair can be joined.
        """
        places: IntArray = np.flatnonzero(self.pair == pair)
        if not twins or len(places) < 2:
            return places
        continues = np.zeros(len(places), dtype=bool)
        continues[1:] = self.after[places[:-1]] == places[1:]
        here = np.arange(len(places))
        start = np.maximum.accumulate(np.where(continues, 0, here))
        every_second: IntArray = places[(here - start) % 2 == 0]
        return every_second


class _Joins:
    """The pairs of neighbouring pieces with their counts, and what joining each of them would gain.

    A gain depends on N, which every join lowers, and falls with it: the gains in store are upper bounds, and exact but
    for N, because a join brings all those of the pieces that it touches up to date.

    Args:
        corpus: the words.
        rarest: the fewest occurrences that are joined.
        longest: the most characters of a piece.
    """

    def __init__(self, corpus: _Corpus, *, rarest: int, longest: int) -> None:
        self._corpus = corpus
        self._rarest = rarest
        self._longest = longest
        self._spellings = list(corpus.spellings)
        self._letters = len(self._spellings)
        self._ids = {spelling: index for index, spelling in enumerate(self._spellings)}
        self._lengths = [1] * self._letters
        self._counts: IntArray = np.zeros(max(2 * self._letters, 1024), dtype=np.int64)
        np.add.at(self._counts, corpus.piece, corpus.weight)
        self._total = int(corpus.weight.sum())
        self._empty = len(corpus.piece)
        self.in_use = 0
        """Pieces made that later joins have not used up."""
        self._made = 0
        self._index()

    def pieces(self) -> tuple[str, ...]:
        """Return the pieces made that later joins have not used up."""
        made = range(self._letters, len(self._spellings))
        return tuple(self._spellings[index] for index in made if self._counts[index] >= self._rarest)

    def best(self) -> int | None:
        """Return the pair whose joining gains most; None where no join gains anything."""
        if not self._used:
            return None
        bounds = self._gain[: self._used]
        top = self._gains(self._candidates[[int(bounds.argmax())]])[0]
        if not top > -np.inf:
            return None
        near = np.flatnonzero(bounds >= top - abs(top) * EQUAL_GAINS)
        bounds[near] = self._gains(self._candidates[near])
        best = float(bounds[near].max())
        if best <= 0:
            return None
        equal = self._candidates[near[bounds[near] >= best * (1 - EQUAL_GAINS)]]
        return min(map(int, equal), key=self._rank)

    def _rank(self, pair: int) -> tuple[int, str, str]:
        left, right = int(self._left[pair]), int(self._right[pair])
        return -int(self._number[pair]), self._spellings[left], self._spellings[right]

    def join(self, pair: int) -> None:
        """Join all occurrences of a pair."""
        corpus = self._corpus
        left, right = int(self._left[pair]), int(self._right[pair])
        places = corpus.occurrences(pair, twins=left == right)
        joined = self._piece_of(left, right)
        weights = corpus.weight[places]
        total = int(weights.sum())
        changed = [index for index in {left, right, joined} if index >= self._letters]
        self.in_use -= int((self._counts[changed] >= self._rarest).sum())
        self._counts[left] -= total
        self._counts[right] -= total
        self._counts[joined] += total
        self._total -= total
        self.in_use += int((self._counts[changed] >= self._rarest).sum())
        self._relink(places, joined)
        self._made += 1
        if self._empty < SPARSE * len(corpus.piece):
            corpus.pack()
            self._empty = len(corpus.piece)
            self._index()
        elif self._made % REFRESHED_EVERY == 0:
            self._refresh(np.arange(self._used))
        else:
            self._refresh(self._touched(left, right, joined))

    def _piece_of(self, left: int, right: int) -> int:
        """Return the number of the piece that two pieces make."""
        spelling = self._spellings[left] + self._spellings[right].removeprefix(CONTINUES)
        found = self._ids.get(spelling)
        if found is not None:
            return found
        new = len(self._spellings)
        self._ids[spelling] = new
        self._spellings.append(spelling)
        self._lengths.append(self._lengths[left] + self._lengths[right])
        if new == len(self._counts):
            self._counts = np.append(self._counts, np.zeros_like(self._counts))
        for pair in self._makers(new):
            self._product[pair] = new
        return new

    def _makers(self, piece: int) -> list[int]:
        """Return the pairs that make a piece."""
        spelling = self._spellings[piece]
        start = len(CONTINUES) if spelling.startswith(CONTINUES) else 0  # a # is never part of a longer word
        found = []
        for cut in range(start + 1, len(spelling)):
            left, right = self._ids.get(spelling[:cut]), self._ids.get(CONTINUES + spelling[cut:])
            if left is not None and right is not None and (left << 32 | right) in self._pairs:
                found.append(self._pairs[left << 32 | right])
        return found

    def _relink(self, places: IntArray, joined: int) -> None:
        """Put the joined piece in its places and count the pairs anew that it makes with its neighbours."""
        corpus = self._corpus
        before, halves = corpus.before[places], corpus.after[places]
        lost = np.unique(np.concatenate([before[before >= 0], places, halves]))
        lost = lost[corpus.pair[lost] >= 0]
        gone = corpus.pair[lost]
        np.subtract.at(self._number, gone, corpus.weight[lost])
        beyond = corpus.after[halves]
        corpus.after[places] = beyond
        corpus.before[beyond[beyond >= 0]] = places[beyond >= 0]
        corpus.piece[places] = joined
        corpus.piece[halves] = -1
        corpus.pair[halves] = -1
        corpus.pair[places] = -1
        self._empty -= len(halves)
        before = corpus.before[places]
        starts = np.unique(np.concatenate([before[before >= 0], places]))
        starts = starts[corpus.after[starts] >= 0]
        new = self._enter(starts)
        for twin in np.unique(np.concatenate([gone, new])):
            if self._left[twin] == self._right[twin]:
                self._number[twin] = corpus.weight[corpus.occurrences(int(twin), twins=True)].sum()
        self._admit(new)

    def _index(self) -> None:
        """Count all pairs from the corpus as it stands."""
        self._pairs: dict[int, int] = {}
        self._left: IntArray = np.zeros(1024, dtype=np.int32)
        self._right: IntArray = np.zeros(1024, dtype=np.int32)
        self._number: IntArray = np.zeros(1024, dtype=np.int64)
        self._product: IntArray = np.zeros(1024, dtype=np.int32)
        self._slot: IntArray = np.zeros(1024, dtype=np.int32)
        self._used = 0
        self._candidates: IntArray = np.zeros(1024, dtype=np.int32)
        self._candidate_left: IntArray = np.zeros(1024, dtype=np.int32)
        self._candidate_right: IntArray = np.zeros(1024, dtype=np.int32)
        self._gain: FloatArray = np.zeros(1024)
        new = self._enter(np.flatnonzero(self._corpus.after >= 0))
        for twin in new[self._left[new] == self._right[new]]:
            places = self._corpus.occurrences(int(twin), twins=True)
            self._number[twin] = self._corpus.weight[places].sum()
        self._admit(new)
        self._refresh(np.arange(self._used))

    def _enter(self, starts: IntArray) -> IntArray:
        """Write down the pairs that begin at some positions and count them; return their numbers."""
        corpus = self._corpus
        keys = corpus.piece[starts].astype(np.int64) << 32 | corpus.piece[corpus.after[starts]]
        unique, place = np.unique(keys, return_inverse=True)
        known = self._pairs
        numbers = np.fromiter((known.get(key, -1) for key in unique.tolist()), dtype=np.int32, count=len(unique))
        missing = np.flatnonzero(numbers < 0)
        if len(missing):
            first = len(known)
            numbers[missing] = np.arange(first, first + len(missing))
            self._make_pairs(unique[missing].tolist(), first)
        corpus.pair[starts] = numbers[place]
        weights = np.zeros(len(unique), dtype=np.int64)
        np.add.at(weights, place, corpus.weight[starts])
        self._number[numbers] += weights
        return numbers

    def _make_pairs(self, keys: Iterable[int], first: int) -> None:
        keys = list(keys)
        end = first + len(keys)
        self._pairs.update(zip(keys, range(first, end), strict=True))
        if end > len(self._left):
            for name in ("_left", "_right", "_number", "_product", "_slot"):
                setattr(self, name, _grown(getattr(self, name), end))
        spellings, ids = self._spellings, self._ids
        lefts = [key >> 32 for key in keys]
        rights = [key & 0xFFFFFFFF for key in keys]
        self._left[first:end], self._right[first:end] = lefts, rights
        self._number[first:end] = 0
        self._slot[first:end] = -1
        self._product[first:end] = [
            ids.get(spellings[left] + spellings[right].removeprefix(CONTINUES), -1)
            for left, right in zip(lefts, rights, strict=True)
        ]

    def _admit(self, pairs: IntArray) -> None:
        """Make candidates of the pairs that occur often enough and are not too long."""
        often = pairs[(self._number[pairs] >= self._rarest) & (self._slot[pairs] < 0)]
        lengths = self._lengths
        chosen = [
            pair
            for pair, left, right in zip(
                often.tolist(), self._left[often].tolist(), self._right[often].tolist(), strict=True
            )
            if lengths[left] + lengths[right] <= self._longest
        ]
        start, end = self._used, self._used + len(chosen)
        if end > len(self._gain):
            for name in ("_candidates", "_candidate_left", "_candidate_right", "_gain"):
                setattr(self, name, _grown(getattr(self, name), end))
        self._candidates[start:end] = chosen
        self._candidate_left[start:end] = self._left[chosen] if chosen else 0
        self._candidate_right[start:end] = self._right[chosen] if chosen else 0
        self._gain[start:end] = np.inf
        self._slot[chosen] = np.arange(start, end) if chosen else 0
        self._used = end

    def _touched(self, *pieces: int) -> IntArray:
        """Return the candidates whose gain depends on the count of one of the pieces."""
        left, right = self._candidate_left[: self._used], self._candidate_right[: self._used]
        mask = np.zeros(self._used, dtype=bool)
        for piece in set(pieces):
            mask |= left == piece
            mask |= right == piece
            slots = [int(self._slot[pair]) for pair in self._makers(piece)]
            mask[[slot for slot in slots if slot >= 0]] = True
        return np.flatnonzero(mask)

    def _refresh(self, slots: IntArray) -> None:
        self._gain[slots] = self._gains(self._candidates[slots])

    def _gains(self, pairs: IntArray) -> FloatArray:
        """Return by how much joining each pair raises the log-likelihood; -inf where it occurs too rarely."""
        number = self._number[pairs]
        out = np.full(len(pairs), -np.inf)
        often = number >= self._rarest
        pairs, number = pairs[often], number[often]
        left, right = self._left[pairs], self._right[pairs]
        twins = left == right
        from_left = _fall(self._counts[left], number * (1 + twins))
        from_right = np.where(twins, 0.0, _fall(self._counts[right], number))
        product = self._product[pairs]
        existing = np.where(product >= 0, self._counts[product], 0)
        rise = existing * np.log1p(number / np.maximum(existing, 1)) + number * np.log(existing + number)
        out[often] = from_left + from_right + rise - _fall(np.full(len(pairs), self._total), number)
        return out


def _fall(counts: IntArray, number: IntArray) -> FloatArray:
    """Return f(c - n) - f(c) for f(x) = x log x, without the loss of digits in a difference of large numbers."""
    left = counts - number
    share = np.where(left > 0, -number / counts, 0.0)
    return np.asarray(left * np.log1p(share) - number * np.log(counts), dtype=np.float64)


def _grown(array: npt.NDArray[Number], size: int) -> npt.NDArray[Number]:
    """Return the array with room for at least `size` entries, at least doubled."""
    larger = np.zeros(max(size, 2 * len(array)), dtype=array.dtype)
    larger[: len(array)] = array
    return larger
