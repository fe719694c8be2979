"""What is foretold before a build: sizes near the real ones, refusal where the disk is too small, packages."""

from __future__ import annotations

import gzip
import json
import lzma
import shutil
import zipfile
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from albertine.batching.corpus.build import build_corpus
from albertine.batching.corpus.choices import CorpusChoices
from albertine.batching.corpus.plan import make_plan
from albertine.batching.corpus.progress import CorpusProgress
from albertine.batching.corpus.reading import ReadingChoices
from albertine.batching.corpus.sampling import sample_corpus
from albertine.data.cleaning import CleaningChoices
from albertine.errors import FailureError, MissingDependencyError
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel

CHINESE = "我们昨天在河边看见一只白色的大鸟它飞过村子和山谷然后停在老房子的屋顶上等待春天的雨"
CHOICES = CorpusChoices(segmenter="characters", cleaning=CleaningChoices(mojibake=False), duplicates="exact")


def some_tokenizer() -> Tokenizer:
    tokens = [*SPECIAL_TOKENS, *"abcdefghijklmnopqrstuvwxyz。", *(f"##{x}" for x in "abcdefghijklmnopqrstuvwxyz")]
    return Tokenizer(
        WordPieceModel([*tokens, *dict.fromkeys(CHINESE)], rules=Rules(lowercase=True, strip_accents=True))
    )


def some_documents(count: int, seed: int = 1) -> list[str]:
    generator = np.random.default_rng(seed)
    letters = "".join(generator.choice(list(CHINESE), 20_000))
    documents = []
    for sentences in generator.integers(2, 60, count).tolist():
        starts, sizes = generator.integers(0, 19_000, sentences).tolist(), generator.integers(5, 30, sentences).tolist()
        documents.append("".join(letters[one : one + size] + "。" for one, size in zip(starts, sizes, strict=True)))
    return documents


def written(path: Path, documents: list[str]) -> Path:
    """Write documents in the form that the name says."""
    if ".jsonl" in path.name:
        text = "\n".join(json.dumps({"title": str(n), "text": one}) for n, one in enumerate(documents))
    elif ".doc" in path.name:
        text = "".join(f'<doc id="{n}">\n{one}\n</doc>\n' for n, one in enumerate(documents))
    else:
        text = "\n\n".join(documents)
    data = text.encode()
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".xz":
        data = lzma.compress(data)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(path.stem, data)
        return path
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "names",
    [["one.txt"], ["one.txt.xz"], ["one.jsonl.gz"], ["one.doc.txt.zip"], ["a.txt", "b.jsonl", "c.doc.txt.xz"]],
    ids=lambda names: "+".join(names),
)
def test_the_folder_becomes_as_large_as_was_foretold(tmp_path: Path, names: list[str]) -> None:
    documents = some_documents(900)
    size = len(documents) // len(names)
    files = [written(tmp_path / name, documents[place * size : (place + 1) * size]) for place, name in enumerate(names)]
    sample = sample_corpus(files, ReadingChoices())
    assert 0 < sample.share < 0.9
    report = build_corpus(files, tokenizer=some_tokenizer(), out=tmp_path / "out", choices=CHOICES, workers=1)
    real = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.suffix != ".json")
    assert report.predicted.corpus_bytes == pytest.approx(real, rel=0.15)
    assert report.predicted.tokens == pytest.approx(sum(split.tokens for split in report.splits.values()), rel=0.15)
    assert report.predicted.characters == pytest.approx(report.stages["read"].characters_out, rel=0.15)


def test_the_disk_is_never_fuller_than_was_foretold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("albertine.batching.corpus.reading.BLOCK_CHARACTERS", 20_000)
    file = written(tmp_path / "one.txt", some_documents(400))
    out = tmp_path / "out"
    fullest = 0

    def measure(progress: CorpusProgress) -> None:
        nonlocal fullest
        fullest = max(fullest, sum(path.stat().st_size for path in out.rglob("*") if path.is_file()))

    choices = replace(CHOICES, tokens_per_shard=50_000)
    report = build_corpus(file, tokenizer=some_tokenizer(), out=out, choices=choices, workers=1, progress=measure)
    assert report.splits["train"].shards > 3
    assert report.corpus_bytes < fullest <= 1.2 * report.predicted.peak_bytes


def test_a_corpus_that_does_not_fit_is_refused_with_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "one.txt", some_documents(300))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))
    out = tmp_path / "out"
    with pytest.raises(FailureError, match=r"does not fit on this disk.*0\.00 MB free.* MB or more") as caught:
        build_corpus(file, tokenizer=some_tokenizer(), out=out, choices=CHOICES, workers=1)
    assert caught.value.next_step
    monkeypatch.undo()
    build_corpus(file, tokenizer=some_tokenizer(), out=out, choices=CHOICES, workers=1)


def test_a_chinese_corpus_without_its_segmenter_is_refused_and_an_english_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise MissingDependencyError("rjieba", extra="zh", feature="Chinese whole words")

    monkeypatch.setattr("albertine.batching.corpus.plan.rjieba_segmenter", missing)
    choices = replace(CHOICES, segmenter="auto")
    chinese = written(tmp_path / "zh.txt", some_documents(20))
    with pytest.raises(MissingDependencyError, match="rjieba"):
        make_plan([chinese], choices, some_tokenizer(), tmp_path)
    english = written(tmp_path / "en.txt", ["some english words stand here in a row. " * 20 + "河"] * 20)
    plan = make_plan([english], choices, some_tokenizer(), tmp_path)
    assert plan.choices.segmenter == "characters"
    assert any("rjieba" in note for note in plan.notes)
    with pytest.raises(MissingDependencyError, match="rjieba"):
        make_plan([english], replace(choices, segmenter="rjieba"), some_tokenizer(), tmp_path)


def test_lines_that_stand_everywhere_are_taken_out_when_asked_for(tmp_path: Path) -> None:
    documents = [f"本站版权所有请勿转载\n{one}" for one in some_documents(200)]
    file = written(tmp_path / "one.jsonl", documents)
    tokens = {}
    for boilerplate in (False, True):
        out = tmp_path / str(boilerplate)
        choices = replace(CHOICES, boilerplate=boilerplate, cleaning=CleaningChoices(mojibake=False, minimum=0))
        report = build_corpus(file, tokenizer=some_tokenizer(), out=out, choices=choices, workers=1)
        tokens[boilerplate] = sum(split.tokens for split in report.splits.values())
        used = json.loads((out / "corpus.json").read_text(encoding="utf-8"))["choices"]["used"]
        assert used["boilerplate"] == (["本站版权所有请勿转载"] if boilerplate else [])
    assert tokens[False] - tokens[True] == 200 * len("本站版权所有请勿转载")
