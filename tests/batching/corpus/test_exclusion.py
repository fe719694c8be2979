"""A corpus without evaluation texts: what is left out, what is told, and that it can be repeated and gone on with."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from albertine.batching.corpus import reading
from albertine.batching.corpus.build import build_corpus
from albertine.batching.corpus.choices import CorpusChoices
from albertine.batching.corpus.progress import CorpusProgress
from albertine.batching.corpus.report import OVERLAPS_KEPT, CorpusReport
from albertine.batching.shards import Shards, Split
from albertine.data.cleaning import CleaningChoices, clean
from albertine.errors import ConfigError, DataError
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel

WORDS = ["the", "miller", "took", "his", "lantern", "and", "looked", "for", "a", "grey", "horse", "behind", "old"]
WORDS += ["barn", "where", "rain", "fell"]
CHINESE = "磨坊主人提着灯笼去旧谷仓后面找一匹灰马雨下得很大路上没有别人"
TEST = "His lantern went out, and the miller looked behind the old barn for a horse where rain fell."
TEST_ZH = "灯笼灭了以后，磨坊主人在旧谷仓后面找一匹马。"
CHOICES = CorpusChoices(
    segmenter="characters", cleaning=CleaningChoices(mojibake=False, minimum=10), tokens_per_shard=2000, held_out=0.1
)
PLANTED = (4, 5, 40, 41, 77, 90, 110, 119)


def some_tokenizer() -> Tokenizer:
    tokens = [*SPECIAL_TOKENS, *WORDS, *"abcdefghijklmnopqrstuvwxyz。，.,", *dict.fromkeys(CHINESE + TEST_ZH)]
    return Tokenizer(WordPieceModel(list(dict.fromkeys(tokens)), rules=Rules(lowercase=True, strip_accents=True)))


def some_texts(*, planted: bool) -> list[str]:
    """120 documents, every second one Chinese; those of `PLANTED` hold a test sentence, or are not there."""
    generator = np.random.default_rng(7)
    texts = []
    for number in range(120):
        chinese = number % 2 == 1
        words = generator.choice(list(CHINESE) if chinese else WORDS, 60)
        text = ("" if chinese else " ").join(words) + ("。" if chinese else ".")
        test = TEST_ZH.replace("，", ",") if chinese else TEST.upper().replace(" ", "\n")
        if number not in PLANTED or planted:
            texts.append(f"{text[:70]} {test} {text[70:]}" if number in PLANTED else text)
    return texts


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(reading, "BLOCK_CHARACTERS", 2500)
    path = tmp_path / "texts" / "a.jsonl"
    path.parent.mkdir()
    rows = [{"text": text, "id": f"document {number}"} for number, text in enumerate(some_texts(planted=True))]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    folder = tmp_path / "tests"
    (folder / "zh").mkdir(parents=True)
    (folder / "LICENSE").write_text(" ".join(WORDS), encoding="utf-8")
    (folder / "test.tsv").write_text(f"sentence\tlabel\n{TEST.lower()}\t1\ntoo short\t0\n", encoding="utf-8")
    (folder / "zh" / "dev.json").write_text(json.dumps({"context": TEST_ZH, "id": "a"}), encoding="utf-8")
    return folder


def quiet(progress: CorpusProgress) -> None:
    """Draw nothing."""


def build(corpus: Path, out: Path, **options: object) -> CorpusReport:
    given = {"workers": 1, "choices": CHOICES, "progress": quiet} | options
    return build_corpus(corpus, tokenizer=some_tokenizer(), out=out, **given)  # type: ignore[arg-type]


def contents(folder: Path, *, index: bool = True) -> dict[str, bytes]:
    """Every file but the report, which holds times."""
    passed_over = ("report.json",) if index else ("report.json", "corpus.json")
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in passed_over)
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_documents_with_a_test_sentence_are_in_neither_split(corpus: Path, tests: Path, tmp_path: Path) -> None:
    report = build(corpus, tmp_path / "out", exclude=[tests])
    others = tmp_path / "others.jsonl"
    others.write_text("\n".join(json.dumps({"text": text}) for text in some_texts(planted=False)), encoding="utf-8")
    assert len(others.read_text().splitlines()) == 120 - len(PLANTED)
    build(others, tmp_path / "clean")
    for split in ("train", "held-out"):
        ours, theirs = (Shards(tmp_path / name, _split(split), verify=True) for name in ("out", "clean"))
        assert ours.num_documents == theirs.num_documents > 0
        assert ours.tokens(0, ours.num_tokens).tolist() == theirs.tokens(0, theirs.num_tokens).tolist()
    assert report.removed["overlapping evaluation texts"] == len(PLANTED)


def _split(name: str) -> Split:
    return "train" if name == "train" else "held-out"


def test_the_report_tells_files_runs_documents_and_the_first_of_them(corpus: Path, tests: Path, tmp_path: Path) -> None:
    report = build(corpus, tmp_path / "out", exclude=[tests])
    excluded = report.excluded
    assert excluded is not None
    assert [(one.name, one.texts, one.ignored) for one in excluded.files] == [
        ("tests/test.tsv", 1, 5),
        ("tests/zh/dev.json", 1, 1),
    ]
    # 18 words make 6 runs of 13, and 20 characters 8.
    assert (excluded.runs, excluded.short_texts) == (6 + 8, 0)
    assert excluded.documents == len(PLANTED)
    stage = report.stages["overlap"]
    assert (stage.documents_in, stage.documents_out) == (120, 120 - len(PLANTED))
    planted = [text for number, text in enumerate(some_texts(planted=True)) if number in PLANTED]
    assert (
        excluded.characters
        == stage.characters_in - stage.characters_out
        == sum(len(clean(text, CHOICES.cleaning)) for text in planted)
    )
    assert [one.document for one in excluded.examples] == [f"document {number}" for number in PLANTED]
    assert [one.line for one in excluded.examples] == [number + 1 for number in PLANTED]
    assert excluded.examples[0].source == str(corpus)
    assert excluded.examples[0].shared.split() == TEST.upper().split()[:13]
    assert excluded.examples[1].shared.startswith("灯笼灭了以后,磨坊主人在")
    assert CorpusReport.load(tmp_path / "out") == report
    assert "document 4" in report.render()
    index = json.loads((tmp_path / "out" / "corpus.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in index["choices"]["exclude"]] == ["tests/test.tsv", "tests/zh/dev.json"]


def test_only_the_first_examples_are_kept(tests: Path, tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("\n\n".join(f"{TEST} {word} {WORDS[-1]}" for word in [*WORDS, "river"] * 2), encoding="utf-8")
    path.write_text(path.read_text() + "\n\nSomething else stands at the end of it.\n", encoding="utf-8")
    report = build(path, tmp_path / "out", exclude=tests / "test.tsv")
    assert report.excluded is not None
    assert report.excluded.documents > OVERLAPS_KEPT == len(report.excluded.examples)
    assert [one.line for one in report.excluded.examples] == list(range(1, 2 * OVERLAPS_KEPT, 2))


def test_without_evaluation_texts_nothing_is_told_of_them(corpus: Path, tmp_path: Path) -> None:
    report = build(corpus, tmp_path / "out")
    assert report.excluded is None
    assert "overlap" not in report.stages
    assert CorpusReport.load(tmp_path / "out") == report
    assert "exclude" not in json.loads((tmp_path / "out" / "corpus.json").read_text(encoding="utf-8"))["choices"]


def test_the_bytes_do_not_depend_on_workers_nor_on_the_order_and_place_of_files(
    corpus: Path, tests: Path, tmp_path: Path
) -> None:
    one = build(corpus, tmp_path / "1", exclude=[tests / "test.tsv", tests / "zh"])
    other = build(corpus, tmp_path / "2", exclude=[tests / "zh", tests / "test.tsv"], workers=2)
    moved = tests.rename(tmp_path / "moved")
    build(corpus, tmp_path / "3", exclude=[str(moved / "zh" / ".." / "test.tsv"), moved / "zh"])
    assert contents(tmp_path / "1") == contents(tmp_path / "2") == contents(tmp_path / "3")
    assert one.excluded == other.excluded


class Interrupted:
    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, progress: CorpusProgress) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_an_interrupted_build_goes_on_with_the_same_texts_and_no_others(
    corpus: Path, tests: Path, tmp_path: Path
) -> None:
    whole = build(corpus, tmp_path / "whole", exclude=[tests])
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        build(corpus, out, exclude=[tests], progress=Interrupted(4))
    for other in ([], [tests / "test.tsv"]):
        with pytest.raises(ConfigError, match="different: exclude"):
            build(corpus, out, exclude=other)
    content = (tests / "test.tsv").read_text(encoding="utf-8")
    (tests / "test.tsv").write_text(content + "one more row\t1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="different: exclude"):
        build(corpus, out, exclude=[tests])
    (tests / "test.tsv").write_text(content, encoding="utf-8")
    report = build(corpus, out, exclude=[tests])
    assert contents(out) == contents(tmp_path / "whole")
    assert report.excluded == whole.excluded
    with pytest.raises(ConfigError, match="different: exclude"):
        build(corpus, out)
    build(corpus, out, resume=False)
    assert contents(out, index=False) != contents(tmp_path / "whole", index=False)


def test_an_unfinished_build_without_texts_does_not_go_on_with_some(corpus: Path, tests: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(corpus, tmp_path / "out", progress=Interrupted(4))
    with pytest.raises(ConfigError, match="different: exclude"):
        build(corpus, tmp_path / "out", exclude=[tests])


def test_texts_are_looked_for_as_cleaning_leaves_them(tmp_path: Path) -> None:
    test = tmp_path / "test.txt"
    test.write_text(TEST.replace("old", "<b>o</b>ld").replace("and", "&amp; and") + "\n", encoding="utf-8")
    path = tmp_path / "corpus.txt"
    path.write_text(f"{TEST}\n\nAnother document stands behind it.\n", encoding="utf-8")
    report = build(path, tmp_path / "out", exclude=test)
    assert report.excluded is not None
    assert report.excluded.documents == 1


def test_evaluation_data_that_takes_everything_or_nothing_is_an_error(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DataError, match=r"none of the 120 documents is left.*--exclude"):
        build(corpus, tmp_path / "all", exclude=corpus)
    assert "stands beside evaluation data" in caplog.text
    labels = tmp_path / "labels.txt"
    labels.write_text("good\nbad\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"labels\.txt.*long enough"):
        build(corpus, tmp_path / "nothing", exclude=labels)


def test_a_file_without_texts_beside_others_is_warned_of(
    corpus: Path, tests: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tests / "labels").write_text("0\n1\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING, logger="albertine"):
        build(corpus, tmp_path / "out", exclude=tests)
    assert "tests/labels: 0 evaluation texts" in caplog.text
    assert "test.tsv: 1 evaluation" not in caplog.text
