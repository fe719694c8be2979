"""Comparisons on pairs of texts have the baseline that counts what two texts share."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from albertine.catalogue import catalogue
from albertine.comparison.candidates import able, contestants
from albertine.comparison.compare import compare
from albertine.errors import ConfigError
from albertine.records import Example
from albertine.tasks.classification_options import ClassificationOptions
from albertine.tasks.sentence_similarity import TASK as SIMILARITY
from albertine.tasks.similarity_options import SimilarityOptions
from albertine.tasks.task import AnyTask
from albertine.tasks.text_classification import TASK as CLASSIFICATION

ENGLISH = catalogue("en")
WORDS = ["lamp", "river", "stone", "window", "horse", "paper", "cloud", "garden", "bread", "glass", "coat", "song"]
PAIRS = [Example(text="a", text_pair="b", label="x", value=0.0), Example(text="c", text_pair="d", label="y", value=1.0)]
SINGLE = [Example(text="a", label="x", value=0.0), Example(text="c", label="y", value=1.0)]
PARTNERS = [Example(text="a", text_pair="b", value=1.0), Example(text="c", text_pair="d", value=1.0)]


def data(path: Path, answer: str, *, labels: bool) -> Path:
    generator = random.Random(3)
    lines = [f"text_a,text_b,{answer}"]
    for place in range(200):
        own = f"n{place}"
        first = [own, *generator.sample(WORDS, 4)]
        same = place % 2 == 0
        second = [*first[:-1], "moon"] if same else [f"m{place}", *generator.sample(WORDS, 4)]
        lines.append(f"{' '.join(first)},{' '.join(second)},{('no', 'yes')[same] if labels else (0, 4)[same]}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_its_row_stands_in_the_report(tmp_path: Path) -> None:
    path = data(tmp_path / "pairs.csv", "label", labels=True)
    report = compare(path, encoders=[], baselines=["overlap"], out=tmp_path / "out", lang="zh")
    (overlap,) = report.candidates
    assert overlap.kind == "overlap"
    assert overlap.description == catalogue("zh")("candidate.overlap")
    assert [run.failed for run in overlap.runs] == [None]
    assert overlap.quality is not None
    assert overlap.quality.value > 0.9
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "overlap" in page
    assert "两段文本的共同之处" in page


def test_similarity_has_it_before_bilstm_by_default(tmp_path: Path) -> None:
    path = data(tmp_path / "scored.csv", "score", labels=False)
    report = compare(
        path, task="sentence-similarity", encoders=[], out=tmp_path / "out", seeds=1, epochs=1, vocabulary_size=99
    )
    assert {one.name for one in report.candidates} == {"overlap", "bilstm"}
    (overlap,) = [one for one in report.candidates if one.name == "overlap"]
    assert [run.failed for run in overlap.runs] == [None]
    assert overlap.quality is not None
    assert overlap.quality.value > 0.8


@pytest.mark.parametrize(
    ("task", "options", "measured", "expected"),
    [
        (CLASSIFICATION, ClassificationOptions(), PAIRS, ("bag-of-words", "overlap", "word-vectors", "bilstm")),
        (CLASSIFICATION, ClassificationOptions(), SINGLE, ("bag-of-words", "word-vectors", "bilstm")),
        (CLASSIFICATION, ClassificationOptions(problem="regression"), PAIRS, ("overlap", "word-vectors", "bilstm")),
        (CLASSIFICATION, ClassificationOptions(problem="regression"), SINGLE, ("word-vectors", "bilstm")),
        (CLASSIFICATION, ClassificationOptions(problem="multi"), PAIRS, ("word-vectors", "bilstm")),
        (SIMILARITY, SimilarityOptions(), PAIRS, ("overlap", "bilstm")),
        (SIMILARITY, SimilarityOptions(), PARTNERS, ("bilstm",)),
        (SIMILARITY, SimilarityOptions(loss="contrastive"), PAIRS, ("bilstm",)),
        (SIMILARITY, SimilarityOptions(architecture="cross-encoder"), PAIRS, ("overlap", "bilstm")),
    ],
)
def test_a_task_says_which_baselines_can_do_the_data(
    task: AnyTask, options: object, measured: list[Example], expected: tuple[str, ...]
) -> None:
    assert task.baselines(options, measured) == expected  # type: ignore[arg-type]


def test_it_is_left_out_of_single_texts_and_refused_there_where_it_was_named(tmp_path: Path) -> None:
    path = tmp_path / "single.csv"
    path.write_text("text,label\n" + "".join(f"word{place},{place % 2}\n" for place in range(60)), encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot do the task with these data"):
        compare(path, encoders=[], baselines=["overlap"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    everyone = contestants([], None, ENGLISH, possible=["bag-of-words", "overlap", "bilstm"])
    left = able(everyone, ["bag-of-words", "bilstm"], asked=False)
    assert [one.source for one in left] == ["bag-of-words", "bilstm"]
