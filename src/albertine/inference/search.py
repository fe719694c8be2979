"""Semantic search: texts as vectors in an index, and those nearest to a query, by exact cosines.

P passages (a document that is longer than the encoder reads is several), Q queries, W width of a vector.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, cast, get_args, overload, runtime_checkable

import numpy as np

from albertine.data.passages import Granularity, SourceText, passages, read_texts
from albertine.errors import CheckpointError, ConfigError, FailureError, UserError
from albertine.inference.index_folder import (
    IndexContents,
    IndexedPassage,
    Storage,
    Vectors,
    read_index,
    storage_type,
    write_index,
)
from albertine.inference.nearest import Nearest, nearest
from albertine.inference.vectors import VectorModel, load_vectors
from albertine.records import IntArray, Prediction
from albertine.tasks.task import FloatArray

__all__ = ["Hit", "Index", "PairModel", "Reranker", "index", "index_files", "load_index"]

_LOG = logging.getLogger("albertine")

_PIECE = 1024
"""Documents that are cut, encoded and stored together."""
_QUERIES = 64
"""Queries that are compared at a time, so that memory does not grow with their number."""
_SMALL = 4096
"""Rows below which what is added joins the block before it."""
_CHECKED = 8
"""Passages that are encoded anew to see that an index and an encoder belong together."""
_SAME = 0.999
"""Cosine of one text's vectors below which two encoders made them; bf16 beside fp32 stays above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A document that was found."""

    place: int
    """Which document, in the order in which they were added, from 0."""
    text: str
    """The passage of it that is nearest to the query."""
    score: float
    """The cosine, -1 … 1; what the reranker said where there is one."""
    file: str = ""
    """The file that the passage is from; empty where it came from memory."""
    line: int = 0
    """The line of the file on which it starts, from 1; 0 where it came from memory."""


@runtime_checkable
class PairModel(Protocol):
    """A model that gives two texts a number, such as a trained cross-encoder."""

    def predict(self, texts: Sequence[tuple[str, str]]) -> list[Prediction]:
        """Return one prediction with a value a pair."""


Reranker = PairModel | Callable[[Sequence[tuple[str, str]]], Sequence[float]]
"""What gives pairs of query and passage a score, higher for what fits better."""


class Index:
    """Documents and their vectors; `index`, `index_files` and `load_index` make one.

    A document longer than the encoder reads is cut into passages of whole sentences that overlap, so that nothing of it
    is lost, and found by the best of them. Documents without any text have a place and are never found.

    Args:
        encoder: what turns texts into vectors.
        name: the encoder's folder or name, to open it again with the index.
        storage: how vectors are kept.
        query_prompt: written before every query, for encoders that were trained so.
        passage_prompt: written before every passage.

    Raises:
        ConfigError: an unknown storage, or a prompt as long as what the encoder reads.
    """

    def __init__(
        self,
        encoder: VectorModel,
        *,
        name: str = "",
        storage: Storage = "float32",
        query_prompt: str = "",
        passage_prompt: str = "",
    ) -> None:
        if storage not in get_args(Storage):
            raise ConfigError("no such storage", received=repr(storage), allowed=", ".join(get_args(Storage)))
        self.encoder, self.name, self.storage = encoder, name, storage
        self.query_prompt, self.passage_prompt = query_prompt, passage_prompt
        self._room = encoder.max_length - 2 - int(self._sizes([passage_prompt])[0])
        if self._room < 1:
            raise ConfigError(
                "the prompt leaves no room for a text",
                where="passage_prompt",
                allowed=f"fewer than {encoder.max_length - 2} tokens",
            )
        self._documents = 0
        self._passages: list[IndexedPassage] = []
        self._owners: IntArray = np.zeros(0, dtype=np.int64)
        self._blocks: list[Vectors] = []

    def __len__(self) -> int:
        """Count the documents."""
        return self._documents

    def add(self, texts: Sequence[str]) -> None:
        """Add texts, each of them a document; equal ones are documents of their own.

        Raises:
            UserError: a single text instead of a list, or something that is not a text.
        """
        self._extend(SourceText(((0, text),)) for text in _checked(texts))

    def add_files(
        self, paths: Sequence[Path | str], *, granularity: Granularity = "paragraph", encoding: str = "utf-8"
    ) -> None:
        """Add the text of files, folders and globs, in any form that a corpus has; results say file and line.

        Raises:
            ConfigError: an unknown granularity or encoding.
            DataError: a file cannot be read; the message says where. What was read before it stays.
        """
        self._extend(read_texts(paths, granularity=granularity, encoding=encoding))

    @overload
    def search(  # type: ignore[overload-overlap]  # a text is a sequence of texts as well
        self, query: str, k: int = ..., *, rerank: Reranker | None = ..., candidates: int = ...
    ) -> list[Hit]: ...
    @overload
    def search(
        self, query: Sequence[str], k: int = ..., *, rerank: Reranker | None = ..., candidates: int = ...
    ) -> list[list[Hit]]: ...
    def search(
        self, query: str | Sequence[str], k: int = 5, *, rerank: Reranker | None = None, candidates: int = 50
    ) -> list[Hit] | list[list[Hit]]:
        """Return the documents nearest to a query, the nearest first; equally near ones in the order of their places.

        Args:
            query: one query, or several, which gives a list of hits for each.
            k: how many documents, all where there are no more.
            rerank: looks at query and passage together and orders the nearest anew: a trained cross-encoder, or a
                function of pairs.
            candidates: how many of the nearest it looks at, `k` at least.

        Raises:
            UserError: a query without any text, or something that is not a text.
            ConfigError: a number below one, or a reranker that does not give every pair a number.
        """
        queries = _checked([query] if isinstance(query, str) else query)
        for name, value in (("k", k), ("candidates", candidates)):
            if value < 1:
                raise ConfigError("value out of range", where=name, received=value, allowed="1 or more")
        if any(not one.strip() for one in queries):
            raise UserError("a query without any text", next_step="Ask for something")
        wanted = k if rerank is None else max(k, candidates)
        hits: list[list[Hit]] = []
        for first in range(0, len(queries), _QUERIES):
            vectors = self._vectors(queries[first : first + _QUERIES], self.query_prompt)
            hits += [self._hits(one) for one in nearest(vectors, self._blocks, self._owners, wanted)]
        if rerank is not None:
            hits = [one[:k] for one in _reranked(queries, hits, rerank)]
        return hits[0] if isinstance(query, str) else hits

    def save(self, folder: str | Path) -> None:
        """Write the index into a folder of its own, in place of an index that stood there.

        Raises:
            ConfigError: the folder holds something else.
            FailureError: the disk is full or the place cannot be written to; what stood there is unchanged.
        """
        contents = IndexContents(
            passages=self._passages,
            blocks=self._blocks,
            width=self.encoder.width,
            documents=self._documents,
            storage=self.storage,
            encoder=self.name,
            query_prompt=self.query_prompt,
            passage_prompt=self.passage_prompt,
        )
        write_index(Path(folder), contents)

    def take_up(self, contents: IndexContents) -> None:
        """Take up what was saved, for an index that holds nothing yet.

        Raises:
            CheckpointError: it was made with another encoder.
        """
        vectors = contents.blocks[0] if contents.blocks else np.zeros((0, contents.width), dtype=np.float32)
        rows = np.unique(np.linspace(0, max(0, len(vectors) - 1), _CHECKED).astype(np.int64))
        same = contents.width == self.encoder.width
        if same and len(vectors):
            anew = self._vectors([contents.passages[row].text for row in rows], self.passage_prompt)
            kept = vectors[rows].astype(np.float32)
            same = bool(((anew * kept).sum(axis=1) >= _SAME * (kept * kept).sum(axis=1)).all())
        if not same:
            raise CheckpointError(
                "this index was made with another encoder",
                received=self.name or "one that gives other vectors",
                allowed=contents.encoder or None,
                next_step="Open it with the encoder that it was made with, or make it anew",
            )
        self._passages, self._blocks = list(contents.passages), list(contents.blocks)
        self._owners = np.array([one.document for one in self._passages], dtype=np.int64)
        self._documents = contents.documents

    def _extend(self, documents: Iterable[SourceText]) -> None:
        remaining, empty, before = iter(documents), 0, self._documents
        while piece := list(islice(remaining, _PIECE)):
            cut = passages(piece, room=self._room, sizes=self._sizes)
            added = [
                IndexedPassage(part.text, number, document.file, part.line)
                for number, (document, parts) in enumerate(zip(piece, cut, strict=True), start=self._documents)
                for part in parts
            ]
            if added:
                vectors = self._vectors([one.text for one in added], self.passage_prompt)
                block = vectors.astype(storage_type(self.storage))
                if self._blocks and len(self._blocks[-1]) < _SMALL:
                    block = np.concatenate([self._blocks.pop(), block])
                self._blocks.append(block)
                self._passages += added
                self._owners = np.concatenate([self._owners, [one.document for one in added]])
            self._documents += len(piece)
            empty += sum(not parts for parts in cut)
        if empty:
            _LOG.warning("%d of %d texts are empty and cannot be found", empty, self._documents - before)

    def _sizes(self, texts: Sequence[str]) -> IntArray:
        """Return the tokens of texts, special ones not counted."""
        engine = self.encoder.engine
        read = [text.lower() for text in texts] if engine.lowercase else texts
        return engine.tokenizer.tokenize(read, offsets=False).lengths - 2

    def _vectors(self, texts: Sequence[str], prompt: str) -> FloatArray:
        """Return vectors of length 1, [N, W]; of length 0 where the encoder gives zeros."""
        vectors = self.encoder.encode([prompt + text for text in texts])
        if not np.isfinite(vectors).all():
            raise FailureError("the encoder gives vectors that are not finite", where=self.name or None)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        scaled: FloatArray = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        return scaled

    def _hits(self, found: Nearest) -> list[Hit]:
        hits = []
        for row, score in zip(found.passages.tolist(), found.similarities.tolist(), strict=True):
            one = self._passages[row]
            # the decimal number that the float32 stands for
            score = min(1.0, max(-1.0, round(score, 6)))
            hits.append(Hit(place=one.document, text=one.text, score=score, file=one.file, line=one.line))
        return hits


def index(
    texts: Sequence[str],
    *,
    encoder: str | Path | VectorModel,
    storage: Storage = "float32",
    query_prompt: str = "",
    passage_prompt: str = "",
) -> Index:
    """Make an index of texts, any number of them; the arguments and errors are those of `Index` and `Index.add`.

    Args:
        texts: the documents, of any length.
        encoder: what `load_vectors` opens, or what it gave.
        storage: how vectors are kept.
        query_prompt: written before every query.
        passage_prompt: written before every passage.
    """
    made = _opened(encoder, storage=storage, query_prompt=query_prompt, passage_prompt=passage_prompt)
    made.add(texts)
    return made


def index_files(
    paths: str | Path | Sequence[str | Path],
    *,
    encoder: str | Path | VectorModel,
    granularity: Granularity = "paragraph",
    encoding: str = "utf-8",
    storage: Storage = "float32",
    query_prompt: str = "",
    passage_prompt: str = "",
) -> Index:
    """Make an index of files, folders and globs; the errors are those of `Index` and `Index.add_files`.

    Args:
        paths: text files, packed or not, JSON Lines, extracts; folders and globs of them.
        encoder: what `load_vectors` opens, or what it gave.
        granularity: what a document is: a file, a paragraph or a line.
        encoding: of the files.
        storage: how vectors are kept.
        query_prompt: written before every query.
        passage_prompt: written before every passage.
    """
    made = _opened(encoder, storage=storage, query_prompt=query_prompt, passage_prompt=passage_prompt)
    made.add_files([paths] if isinstance(paths, str | Path) else paths, granularity=granularity, encoding=encoding)
    return made


def load_index(folder: str | Path, *, encoder: str | Path | VectorModel | None = None) -> Index:
    """Open a saved index; vectors stay on disk until they are compared.

    Some passages are encoded anew, so that an index is never searched with another encoder than it was made with,
    wherever that lies now and whatever precision it computes in.

    Args:
        folder: as `Index.save` wrote it.
        encoder: what `load_vectors` opens, or what it gave; None for the one that the index names.

    Raises:
        CheckpointError: a file is missing or damaged, or the index belongs to another encoder.
        ConfigError: the encoder cannot be found.
    """
    contents = read_index(Path(folder))
    if encoder is None and not contents.encoder:
        raise ConfigError("the index does not name its encoder", where=str(folder), next_step="Give it as encoder")
    made = _opened(
        contents.encoder if encoder is None else encoder,
        storage=contents.storage,
        query_prompt=contents.query_prompt,
        passage_prompt=contents.passage_prompt,
    )
    made.take_up(contents)
    return made


def _opened(encoder: str | Path | VectorModel, **options: Any) -> Index:
    if isinstance(encoder, VectorModel):
        return Index(encoder, **options)
    return Index(load_vectors(encoder), name=str(encoder), **options)


def _reranked(queries: Sequence[str], hits: Sequence[Sequence[Hit]], rerank: Reranker) -> list[list[Hit]]:
    """Order hits by what the reranker says of query and passage, equally good ones by their place."""
    pairs = [(query, hit.text) for query, found in zip(queries, hits, strict=True) for hit in found]
    if not pairs:
        return [list(found) for found in hits]
    values = [one.value for one in rerank.predict(pairs)] if isinstance(rerank, PairModel) else list(rerank(pairs))
    if len(values) != len(pairs) or any(value is None or not math.isfinite(value) for value in values):
        raise ConfigError(
            "a reranker gives every pair one number",
            where="rerank",
            received=f"{sum(value is not None for value in values)} numbers for {len(pairs)} pairs",
        )
    scores = iter(values)
    scored = [[replace(hit, score=float(cast("float", next(scores)))) for hit in found] for found in hits]
    return [sorted(found, key=lambda hit: (-hit.score, hit.place)) for found in scored]


def _checked(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise UserError("a list of texts is expected", received="one text", next_step="Put it into a list")
    wrong = next(((place, text) for place, text in enumerate(texts) if not isinstance(text, str)), None)
    if wrong is not None:
        raise UserError("this is not a text", where=f"item {wrong[0]}", received=repr(wrong[1])[:120])
    return list(texts)
