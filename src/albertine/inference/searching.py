"""One call from text files, or an index that was kept, to what is nearest to a query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

from albertine.data.passages import Granularity
from albertine.errors import UserError
from albertine.inference.index_folder import is_index
from albertine.inference.search import Hit, Index, Reranker, index_files, load_index
from albertine.inference.vectors import VectorModel

__all__ = ["open_index", "search"]


def open_index(
    source: str | Path,
    *,
    encoder: str | Path | VectorModel | None = None,
    granularity: Granularity = "paragraph",
    encoding: str = "utf-8",
) -> Index:
    """Open an index that was kept, or make one of text files.

    Args:
        source: the folder of an index; or a file, a folder or a glob of texts.
        encoder: what makes vectors of texts; None for the one that a kept index names.
        granularity: what is found in text files: file, paragraph or line.
        encoding: of text files.

    Raises:
        UserError: text files, and no encoder.
        CheckpointError: the index is damaged, or belongs to another encoder.
        DataError: a file cannot be read.
    """
    if is_index(Path(source)):
        return load_index(source, encoder=encoder)
    if encoder is None:
        raise UserError(
            "texts are searched by their vectors, and nothing was named that makes them",
            where="encoder",
            next_step="Name an encoder's folder, best one trained for sentence-similarity",
        )
    return index_files(source, encoder=encoder, granularity=granularity, encoding=encoding)


@overload
def search(
    source: str | Path | Index,
    query: str,
    *,
    encoder: str | Path | VectorModel | None = ...,
    k: int = ...,
    granularity: Granularity = ...,
    rerank: Reranker | None = ...,
    candidates: int = ...,
    encoding: str = ...,
) -> list[Hit]: ...
@overload
def search(
    source: str | Path | Index,
    query: list[str],
    *,
    encoder: str | Path | VectorModel | None = ...,
    k: int = ...,
    granularity: Granularity = ...,
    rerank: Reranker | None = ...,
    candidates: int = ...,
    encoding: str = ...,
) -> list[list[Hit]]: ...
def search(
    source: str | Path | Index,
    query: str | list[str],
    *,
    encoder: str | Path | VectorModel | None = None,
    k: int = 5,
    granularity: Granularity = "paragraph",
    rerank: Reranker | None = None,
    candidates: int = 50,
    encoding: str = "utf-8",
) -> list[Hit] | list[list[Hit]]:
    """Return the texts nearest to a query, the nearest first; errors are those of `open_index` and `Index.search`.

    To search more than once, open the index once with `open_index` or `index`.

    Args:
        source: an index, its folder, or text files.
        query: one query, or a list of them, which gives a list of hits for each.
        encoder: what makes vectors of texts.
        k: how many.
        granularity: what is found in text files.
        rerank: looks at query and text together and orders the nearest anew.
        candidates: how many of the nearest it looks at.
        encoding: of text files.
    """
    opened = source
    if not isinstance(opened, Index):
        opened = open_index(opened, encoder=encoder, granularity=granularity, encoding=encoding)
    asked: Sequence[str] | str = query
    return opened.search(asked, k, rerank=rerank, candidates=candidates)
