"""Building a corpus: the right tokens, the same bytes whatever the workers and interruptions, refusals with reasons."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from albertine.batching.corpus import reading
from albertine.batching.corpus.build import build_corpus
from albertine.batching.corpus.choices import CorpusChoices
from albertine.batching.corpus.progress import CorpusProgress
from albertine.batching.corpus.report import CorpusReport
from albertine.batching.shards import Shards, Split
from albertine.data.cleaning import CleaningChoices, clean
from albertine.data.languages import LanguageChoices
from albertine.data.segmentation import split_sentences
from albertine.errors import ConfigError, DataError, FailureError
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel

ENGLISH = ["the", "cat", "river", "walked", "slowly", "stone", "house", "under", "bridge", "morning", "light", "keeper"]
ENGLISH += ["found", "old", "letter", "about", "music"]
CHINESE = "我们昨天在河边看见一只白色的大鸟它飞过村子和山谷然后停在老房子的屋顶上等待春天的雨"
CHOICES = CorpusChoices(
    segmenter="characters", cleaning=CleaningChoices(mojibake=False, minimum=10), tokens_per_shard=3000
)


def some_tokenizer(size: int = 0) -> Tokenizer:
    pieces = [*ENGLISH[::2], *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")]
    tokens = [*SPECIAL_TOKENS, *pieces, *"abcdefghijklmnopqrstuvwxyz。，.,?!", *dict.fromkeys(CHINESE)]
    tokens += [f"[unused{index}]" for index in range(size - len(tokens))]
    return Tokenizer(WordPieceModel(tokens, rules=Rules(lowercase=True, strip_accents=True)))


def some_texts(count: int, seed: int = 1) -> list[str]:
    generator = np.random.default_rng(seed)
    texts = []
    for number in range(count):
        sentences = []
        for _ in range(generator.integers(1, 7)):
            if number % 2:
                sentences.append(" ".join(generator.choice(ENGLISH, generator.integers(5, 14))).capitalize() + ". ")
            else:
                sentences.append("".join(generator.choice(list(CHINESE), generator.integers(6, 30))) + "。")
        texts.append("".join(sentences).strip())
    return texts


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two files of 240 documents, two of them the same; blocks of a few documents."""
    monkeypatch.setattr(reading, "BLOCK_CHARACTERS", 1500)
    texts = some_texts(239)
    texts.append(texts[6])
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("\n\n".join(texts[:100]) + "\n", encoding="utf-8")
    rows = [json.dumps({"text": text}, ensure_ascii=False) for text in texts[100:]]
    with gzip.open(folder / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(rows))
    return [folder / "a.txt", folder / "b.jsonl.gz"]


def texts_of(corpus: list[Path]) -> list[str]:
    first = corpus[0].read_text(encoding="utf-8").strip().split("\n\n")
    with gzip.open(corpus[1], "rt", encoding="utf-8") as file:
        return [*first, *(json.loads(line)["text"] for line in file)]


def quiet(progress: CorpusProgress) -> None:
    """Draw nothing."""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the report, which holds times."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "report.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def documents_of(folder: Path, split: Split) -> list[list[list[int]]]:
    shards = Shards(folder, split, verify=True)
    documents = []
    for first, last in zip(shards.document_starts[:-1].tolist(), shards.document_starts[1:].tolist(), strict=True):
        starts = shards.sentence_starts[first : last + 1].tolist()
        documents.append([shards.tokens(one, other).tolist() for one, other in pairwise(starts)])
    return documents


def test_shards_hold_the_sentences_of_every_document_once_and_in_order(corpus: list[Path], tmp_path: Path) -> None:
    tokenizer = some_tokenizer()
    report = build_corpus(corpus, tokenizer=tokenizer, out=tmp_path / "out", choices=CHOICES, workers=1, progress=quiet)
    expected = []
    for text in texts_of(corpus)[:-1]:
        sentences = split_sentences(clean(text, CHOICES.cleaning))
        if sentences:
            expected.append([tokenizer.tokenize([one], special_tokens=False).ids.tolist() for one in sentences])
    train, held_out = documents_of(tmp_path / "out", "train"), documents_of(tmp_path / "out", "held-out")
    assert len(train) + len(held_out) == len(expected)
    places = [[expected.index(document) for document in split] for split in (train, held_out)]
    assert sorted([*places[0], *places[1]]) == list(range(len(expected)))
    assert places == [sorted(places[0]), sorted(places[1])]
    assert report.removed["exact duplicates"] == 1
    assert report.splits["train"].tokens == sum(len(one) for document in train for one in document)
    assert report.splits["held-out"].documents == len(held_out) > 5
    assert report.splits["train"].shards > 1


def test_the_marks_of_words_lie_where_words_begin(corpus: list[Path], tmp_path: Path) -> None:
    tokenizer = some_tokenizer()
    build_corpus(corpus, tokenizer=tokenizer, out=tmp_path / "out", choices=CHOICES, workers=1, progress=quiet)
    shards = Shards(tmp_path / "out", "train")
    marks = shards.word_starts(0, shards.num_tokens)
    tokens = [tokenizer.id_to_token(index) for index in shards.tokens(0, shards.num_tokens).tolist()]
    assert [not token.startswith("##") for token in tokens] == marks.tolist()
    assert not marks.all()


@pytest.mark.parametrize("workers", [2, 3])
def test_the_bytes_do_not_depend_on_the_number_of_workers(corpus: list[Path], tmp_path: Path, workers: int) -> None:
    for count in (1, workers):
        build_corpus(
            corpus,
            tokenizer=some_tokenizer(),
            out=tmp_path / str(count),
            choices=CHOICES,
            workers=count,
            progress=quiet,
        )
    assert contents(tmp_path / "1") == contents(tmp_path / str(workers))


class Interrupted:
    """Raises at the given call."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.calls = 0
        self.stages: list[str] = []

    def __call__(self, progress: CorpusProgress) -> None:
        self.calls += 1
        self.stages.append(progress.stage)
        if self.calls == self.at:
            raise KeyboardInterrupt


def test_a_build_interrupted_anywhere_goes_on_to_the_same_bytes(corpus: list[Path], tmp_path: Path) -> None:
    tokenizer = some_tokenizer()
    whole = Interrupted(-1)
    build_corpus(corpus, tokenizer=tokenizer, out=tmp_path / "whole", choices=CHOICES, workers=1, progress=whole)
    assert {"documents", "duplicates", "shards"} == set(whole.stages)
    calls = whole.calls
    for at in (1, calls // 3, whole.stages.index("duplicates") + 1, whole.stages.index("shards") + 3, calls):
        out = tmp_path / str(at)
        with pytest.raises(KeyboardInterrupt):
            build_corpus(corpus, tokenizer=tokenizer, out=out, choices=CHOICES, workers=1, progress=Interrupted(at))
        with pytest.raises(DataError, match="not finished"):
            Shards(out)
        build_corpus(corpus, tokenizer=tokenizer, out=out, choices=CHOICES, workers=1, progress=quiet)
        assert contents(out) == contents(tmp_path / "whole"), at


def test_finished_blocks_are_not_made_again(corpus: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        build_corpus(corpus, tokenizer=some_tokenizer(), out=out, choices=CHOICES, workers=1, progress=Interrupted(5))
    blocks = sorted((out / "work" / "blocks").iterdir())
    assert len(blocks) == 5
    blocks[2].unlink()
    times = {path.name: path.stat().st_mtime_ns for path in blocks if path.exists()}
    with pytest.raises(KeyboardInterrupt):
        build_corpus(corpus, tokenizer=some_tokenizer(), out=out, choices=CHOICES, workers=1, progress=Interrupted(4))
    after = {path.name: path.stat().st_mtime_ns for path in sorted((out / "work" / "blocks").iterdir())}
    assert len(after) > 5
    assert times.items() <= after.items()


KILLED = """
import os, signal, sys
from albertine.batching.corpus import reading
from albertine.batching.corpus.build import build_corpus
from albertine.batching.corpus.choices import CorpusChoices
from albertine.batching.corpus.progress import CorpusProgress
from albertine.data.cleaning import CleaningChoices

reading.BLOCK_CHARACTERS = 1500
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
tokenizer, out, at, number, *corpus = sys.argv[1:]
calls = 0


def progress(told: CorpusProgress) -> None:
    global calls
    calls += 1
    if calls == int(at):
        os.kill(os.getpid(), int(number))


choices = CorpusChoices(
    segmenter="characters", cleaning=CleaningChoices(mojibake=False, minimum=10), tokens_per_shard=3000
)
build_corpus(corpus, tokenizer=tokenizer, out=out, choices=choices, workers=2, progress=progress)
"""


def workers_of(out: Path) -> list[str]:
    """Command lines of running worker processes of a build."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "albertine.batching.corpus.worker" in line and str(out) in line:
            lines.append(line)
    return lines


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_process_leaves_no_worker_and_the_build_goes_on(
    corpus: list[Path], tmp_path: Path, number: signal.Signals
) -> None:
    tokenizer, out = some_tokenizer(), tmp_path / "out"
    tokenizer.save(tmp_path / "tokenizer")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "tokenizer"), str(out), "7", str(int(number))]
    ended = subprocess.run([*command, *map(str, corpus)], capture_output=True, text=True, timeout=60)
    assert ended.returncode in (-number, 1), ended.stderr
    blocks = len(list((out / "work" / "blocks").glob("*.safetensors")))
    assert blocks >= 7
    deadline = time.monotonic() + 20
    while workers_of(out) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert workers_of(out) == []
    build_corpus(corpus, tokenizer=tokenizer, out=out, choices=CHOICES, workers=1, progress=quiet)
    build_corpus(corpus, tokenizer=tokenizer, out=tmp_path / "whole", choices=CHOICES, workers=1, progress=quiet)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_finished_corpus_is_not_built_again(corpus: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = build_corpus(corpus, tokenizer=some_tokenizer(), out=out, choices=CHOICES, workers=1, progress=quiet)
    calls = Interrupted(1)
    again = build_corpus(corpus, tokenizer=some_tokenizer(), out=out, choices=CHOICES, workers=1, progress=calls)
    assert calls.calls == 0
    assert first == again == CorpusReport.load(out)


@pytest.mark.parametrize("finished", [True, False])
def test_other_inputs_are_refused_unless_the_build_begins_again(
    corpus: list[Path], tmp_path: Path, finished: bool
) -> None:
    out, tokenizer = tmp_path / "out", some_tokenizer()
    try:
        build_corpus(
            corpus,
            tokenizer=tokenizer,
            out=out,
            choices=CHOICES,
            workers=1,
            progress=quiet if finished else Interrupted(3),
        )
    except KeyboardInterrupt:
        assert not finished
    other = replace(CHOICES, seed=5)
    with pytest.raises(ConfigError, match="different: choices"):
        build_corpus(corpus, tokenizer=tokenizer, out=out, choices=other, workers=1, progress=quiet)
    with pytest.raises(ConfigError, match="different: tokenizer"):
        build_corpus(corpus, tokenizer=some_tokenizer(200), out=out, choices=CHOICES, workers=1, progress=quiet)
    with pytest.raises(ConfigError, match="different: files"):
        build_corpus(corpus[:1], tokenizer=tokenizer, out=out, choices=CHOICES, workers=1, progress=quiet)
    build_corpus(corpus, tokenizer=tokenizer, out=out, choices=other, workers=1, progress=quiet, resume=False)
    build_corpus(corpus, tokenizer=tokenizer, out=tmp_path / "new", choices=other, workers=1, progress=quiet)
    assert contents(out) == contents(tmp_path / "new")


def test_a_folder_of_something_else_is_left_alone(corpus: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("x", encoding="utf-8")
    for resume in (True, False):
        with pytest.raises(ConfigError, match=r"thesis\.tex"):
            build_corpus(
                corpus, tokenizer=some_tokenizer(), out=out, choices=CHOICES, workers=1, progress=quiet, resume=resume
            )
    with pytest.raises(ConfigError, match="read from"):
        build_corpus(
            corpus, tokenizer=some_tokenizer(), out=corpus[0].parent, choices=CHOICES, workers=1, progress=quiet
        )
    assert os.listdir(out) == ["thesis.tex"]


def test_two_builds_do_not_work_in_one_folder(corpus: list[Path], tmp_path: Path) -> None:
    tokenizer, out = some_tokenizer(), tmp_path / "out"

    def second(progress: CorpusProgress) -> None:
        with pytest.raises(FailureError, match="another build is at work"):
            build_corpus(corpus, tokenizer=tokenizer, out=out, choices=CHOICES, workers=1, progress=quiet)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_corpus(corpus, tokenizer=tokenizer, out=out, choices=CHOICES, workers=1, progress=second)


@pytest.mark.parametrize(
    ("choices", "step"),
    [
        (replace(CHOICES, cleaning=CleaningChoices(mojibake=False, minimum=9999)), "40 too short"),
        (replace(CHOICES, language=LanguageChoices(keep="en")), "40 another language"),
    ],
)
def test_a_corpus_of_which_nothing_is_left_is_refused_with_the_step_that_took_it(
    tmp_path: Path, choices: CorpusChoices, step: str
) -> None:
    chinese = tmp_path / "chinese.txt"
    chinese.write_text("\n\n".join(some_texts(80)[::2]), encoding="utf-8")
    with pytest.raises(DataError, match=f"none of the 40 documents is left.*{step}") as caught:
        build_corpus(chinese, tokenizer=some_tokenizer(), out=tmp_path / "out", choices=choices, workers=1)
    assert caught.value.next_step
    # With what was wrong put right, the same folder will do.
    build_corpus(chinese, tokenizer=some_tokenizer(), out=tmp_path / "out", choices=CHOICES, workers=1)


def test_empty_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n\n \n", encoding="utf-8")
    with pytest.raises(DataError, match="hold no documents"):
        build_corpus(tmp_path / "empty.txt", tokenizer=some_tokenizer(), out=tmp_path / "out", choices=CHOICES)


def test_ids_beyond_65535_take_four_bytes(corpus: list[Path], tmp_path: Path) -> None:
    tokenizer = some_tokenizer(65_537)
    build_corpus(corpus, tokenizer=tokenizer, out=tmp_path / "out", choices=CHOICES, workers=1, progress=quiet)
    shards = Shards(tmp_path / "out", "train", verify=True)
    assert shards.index.dtype == np.dtype("<u4")
    small = build_corpus(
        corpus, tokenizer=some_tokenizer(), out=tmp_path / "small", choices=CHOICES, workers=1, progress=quiet
    )
    assert small.dtype == "uint16"
    same = Shards(tmp_path / "small", "train")
    np.testing.assert_array_equal(shards.tokens(0, shards.num_tokens), same.tokens(0, same.num_tokens))


def test_a_bad_row_stops_the_build_or_is_counted(corpus: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "' + some_texts(1)[0] + '"}\nnot json\n', encoding="utf-8")
    tokenizer = some_tokenizer()
    for workers in (1, 2):
        with pytest.raises(DataError, match=r"bad\.jsonl:2"):
            build_corpus(
                [*corpus, bad],
                tokenizer=tokenizer,
                out=tmp_path / f"out{workers}",
                choices=CHOICES,
                workers=workers,
                progress=quiet,
            )
    skipping = replace(CHOICES, on_error="skip")
    report = build_corpus(
        [*corpus, bad], tokenizer=tokenizer, out=tmp_path / "out", choices=skipping, workers=1, progress=quiet
    )
    assert report.removed["unreadable (json)"] == 1
    assert any("bad.jsonl:2" in note for note in report.notes)


def test_an_error_in_a_worker_is_the_one_that_is_raised(corpus: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        build_corpus(corpus, tokenizer=some_tokenizer(), out=out, choices=CHOICES, workers=1, progress=Interrupted(2))
    (out / "work" / "tokenizer" / "vocab.txt").unlink()
    (out / "work" / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(Exception, match="tokenizer") as caught:
        build_corpus(corpus, tokenizer=some_tokenizer(), out=out, choices=CHOICES, workers=2, progress=quiet)
    assert type(caught.value).__name__ == "TokenizerError"


def test_a_full_disk_leaves_what_is_finished(
    corpus: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, out = some_tokenizer(), tmp_path / "out"
    calls = 0
    fsync = os.fsync

    def full(number: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 40:
            raise OSError(28, "No space left on device")
        fsync(number)

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(FailureError, match="disk is full"):
            build_corpus(corpus, tokenizer=tokenizer, out=out, choices=CHOICES, workers=1, progress=quiet)
    assert any((out / "work" / "blocks").iterdir())
    build_corpus(corpus, tokenizer=tokenizer, out=out, choices=CHOICES, workers=1, progress=quiet)
    build_corpus(corpus, tokenizer=tokenizer, out=tmp_path / "whole", choices=CHOICES, workers=1, progress=quiet)
    assert contents(out) == contents(tmp_path / "whole")


def test_every_stage_is_counted_and_timed(corpus: list[Path], tmp_path: Path) -> None:
    report = build_corpus(
        corpus, tokenizer=some_tokenizer(), out=tmp_path / "out", choices=CHOICES, workers=1, progress=quiet
    )
    names = ["read", "clean", "language", "sentences", "words", "tokens", "duplicates", "held-out", "shards"]
    assert list(report.stages) == names
    kept = sum(split.documents for split in report.splits.values())
    assert report.stages["read"].documents_out == 240
    assert report.stages["duplicates"].documents_out == report.stages["shards"].documents_out == kept
    before = report.stages["read"].documents_out
    for name in names[1:]:
        assert report.stages[name].documents_in == before, name
        before = report.stages[name].documents_out
    assert report.stages["tokens"].cpu_seconds > 0
    assert report.stages["shards"].wall_seconds > 0
    files = [path for path in (tmp_path / "out").rglob("*") if path.suffix == ".bin"]
    assert sum(split.bytes for split in report.splits.values()) == sum(path.stat().st_size for path in files)
    assert report.peak_memory > 1 << 20
    text = report.render()
    assert all(name in text for name in [*names, "train", "exact duplicates 1", "zh", "en"])


MEASURED = """
import sys
from albertine.batching.corpus.build import build_corpus
from albertine.batching.corpus.choices import CorpusChoices
from albertine.data.cleaning import CleaningChoices

tokenizer, out, *corpus = sys.argv[1:]
choices = CorpusChoices(segmenter="characters", cleaning=CleaningChoices(mojibake=False))
print(build_corpus(corpus, tokenizer=tokenizer, out=out, choices=choices, workers=2).peak_memory)
"""


@pytest.mark.long
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    some_tokenizer().save(tmp_path / "tokenizer")
    texts = some_texts(4000)
    generator = np.random.default_rng(5)
    peaks = []
    for megabytes in (5, 20):
        path = tmp_path / f"{megabytes}.txt"
        with path.open("w", encoding="utf-8") as file:
            while file.tell() < megabytes * 1_000_000:
                file.write("\n".join(texts[place] for place in generator.integers(0, len(texts), 10)) + "\n\n")
        command = [sys.executable, "-c", MEASURED, str(tmp_path / "tokenizer"), str(tmp_path / f"out{megabytes}")]
        ended = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=600)
        assert ended.returncode == 0, ended.stderr
        peaks.append(int(ended.stdout))
    assert peaks[1] < 1_000_000_000
    assert peaks[1] < 1.15 * peaks[0] + 30_000_000


@pytest.mark.parametrize(
    ("field", "value"),
    [("held_out", 0.6), ("seed", -1), ("duplicates", "some"), ("segmenter", "jieba"), ("similarity", 0.2)],
)
def test_choices_out_of_range_are_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError):
        replace(CHOICES, **{field: value})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="workers"):
        build_corpus("x", tokenizer=some_tokenizer(), out="y", workers=0)
