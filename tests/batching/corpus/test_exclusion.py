"""A corpus without evaluation texts: what is left out, what is told, and that it can be repeated and gone on with."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from albertine.batching.corpus import reading, selection
from albertine.batching.corpus.build import build_corpus
from albertine.batching.corpus.choices import CorpusChoices
from albertine.batching.corpus.progress import CorpusProgress
from albertine.batching.corpus.report import OVERLAPS_KEPT, CorpusReport
from albertine.batching.shards import Shards, Split
from albertine.data.cleaning import CleaningChoices, clean
from albertine.data.overlap import COMMON
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


def test_only_the_first_examples_are_kept(tmp_path: Path) -> None:
    path, test = tmp_path / "many.txt", tmp_path / "test.jsonl"
    generator = np.random.default_rng(5)
    sentences = [" ".join(generator.choice(WORDS, 16)) for _ in range(2 * OVERLAPS_KEPT)]
    test.write_text("\n".join(json.dumps({"sentence": one}) for one in sentences), encoding="utf-8")
    path.write_text("\n\n".join([*sentences, "Something else stands at the end of it.\n"]), encoding="utf-8")
    report = build(path, tmp_path / "out", exclude=test)
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


def random_text(seed: int, words: int = 60) -> list[str]:
    return [str(word) for word in np.random.default_rng(seed).choice(WORDS, words)]


def with_passages(seed: int, *passages: str) -> str:
    """A document of its own that says some things in between."""
    parts = np.array_split(np.array(random_text(seed), dtype=object), len(passages) + 1)
    said = [*(" ".join(part) for part in parts)]
    return " ".join([said[0], *(f"{passage} {rest}" for passage, rest in zip(passages, said[1:], strict=True))])


def phrase(seed: int, words: int = 18) -> str:
    return " ".join(random_text(1000 + seed, words))


def build_rows(folder: Path, texts: list[str], evaluation: list[str], **options: object) -> CorpusReport:
    """Build from documents with the given texts, without those of an evaluation file, and return the report."""
    folder.mkdir(exist_ok=True)
    path, test = folder / "corpus.jsonl", folder / "evaluation.jsonl"
    path.write_text(
        "\n".join(json.dumps({"text": text, "id": f"document {number}"}) for number, text in enumerate(texts)),
        encoding="utf-8",
    )
    test.write_text("\n".join(json.dumps({"sentence": one}) for one in evaluation), encoding="utf-8")
    return build(path, folder / "out", exclude=test if evaluation else (), **options)


@pytest.mark.parametrize(("documents", "gone"), [(COMMON, COMMON), (COMMON + 1, 0)])
@pytest.mark.parametrize("passage", [TEST, TEST_ZH, TEST_ZH[7:18]])
def test_what_stands_in_more_than_ten_documents_takes_none_of_them_out(
    tmp_path: Path, documents: int, gone: int, passage: str
) -> None:
    texts = [with_passages(number, *([passage] if number < documents else [])) for number in range(30)]
    excluded = build_rows(tmp_path, texts, [passage]).excluded
    assert excluded is not None
    assert excluded.documents == gone
    assert excluded.common == (0 if gone else excluded.runs + excluded.short_texts)
    assert [one.documents for one in excluded.common_examples] == ([] if gone else [documents])


def test_a_document_with_a_common_phrase_and_a_test_sentence_goes_and_the_sentence_is_shown(tmp_path: Path) -> None:
    common = phrase(0)
    texts = [with_passages(number, common, *([TEST] if number == 7 else [])) for number in range(15)]
    report = build_rows(tmp_path, [*texts, *(with_passages(number) for number in range(15, 30))], [common, TEST])
    excluded = report.excluded
    assert excluded is not None
    assert report.removed["overlapping evaluation texts"] == excluded.documents == 1
    (example,) = excluded.examples
    assert (example.document, example.line) == ("document 7", 8)
    assert example.shared.split() == TEST.split()[:13]
    assert excluded.characters == len(texts[7])
    assert report.stages["overlap"].tokens_out == report.stages["duplicates"].tokens_out
    # Of the six runs of thirteen words that a phrase of eighteen has, one is shown for all.
    assert excluded.common == 6
    (told,) = excluded.common_examples
    assert told.documents == 15
    assert told.passage.split() == common.split()[:13]
    rendered = report.render()
    assert "6 runs of evaluation texts in more than 10 documents each" in rendered
    assert f"15 documents: {told.passage}" in rendered
    assert CorpusReport.load(tmp_path / "out") == report


def test_the_three_most_frequent_phrases_are_shown(tmp_path: Path) -> None:
    texts = [with_passages(number, *(phrase(one) for one in range(5) if number < 15 - one)) for number in range(16)]
    excluded = build_rows(tmp_path, texts, [phrase(one) for one in range(5)]).excluded
    assert excluded is not None
    assert (excluded.documents, excluded.common) == (0, 5 * 6)
    shown = [(" ".join(phrase(one).split()[:13]), 15 - one) for one in range(3)]
    assert [(one.passage, one.documents) for one in excluded.common_examples] == shown


@pytest.mark.parametrize("duplicates", ["near", "exact", "keep"])
def test_copies_of_a_document_do_not_make_a_test_sentence_common(tmp_path: Path, duplicates: str) -> None:
    copied = " ".join([*random_text(99, 200), TEST])
    near = [f"{copied} {word}" for word in WORDS[:4]]
    others = [with_passages(number) for number in range(20)]
    choices = dataclasses.replace(CHOICES, duplicates=duplicates)  # type: ignore[arg-type]
    report = build_rows(tmp_path, [copied] * 14 + near + others, [TEST], choices=choices)
    assert report.removed["overlapping evaluation texts"] == 18
    assert sum(report.removed.get(f"{kind} duplicates", 0) for kind in ("exact", "near")) == 0
    assert sum(split.documents for split in report.splits.values()) == len(others)


def test_near_copies_without_the_test_sentence_stay_as_if_the_others_had_not_been_there(tmp_path: Path) -> None:
    article = " ".join(random_text(3, 300))
    others = [with_passages(number) for number in range(20)]
    copies = [f"{article} {word}" for word in WORDS[:3]]
    report = build_rows(tmp_path / "both", [f"{article} {TEST}", *others, *copies], [TEST])
    build_rows(tmp_path / "alone", [*others, *copies], [])
    assert (report.removed["overlapping evaluation texts"], report.removed["near duplicates"]) == (1, 2)
    ours, theirs = (contents(tmp_path / name / "out", index=False) for name in ("both", "alone"))
    assert ours == theirs


def test_the_stage_counts_documents_characters_and_tokens_where_it_is_decided(
    corpus: Path, tests: Path, tmp_path: Path
) -> None:
    report = build(corpus, tmp_path / "out", exclude=[tests])
    others = tmp_path / "others.jsonl"
    others.write_text("\n".join(json.dumps({"text": text}) for text in some_texts(planted=False)), encoding="utf-8")
    clean_tokens = build(others, tmp_path / "clean").stages["tokens"]
    names = list(report.stages)
    assert names[names.index("overlap") - 1 : names.index("overlap") + 2] == ["tokens", "overlap", "duplicates"]
    before, stage, after = (report.stages[name] for name in ("tokens", "overlap", "duplicates"))
    for unit in ("documents", "characters", "tokens"):
        assert getattr(stage, f"{unit}_in") == getattr(before, f"{unit}_out") > 0
        assert getattr(stage, f"{unit}_out") == getattr(clean_tokens, f"{unit}_out") > 0
    assert (after.documents_in, after.tokens_in) == (stage.documents_out, stage.tokens_out)
    assert report.excluded is not None
    assert report.excluded.tokens == stage.tokens_in - stage.tokens_out
    assert stage.cpu_seconds > 0


def test_common_phrases_are_the_same_with_more_workers_and_after_interruptions_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BLOCK_CHARACTERS", 1500)
    texts = [with_passages(number, phrase(0), *([TEST] if number % 9 == 0 else [])) for number in range(60)]
    evaluation = [phrase(0), TEST]
    calls = Interrupted(10**9)
    whole = build_rows(tmp_path, texts, evaluation, progress=calls)
    assert whole.excluded is not None
    assert (whole.excluded.documents, whole.excluded.common) == (7, 6)
    path, test = tmp_path / "corpus.jsonl", tmp_path / "evaluation.jsonl"
    made = 10**9 - calls.left
    outs = {name: tmp_path / str(name) for name in ("workers", 1, made // 3, made // 2, made, "choice", "duplicates")}
    build(path, outs["workers"], exclude=test, workers=2)
    for at in (1, made // 3, made // 2, made):
        with pytest.raises(KeyboardInterrupt):
            build(path, outs[at], exclude=test, progress=Interrupted(at))
    for name, function in (("choice", "hold_out"), ("duplicates", "_mark_duplicates")):
        with monkeypatch.context() as patched:
            patched.setattr(selection, function, interrupt)
            with pytest.raises(KeyboardInterrupt):
                build(path, outs[name], exclude=test)
    for out in outs.values():
        again = build(path, out, exclude=test)
        assert contents(out) == contents(tmp_path / "out"), out
        assert again.excluded == whole.excluded
        assert again.removed == whole.removed
        assert not (out / "work").exists()


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
