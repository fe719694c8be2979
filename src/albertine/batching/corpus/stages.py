"""What is done to one block of documents: cleaning, language, sentences, words, tokens, marks of duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from albertine.batching.corpus.choices import CorpusChoices, open_segmenter
from albertine.batching.corpus.overlaps import BlockOverlaps
from albertine.batching.corpus.reading import DocumentBlock
from albertine.batching.corpus.report import StageCount
from albertine.batching.corpus.tokens import SentenceTokenizer
from albertine.batching.shard_format import id_dtype
from albertine.data.cleaning import Cleaner, CleaningReport
from albertine.data.corpus import Document
from albertine.data.duplicate_keys import write_keys
from albertine.data.languages import LanguageFilter
from albertine.data.overlap import OverlapIndex
from albertine.data.segmentation import split_sentences
from albertine.records import IntArray
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["DocumentStages", "ProcessedBlock"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessedBlock:
    """The tokens of a block's documents, and what was counted on the way."""

    tokens: IntArray
    """[S]."""
    word_starts: npt.NDArray[np.bool_]
    """[S] where a token begins a whole word."""
    sentence_lengths: IntArray
    """Tokens of every sentence; none is 0."""
    document_sentences: IntArray
    """Sentences of every document; none is 0."""
    texts: tuple[str, ...]
    """Of every document, cleaned."""
    stages: dict[str, StageCount]
    cleaning: CleaningReport
    removed: Counter[str]
    """Documents left out, by reason."""
    languages: Counter[str]
    """Characters, by language."""
    overlaps: BlockOverlaps | None
    """What they share with evaluation texts; None where there are none."""


class DocumentStages:
    """Everything that looks at one document alone.

    Args:
        choices: what to do, with the segmenter resolved.
        tokenizer: what cuts sentences into tokens.
        boilerplate: lines to take out.
        evaluation: the evaluation texts; what documents share with them is noted.

    Raises:
        MissingDependencyError: an optional package is needed and not installed.
    """

    def __init__(
        self,
        choices: CorpusChoices,
        tokenizer: Tokenizer,
        *,
        boilerplate: Collection[str] = (),
        evaluation: OverlapIndex | None = None,
    ) -> None:
        self._choices = choices
        self._evaluation = evaluation
        self._boilerplate = boilerplate
        self._dtype = id_dtype(tokenizer.vocab_size)
        self._tokenize = SentenceTokenizer(tokenizer, open_segmenter(choices.segmenter))
        Cleaner(choices.cleaning)  # packages that are missing are met now

    def __call__(self, block: DocumentBlock) -> ProcessedBlock:
        """Take a block through all stages."""
        stages = {name: StageCount() for name in ("read", "clean", "language", "sentences", "words", "tokens")}
        removed: Counter[str] = Counter()
        texts = [document.text for document in block.documents]
        stages["read"].cpu_seconds, stages["read"].wall_seconds = block.cpu_seconds, block.wall_seconds
        stages["read"].passed(texts, texts)

        with stages["clean"].timed():
            cleaner = Cleaner(self._choices.cleaning, boilerplate=self._boilerplate)
            pairs = [(document, text) for document in block.documents if (text := cleaner(document.text))]
            cleaned = [text for _, text in pairs]
            removed["too short"] = cleaner.report.removed
            stages["clean"].passed(texts, cleaned)

        with stages["language"].timed():
            language = LanguageFilter(self._choices.language)
            pairs = [(document, text) for document, text in pairs if language(text)]
            chosen = [text for _, text in pairs]
            removed["another language"] = language.report.removed
            stages["language"].passed(cleaned, chosen)

        with stages["sentences"].timed():
            split = [split_sentences(text) for text in chosen]
            stages["sentences"].passed(chosen, chosen)

        with stages["tokens"].timed():
            found = self._tokenize(list(chain.from_iterable(split)))
            lengths = np.diff(found.starts)
            counts = np.fromiter(map(len, split), dtype=np.int64, count=len(split))
            owners = np.repeat(np.arange(len(split)), counts)
            # Sentences may be without tokens, of characters that the tokenizer drops; so may documents.
            document_sentences = np.bincount(owners[lengths > 0], minlength=len(split))
            pairs = [pair for pair, count in zip(pairs, document_sentences.tolist(), strict=True) if count]
            tokenized = [text for _, text in pairs]
            removed["without tokens"] = len(chosen) - len(tokenized)
            stages["tokens"].passed(chosen, tokenized, tokens_out=len(found.ids))
        stages["words"].passed(chosen, chosen)
        cpu, wall = found.word_seconds
        stages["words"].cpu_seconds, stages["words"].wall_seconds = cpu, wall
        stages["tokens"].cpu_seconds -= cpu
        stages["tokens"].wall_seconds -= wall

        overlaps: BlockOverlaps | None = None
        if self._evaluation is not None:
            stages["overlap"] = StageCount()
            with stages["overlap"].timed():
                tokens = np.bincount(owners, weights=lengths, minlength=len(split))[document_sentences > 0]
                overlaps = _overlaps(self._evaluation, pairs, tokens.astype(np.int64))
        return ProcessedBlock(
            tokens=found.ids.astype(self._dtype),
            word_starts=found.word_starts,
            sentence_lengths=lengths[lengths > 0],
            document_sentences=document_sentences[document_sentences > 0],
            texts=tuple(tokenized),
            stages=stages,
            cleaning=cleaner.report,
            removed=+removed,
            languages=language.report.characters,
            overlaps=overlaps,
        )

    def write_keys(self, target: Path, made: ProcessedBlock) -> None:
        """Write the keys that tell duplicates, and count the time as the block's."""
        with made.stages.setdefault("duplicates", StageCount()).timed():
            write_keys(target, made.texts, self._choices.keys)


def _overlaps(
    evaluation: OverlapIndex, pairs: Sequence[tuple[Document, str]], tokens: npt.NDArray[np.int64]
) -> BlockOverlaps:
    """Return what documents, given with their cleaned texts, share with evaluation texts."""
    shared = evaluation.find([text for _, text in pairs])
    found = shared.texts
    return BlockOverlaps(
        shared=shared,
        documents=tuple(replace(pairs[place][0], text="") for place in found.tolist()),
        characters=np.array([len(pairs[place][1]) for place in found.tolist()], dtype=np.int64),
        tokens=tokens[found],
    )
