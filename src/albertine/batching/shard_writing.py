"""Token arrays of whole documents into shard files, each written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from albertine.batching.shard_format import PARTS, Part, ShardRecord, Split, shard_path
from albertine.errors import ConfigError
from albertine.files import disk_errors
from albertine.records import IntArray

__all__ = ["TOKENS_PER_SHARD", "ShardWriter"]

TOKENS_PER_SHARD = 1 << 28
"""Half a gigabyte of two-byte ids; a process may have only so many files mapped."""
_MOST_TOKENS = (1 << 32) - 1


class ShardWriter:
    """Writes one split: documents in the order they are added, cut into shards at document borders.

    A document that would carry a shard over `tokens_per_shard` begins the next one; a longer one has a shard of its
    own. A shard's files appear under their names when it is complete. What is written depends on the documents alone,
    not on how they were handed over.

    Args:
        folder: the shard folder.
        split: "train" or "held-out".
        dtype: of the ids: `shard_format.id_dtype(vocab_size)`.
        tokens_per_shard: the most tokens of a shard.
        done: the shards that are already there; writing goes on behind them.
        on_shard: called with all shards so far whenever one is complete.

    Raises:
        ConfigError: `tokens_per_shard` is out of range.
    """

    def __init__(
        self,
        folder: Path,
        split: Split,
        dtype: npt.DTypeLike,
        *,
        tokens_per_shard: int = TOKENS_PER_SHARD,
        done: Sequence[ShardRecord] = (),
        on_shard: Callable[[Sequence[ShardRecord]], None] | None = None,
    ) -> None:
        if not 1 <= tokens_per_shard <= _MOST_TOKENS:
            raise ConfigError(
                "value out of range",
                where="tokens_per_shard",
                received=tokens_per_shard,
                allowed=f"1 to {_MOST_TOKENS}",
            )
        self.folder = Path(folder)
        self.split = split
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.tokens_per_shard = tokens_per_shard
        self.records = list(done)
        self._on_shard = on_shard
        self._open: _OpenShard | None = None

    def add(
        self,
        tokens: IntArray,
        *,
        sentence_starts: IntArray,
        document_starts: IntArray,
        word_starts: npt.NDArray[np.bool_],
    ) -> None:
        """Add whole documents.

        Args:
            tokens: [S] ids of all of them, one after another, without special tokens.
            sentence_starts: [sentences + 1] the first token of every sentence, and S.
            document_starts: [documents + 1] the first sentence of every document, and the number of sentences.
            word_starts: [S] where a token begins a whole word.

        Raises:
            FailureError: the disk is full.
        """
        sentence_starts = np.asarray(sentence_starts, dtype=np.int64)
        document_starts = np.asarray(document_starts, dtype=np.int64)
        ends = sentence_starts[document_starts]
        first = 0
        while first < len(document_starts) - 1:
            used = self._open.tokens if self._open is not None else 0
            last = int(np.searchsorted(ends, ends[first] + self.tokens_per_shard - used, side="right")) - 1
            if last <= first:
                if used:
                    self._finish()
                    continue
                last = first + 1
            self._append(tokens, sentence_starts, document_starts[first : last + 1], word_starts)
            first = last

    def close(self) -> tuple[ShardRecord, ...]:
        """Complete the last shard and return all of them."""
        if self._open is not None:
            self._finish()
        return tuple(self.records)

    def abandon(self) -> None:
        """Remove what was written of the shard that is not complete."""
        if self._open is not None:
            self._open.remove()
            self._open = None

    def _append(
        self,
        tokens: IntArray,
        sentence_starts: IntArray,
        documents: IntArray,
        word_starts: npt.NDArray[np.bool_],
    ) -> None:
        if self._open is None:
            with disk_errors(self.folder):
                self._open = _OpenShard(self.folder, self.split, len(self.records), self.dtype)
        sentences = sentence_starts[documents[0] : documents[-1] + 1]
        part = slice(int(sentences[0]), int(sentences[-1]))
        try:
            with disk_errors(self.folder):
                self._open.append(tokens[part], sentences - sentences[0], documents - documents[0], word_starts[part])
        except BaseException:
            self.abandon()
            raise

    def _finish(self) -> None:
        assert self._open is not None, "there is a shard to finish"
        shard = self._open
        try:
            with disk_errors(self.folder):
                record = shard.finish()
        except BaseException:
            self.abandon()
            raise
        self._open = None
        self.records.append(record)
        if self._on_shard is not None:
            self._on_shard(self.records)


class _OpenShard:
    """The files of a shard while they are written, under names that start with a dot."""

    def __init__(self, folder: Path, split: str, number: int, dtype: np.dtype[np.generic]) -> None:
        (folder / split).mkdir(parents=True, exist_ok=True)
        self.dtype = dtype
        self.targets = {part: shard_path(folder, split, number, part) for part in PARTS}
        self.files: dict[Part, BinaryIO] = {}
        self.hashes = {part: hashlib.sha256() for part in PARTS}
        self.tokens = self.sentences = self.documents = self.words = 0
        self.largest_id = -1
        self._bits = np.zeros(0, dtype=np.bool_)
        for part, target in self.targets.items():
            self.files[part] = target.with_name(f".{target.name}").open("wb")
        self._write("sentences", np.zeros(1, dtype="<u4"))
        self._write("documents", np.zeros(1, dtype="<u4"))

    def append(
        self, tokens: IntArray, sentences: IntArray, documents: IntArray, word_starts: npt.NDArray[np.bool_]
    ) -> None:
        if len(tokens):
            self.largest_id = max(self.largest_id, int(tokens.max()))
        self._write("tokens", tokens.astype(self.dtype, copy=False))
        self._write("sentences", (sentences[1:] + self.tokens).astype("<u4"))
        self._write("documents", (documents[1:] + self.sentences).astype("<u4"))
        bits = np.concatenate([self._bits, word_starts])
        whole = len(bits) // 8 * 8
        self._write("words", np.packbits(bits[:whole]))
        self._bits = bits[whole:]
        self.tokens += len(tokens)
        self.sentences += len(sentences) - 1
        self.documents += len(documents) - 1
        self.words += int(np.count_nonzero(word_starts))

    def finish(self) -> ShardRecord:
        self._write("words", np.packbits(self._bits))
        for file in self.files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()
        for target in self.targets.values():
            target.with_name(f".{target.name}").replace(target)
        return ShardRecord(
            tokens=self.tokens,
            sentences=self.sentences,
            documents=self.documents,
            words=self.words,
            largest_id=self.largest_id,
            hashes={part: digest.hexdigest() for part, digest in self.hashes.items()},
        )

    def remove(self) -> None:
        for file in self.files.values():
            with contextlib.suppress(OSError):  # what is still to be flushed does not fit on a full disk
                file.close()
        for target in self.targets.values():
            target.with_name(f".{target.name}").unlink(missing_ok=True)

    def _write(self, part: Part, values: npt.NDArray[np.generic]) -> None:
        data = np.ascontiguousarray(values).data.cast("B") if values.size else memoryview(b"")
        self.files[part].write(data)
        self.hashes[part].update(data)
