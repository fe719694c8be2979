"""What a corpus build was asked for: one record, checked, written down with the corpus."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from albertine.batching.corpus.reading import ReadingChoices
from albertine.batching.shard_writing import TOKENS_PER_SHARD
from albertine.data.cleaning import CleaningChoices
from albertine.data.corpus import CorpusFormat
from albertine.data.duplicate_keys import DuplicateChoices
from albertine.data.languages import LanguageChoices
from albertine.data.segmentation import Segmenter, character_segmenter, rjieba_segmenter
from albertine.errors import ConfigError

__all__ = ["CorpusChoices", "DuplicateChoice", "SegmenterChoice", "open_segmenter"]

DuplicateChoice = Literal["near", "exact", "keep"]
SegmenterChoice = Literal["auto", "rjieba", "characters"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusChoices:
    """The options of `build_corpus` that decide what is written.

    Raises:
        ConfigError: a value out of range.
    """

    encoding: str = "utf-8"
    """Of the files."""
    on_error: Literal["stop", "skip"] = "stop"
    """What a bad place in a file does."""
    format: CorpusFormat = "auto"
    """Of the files; see `data.corpus.CorpusFormat`."""
    text_key: str | None = None
    """The key of the text in JSON Lines."""
    keep_titles: bool = False
    """Whether an extract's title stays where it is repeated as the first line of the text."""
    cleaning: CleaningChoices = field(default_factory=CleaningChoices)
    """What is done to every text; texts below its minimum length are left out."""
    boilerplate: bool = False
    """Whether short lines that stand in very many documents are taken out."""
    language: LanguageChoices = field(default_factory=LanguageChoices)
    """Documents of which language are kept."""
    duplicates: DuplicateChoice = "near"
    """What is left out beyond the first of its kind: exact and near duplicates, exact ones, nothing."""
    similarity: float = 0.8
    """From which on two documents are near duplicates; see `data.duplicate_keys`."""
    segmenter: SegmenterChoice = "auto"
    """What finds Chinese words: auto is rjieba, unless the corpus has hardly any Chinese and rjieba is not there."""
    held_out: float = 0.01
    """Share of documents that is set apart."""
    held_out_documents: int = 100
    """The share is raised, to a tenth at most, until so many documents are set apart."""
    seed: int = 0
    """Of the choice of held-out documents."""
    tokens_per_shard: int = TOKENS_PER_SHARD

    def __post_init__(self) -> None:
        for name, allowed in (
            ("on_error", ("stop", "skip")),
            ("format", get_args(CorpusFormat)),
            ("duplicates", get_args(DuplicateChoice)),
            ("segmenter", get_args(SegmenterChoice)),
        ):
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"unknown value of {name}", received=repr(getattr(self, name)), allowed=", ".join(allowed)
                )
        for name, least in (("held_out_documents", 0), ("seed", 0), ("tokens_per_shard", 1)):
            if getattr(self, name) < least:
                raise ConfigError(
                    "value out of range", where=name, received=getattr(self, name), allowed=f"{least} or more"
                )
        if not 0 <= self.held_out <= 0.5:
            raise ConfigError("value out of range", where="held_out", received=self.held_out, allowed="0 to 0.5")
        _ = self.keys  # checks the similarity

    @property
    def keys(self) -> DuplicateChoices:
        """Those that say how duplicates are told."""
        return DuplicateChoices(near=self.duplicates == "near", threshold=self.similarity)

    @property
    def reading(self) -> ReadingChoices:
        """Those that say how files are read."""
        return ReadingChoices(
            encoding=self.encoding,
            on_error=self.on_error,
            format=self.format,
            text_key=self.text_key,
            keep_titles=self.keep_titles,
        )

    def to_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CorpusChoices:
        """Read what `to_dict` returned."""
        cleaning, language = CleaningChoices(**values["cleaning"]), LanguageChoices(**values["language"])
        return cls(**{**values, "cleaning": cleaning, "language": language})


def open_segmenter(choice: SegmenterChoice) -> Segmenter:
    """Return a segmenter; "auto" is rjieba.

    Raises:
        MissingDependencyError: its package is not installed.
    """
    return character_segmenter() if choice == "characters" else rjieba_segmenter()
