"""Sentences of the report that are not about the ranking: what was done to the data, the budget, what stands out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from albertine.catalogue import Catalogue
from albertine.comparison.candidates import Contestant
from albertine.comparison.results import CandidateSummary, DataSummary, RunResult
from albertine.data.formats import DataFormat
from albertine.data.samples import Splits
from albertine.training.config import DEFAULT_EPOCHS, TrainingConfig

__all__ = ["best_run", "budget_sentence", "data_summary", "remarks"]


def data_summary(splits: Splits, format: DataFormat, texts: Catalogue, *, dev_as_test: bool) -> DataSummary:
    """Describe the data as the candidates get it.

    Args:
        splits: the splits.
        format: what their examples look like.
        texts: the report's language.
        dev_as_test: True where the development file is what is measured on.
    """
    counts = Counter(label for one in splits.train for label in format.labels(one))
    return DataSummary(
        source=splits.source,
        sha256=dict(splits.sha256),
        train=len(splits.train),
        dev=len(splits.dev),
        test=len(splits.test),
        labels=splits.labels,
        label_counts={label: counts[label] for label in splits.labels},
        notes=tuple(_data_notes(splits, texts, dev_as_test)),
    )


def _data_notes(splits: Splits, texts: Catalogue, dev_as_test: bool) -> list[str]:
    counts = splits.counts
    notes = []
    if counts.distinct < counts.rows and counts.duplicates_removed:
        notes.append(
            texts(
                "note.duplicates",
                rows=f"{counts.rows:,}",
                distinct=f"{counts.distinct:,}",
            )
        )
    if counts.conflicting:
        notes.append(texts("note.conflicting", count=f"{counts.conflicting:,}"))
    if counts.overlaps_removed:
        notes.append(texts("note.overlaps", count=f"{counts.overlaps_removed:,}"))
    if counts.outside_sample:
        notes.append(texts("note.sample", used=f"{counts.sampled:,}", distinct=f"{counts.distinct:,}"))
    if splits.bad_rows:
        notes.append(texts("note.bad_rows", count=f"{len(splits.bad_rows):,}"))
    if dev_as_test:
        notes.append(texts("note.dev_as_test"))
    if splits.halved:
        notes.append(texts("note.halved"))
    named = [name for name in (splits.columns.text, splits.columns.text_pair, splits.columns.label) if name]
    if named:
        notes.append(texts("note.columns", columns=", ".join(named)))
    return notes


def budget_sentence(training: TrainingConfig, candidates: Sequence[Contestant], *, train: int, texts: Catalogue) -> str:
    """Say what every run was allowed.

    Args:
        training: how runs were trained.
        candidates: who took part.
        train: training texts.
        texts: the report's language.
    """
    batch = training.batch_size
    if training.minutes is not None:
        sentence = texts("budget.minutes", minutes=f"{training.minutes:g}", batch=batch)
    else:
        epochs = training.epochs or DEFAULT_EPOCHS
        seen = training.examples or round(epochs * train)
        sentence = texts("budget.examples", examples=f"{seen:,}", epochs=f"{seen / train:.3g}", batch=batch)
    solvers = [one.info.name for one in candidates if one.candidate.fitted_by_solver]
    return " ".join([sentence, *(texts("budget.solver", name=name) for name in solvers)])


def remarks(
    candidates: Sequence[CandidateSummary], recommended: str | None, *, out: Path, texts: Catalogue
) -> list[str]:
    """Say which candidates did not learn, and where the recommended one's model is.

    Args:
        candidates: summed up.
        recommended: the name of one of them.
        out: the comparison's folder, as the user named it.
        texts: the report's language.
    """
    sentences = []
    for one in candidates:
        finished = [run for run in one.runs if run.failed is None]
        lost = sum(not run.learnt for run in finished)
        if lost:
            sentences.append(texts("remark.did_not_learn", name=one.name, count=lost, runs=len(finished)))
    chosen = next((one for one in candidates if one.name == recommended), None)
    if chosen is not None:
        best = best_run(chosen)
        folder = out / best.folder
        sentences.append(texts("remark.folder", name=chosen.name, folder=folder, seed=best.seed))
    return sentences


def best_run(candidate: CandidateSummary) -> RunResult:
    """Return the finished run that is best on the development split: the test split chooses nothing."""
    return max((run for run in candidate.runs if run.failed is None), key=lambda run: run.dev_metric or 0.0)
