"""A folder of token shards as one long memory-mapped stream of tokens, sentences and documents."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from albertine.batching.shard_format import (
    PARTS,
    CorpusIndex,
    ShardRecord,
    Split,
    id_dtype,
    read_index,
    shard_path,
    tokenizer_fingerprint,
    write_index,
)
from albertine.batching.shard_writing import TOKENS_PER_SHARD, ShardWriter
from albertine.errors import ConfigError, DataError
from albertine.files import sha256
from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer

__all__ = [
    "TOKENS_PER_SHARD",
    "CorpusIndex",
    "ShardRecord",
    "ShardWriter",
    "Shards",
    "Split",
    "id_dtype",
    "read_index",
    "tokenizer_fingerprint",
    "write_index",
]

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_BLOCK = 1 << 22
_DAMAGED = "Copy the folder again, or build it again with: albertine corpus build"


class Shards:
    """All shards of a split as one stream; nothing is read before it is asked for.

    Tokens, sentences and documents are counted over all shards. May be used from several threads.

    Args:
        folder: the shard folder.
        split: "train" or "held-out".
        verify: read every byte, hold the hashes against `corpus.json`, and look at every id.

    Raises:
        ConfigError: there is no such split.
        DataError: the folder is no finished shard folder, a file is missing, cut short, changed or of another corpus.
    """

    def __init__(self, folder: Path | str, split: Split = "train", *, verify: bool = False) -> None:
        self.folder = Path(folder)
        self.split = split
        self.index: CorpusIndex = read_index(self.folder)
        if split not in self.index.splits:
            raise ConfigError("no such split", where=str(folder), received=split, allowed=", ".join(self.index.splits))
        self._records = self.index.splits[split]
        _check_files(self.folder, split, self.index, verify=verify)
        self._maps = [self._map(number, record) for number, record in enumerate(self._records)]
        for number, parts in enumerate(self._maps):
            _check_offsets(parts, self._records[number], self.folder, split, number)
        self._token_borders = _borders([record.tokens for record in self._records])
        self._sentence_borders = _borders([record.sentences for record in self._records])
        self._document_borders = _borders([record.documents for record in self._records])

    @property
    def num_tokens(self) -> int:
        """Tokens of all shards."""
        return int(self._token_borders[-1])

    @property
    def num_sentences(self) -> int:
        """Sentences of all shards."""
        return int(self._sentence_borders[-1])

    @property
    def num_documents(self) -> int:
        """Documents of all shards."""
        return int(self._document_borders[-1])

    @property
    def vocab_size(self) -> int:
        """The size of the vocabulary that the ids belong to."""
        return self.index.vocab_size

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the tokenizer that made the ids; see `tokenizer_fingerprint`."""
        return self.index.fingerprint

    @cached_property
    def sentence_starts(self) -> Int64Array:
        """[num_sentences + 1] the first token of every sentence, and `num_tokens`; 8 bytes a sentence of memory."""
        parts = [
            parts["sentences"][:-1].astype(np.int64) + border
            for parts, border in zip(self._maps, self._token_borders[:-1], strict=True)
        ]
        return np.concatenate([*parts, self._token_borders[-1:]])

    @cached_property
    def document_starts(self) -> Int64Array:
        """[num_documents + 1] the first sentence of every document, and `num_sentences`; 8 bytes a document."""
        parts = [
            parts["documents"][:-1].astype(np.int64) + border
            for parts, border in zip(self._maps, self._sentence_borders[:-1], strict=True)
        ]
        return np.concatenate([*parts, self._sentence_borders[-1:]])

    def sentence_range(self, first: int, last: int) -> Int64Array:
        """Return [last - first + 1] where the sentences `first` to `last - 1` start, and where the last one ends.

        Raises:
            ConfigError: outside of the stream.
        """
        return self._offsets("sentences", first, last, self._sentence_borders, self._token_borders)

    def document_range(self, first: int, last: int) -> Int64Array:
        """Return [last - first + 1] the first sentences of documents `first` to `last - 1`, and where the last ends.

        Raises:
            ConfigError: outside of the stream.
        """
        return self._offsets("documents", first, last, self._document_borders, self._sentence_borders)

    def find_sentence(self, token: int) -> int:
        """Return the first sentence that starts at this token or after it; `num_sentences` behind the last one."""
        return self._find("sentences", token, self._sentence_borders, self._token_borders)

    def find_document(self, sentence: int) -> int:
        """Return the first document that starts at this sentence or after it; `num_documents` behind the last one."""
        return self._find("documents", sentence, self._document_borders, self._sentence_borders)

    def tokens(self, start: int, stop: int) -> Int64Array:
        """Return a copy of the ids of tokens `start` to `stop - 1`; the range may cross shards.

        Raises:
            ConfigError: outside of the stream.
        """
        _check_range(start, stop, self.num_tokens, "tokens")
        out = np.empty(stop - start, dtype=np.int64)
        for number, low, high, place in self._pieces(start, stop):
            out[place : place + high - low] = self._maps[number]["tokens"][low:high]
        return out

    def word_starts(self, start: int, stop: int) -> BoolArray:
        """Return for tokens `start` to `stop - 1` whether each begins a whole word.

        Raises:
            ConfigError: outside of the stream.
        """
        _check_range(start, stop, self.num_tokens, "tokens")
        out = np.empty(stop - start, dtype=np.bool_)
        for number, low, high, place in self._pieces(start, stop):
            first = low // 8
            bits = np.unpackbits(self._maps[number]["words"][first : (high + 7) // 8])
            out[place : place + high - low] = bits[low - 8 * first : high - 8 * first]
        return out

    def tokenizer(self) -> Tokenizer:
        """Load the tokenizer that made the ids.

        Raises:
            TokenizerError: its files are missing or damaged.
        """
        return load_tokenizer(self.folder)

    def _map(self, number: int, record: ShardRecord) -> dict[str, npt.NDArray[np.unsignedinteger]]:
        types = {"tokens": self.index.dtype, "words": np.dtype(np.uint8)}
        found: dict[str, npt.NDArray[np.unsignedinteger]] = {}
        for part in PARTS:
            dtype = types.get(part, np.dtype("<u4"))
            path = shard_path(self.folder, self.split, number, part)
            # An empty file cannot be mapped. A plain array costs less to slice than a memmap.
            empty = not record.size(part, self.index.dtype)
            found[part] = np.zeros(0, dtype) if empty else np.asarray(np.memmap(path, dtype=dtype, mode="r"))
        return found

    def _pieces(self, start: int, stop: int) -> list[tuple[int, int, int, int]]:
        """Cut a range of tokens at shard borders: shard, first and end token in it, place in the result."""
        borders = self._token_borders
        number = int(np.searchsorted(borders, start, side="right")) - 1
        pieces = []
        place = 0
        while start + place < stop:
            border, end = int(borders[number]), int(borders[number + 1])
            low, high = start + place - border, min(stop, end) - border
            if high > low:
                pieces.append((number, low, high, place))
                place += high - low
            number += 1
        return pieces

    def _offsets(self, part: str, first: int, last: int, own: Int64Array, counted: Int64Array) -> Int64Array:
        _check_range(first, last, int(own[-1]), part)
        out = np.empty(last - first + 1, dtype=np.int64)
        number = max(int(np.searchsorted(own, first, side="right")) - 1, 0)
        place = first
        while number < len(self._maps) and place <= last:
            low, high = place - int(own[number]), min(last, int(own[number + 1]) - 1) + 1 - int(own[number])
            if high > low:
                out[place - first : place - first + high - low] = self._maps[number][part][low:high]
                out[place - first : place - first + high - low] += counted[number]
                place += high - low
            number += 1
        if place == last:
            out[-1] = counted[-1]
        return out

    def _find(self, part: str, value: int, own: Int64Array, counted: Int64Array) -> int:
        if value > int(counted[-1]) or not self._maps:
            return int(own[-1])
        number = min(max(int(np.searchsorted(counted, value, side="right")) - 1, 0), len(self._maps) - 1)
        inside = np.searchsorted(self._maps[number][part][:-1], max(value - int(counted[number]), 0), side="left")
        return int(own[number]) + int(inside)


def _borders(counts: list[int]) -> Int64Array:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.array(counts, dtype=np.int64))])


def _check_range(first: int, last: int, total: int, what: str) -> None:
    if not 0 <= first <= last <= total:
        raise ConfigError(f"no such {what}", received=f"{first} to {last}", allowed=f"ranges within 0 to {total}")


def _check_files(folder: Path, split: Split, index: CorpusIndex, *, verify: bool) -> None:
    """Hold the files against the index: the tokenizer's, and of every shard presence, size and, where asked, hash."""
    for name, expected in index.tokenizer_files.items():
        path = folder / name
        if not path.is_file() or sha256(path) != expected:
            raise DataError(
                "the tokenizer's file is not the one that this corpus was made with",
                where=str(path),
                received="no such file" if not path.is_file() else "another content",
                next_step=_DAMAGED,
            )
    known = set()
    for number, record in enumerate(index.splits[split]):
        for part in PARTS:
            path = shard_path(folder, split, number, part)
            known.add(path.name)
            expected_size = record.size(part, index.dtype)
            size = path.stat().st_size if path.is_file() else None
            if size != expected_size:
                raise DataError(
                    "a file of this corpus is missing"
                    if size is None
                    else f"a file of this corpus is {'cut short' if size < expected_size else 'too long'}",
                    where=str(path),
                    received=None if size is None else f"{size} bytes",
                    allowed=f"{expected_size} bytes",
                    next_step=_DAMAGED,
                )
            if verify and sha256(path) != record.hashes[part]:
                raise DataError(
                    "this file is not the one that was written: damaged, or of another corpus",
                    where=str(path),
                    next_step=_DAMAGED,
                )
        _check_ids(folder, split, number, index, whole=verify)
    if not (folder / split).is_dir():
        return
    foreign = sorted(
        path.name for path in (folder / split).glob("*.bin") if path.name not in known and path.name[0] != "."
    )
    if foreign:
        raise DataError(
            "files of another corpus lie among these shards",
            where=str(folder / split),
            received=", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else ""),
            next_step="Remove them, or build the corpus again into an empty folder",
        )


def _check_ids(folder: Path, split: Split, number: int, index: CorpusIndex, *, whole: bool) -> None:
    """Look for ids beyond the vocabulary: in the index and the first block, or in all blocks."""
    record = index.splits[split][number]
    largest = record.largest_id
    path = shard_path(folder, split, number, "tokens")
    with path.open("rb") as file:
        while block := file.read(_BLOCK if whole else 1 << 16):
            largest = max(largest, int(np.frombuffer(block, dtype=index.dtype).max()))
            if not whole:
                break
    if largest >= index.vocab_size:
        raise DataError(
            "an id that the vocabulary does not have",
            where=str(path),
            received=str(largest),
            allowed=f"0 to {index.vocab_size - 1}",
            next_step=_DAMAGED,
        )


def _check_offsets(
    parts: dict[str, npt.NDArray[np.unsignedinteger]], record: ShardRecord, folder: Path, split: str, number: int
) -> None:
    """Check that sentences and documents follow one another from the first token to the last; none is empty."""
    for part, end in (("sentences", record.tokens), ("documents", record.sentences)):
        values = parts[part]
        good = int(values[0]) == 0 and int(values[-1]) == end
        for first in range(0, len(values) - 1, _BLOCK):
            block = values[first : first + _BLOCK + 1]
            good = good and bool((block[1:] > block[:-1]).all())
        if not good:
            raise DataError(
                f"the {part} do not follow one another, so this file is damaged or of another corpus",
                where=str(shard_path(folder, split, number, part)),
                next_step=_DAMAGED,
            )
