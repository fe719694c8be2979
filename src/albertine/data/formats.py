"""What the files of a task look like: how they are read, and what splitting them has to know of a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from albertine.data.answers import AnswerReader, number, several_labels
from albertine.data.columns import Columns
from albertine.data.identity import identity
from albertine.data.readers import read_examples
from albertine.data.results import ReadResult
from albertine.data.split_files import SplitFiles, find_split_files
from albertine.records import Example

__all__ = ["LABELLED_TEXTS", "DataFormat", "ReadFunction", "multi_labelled_texts", "valued_texts"]


class ReadFunction(Protocol):
    """Read the examples of a file."""

    def __call__(
        self,
        path: Path,
        *,
        columns: Columns = ...,
        encoding: str = ...,
        on_error: str = ...,
        labelled: bool = ...,
        quoting: str = ...,
    ) -> ReadResult:
        """Return the examples and what was noticed while reading."""


class FilesFunction(Protocol):
    """Find the files of a data set."""

    def __call__(
        self, path: Path, *, dev: Path | None = ..., test: Path | None = ..., columns: Columns = ...
    ) -> SplitFiles:
        """Return the files that are train, dev and test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFormat:
    """How the files of a task are read, and what splitting them has to know of a row."""

    read: ReadFunction
    """File to examples."""
    answered: Callable[[Example], bool]
    """Whether a row has what a model is to learn."""
    answer: Callable[[Example], str]
    """What a row says, so that two rows of one text can be told to disagree; "" where such rows only add to each
    other."""
    labels: Callable[[Example], tuple[str, ...]]
    """The labels that occur in a row."""
    files: FilesFunction = find_split_files
    """Which files of a folder are train, dev and test."""
    marks: Callable[[Example], tuple[bytes, ...]] = lambda example: (identity(example),)
    """What must not fall on two sides of a split, at least one thing a row: the text (of a pair both together), or
    several, such as both texts each for itself. Rows that share one of them, directly or by way of others, stay
    together."""
    stratified: bool = False
    """Whether every row has one label, of which each split gets its proportion."""
    closed: bool = True
    """Whether a label that occurs in dev or test alone makes a bad row."""
    texts_alone: bool = False
    """Whether single texts can be learnt from where pairs are measured on."""
    units: str = "distinct texts"
    """What there are so many of, where rows that stay together count once; for messages, like the two that follow."""
    shared: str = "their text"
    """What rows share that must not fall on two sides of a split."""
    contradiction: str = "stand under more than one label"
    """What is said of texts whose rows do not say the same."""


def _one(example: Example) -> tuple[str, ...]:
    return () if example.label is None else (example.label,)


LABELLED_TEXTS = DataFormat(
    read=read_examples,
    answered=lambda example: example.label is not None,
    answer=lambda example: example.label or "",
    labels=_one,
    stratified=True,
)
"""Texts, or pairs of texts, with one label each."""


def multi_labelled_texts(separator: str) -> DataFormat:
    """Return the format of texts, or pairs of texts, to which any number of labels applies.

    Args:
        separator: what stands between two labels where a file has them in one field.
    """
    return DataFormat(
        read=_reader(several_labels(separator)),
        answered=lambda example: example.labels is not None,
        answer=lambda example: "\n".join(sorted(example.labels or ())) or "none",
        labels=lambda example: example.labels or (),
        contradiction="stand under other labels in another row",
    )


def valued_texts() -> DataFormat:
    """Return the format of texts, or pairs of texts, with a number each."""
    return DataFormat(
        read=_reader(number),
        answered=lambda example: example.value is not None,
        answer=lambda example: repr(example.value),
        labels=lambda example: (),
        contradiction="have another number in another row",
    )


def _reader(answers: AnswerReader) -> ReadFunction:
    def read(
        path: Path,
        *,
        columns: Columns = Columns(),  # noqa: B008  a frozen record
        encoding: str = "utf-8",
        on_error: str = "stop",
        labelled: bool = True,
        quoting: str = "auto",
    ) -> ReadResult:
        return read_examples(
            path,
            columns=columns,
            encoding=encoding,
            on_error=on_error,
            labelled=labelled,
            quoting=quoting,
            answers=answers,
        )

    return read
