"""The verb pretrain: one JSON document, numbers as people write them, one line where something is wrong."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

import albertine as al
from albertine.batching.corpus.choices import CorpusChoices
from albertine.cli.main import main
from albertine.data.cleaning import CleaningChoices
from albertine.progress import ProgressBar
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel
from albertine.training.log import read_log
from albertine.training.pretraining import speed
from albertine.training.progress import TrainingProgress

PEOPLE, DOINGS = ("keeper", "sailor", "miller", "farmer"), ("waits", "sleeps", "sings", "walks")
SHORT = ("--lengths", "32", "--tokens-per-step", "256", "--precision", "fp32", "--evaluations", "2")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 documents of three sentences."""
    folder = tmp_path_factory.mktemp("corpus")
    texts = [
        " ".join(f"On day {day} the {PEOPLE[(number + day) % 4]} {DOINGS[number % 4]}." for day in (1, 2, 3))
        for number in range(60)
    ]
    (folder / "texts.txt").write_text("\n\n".join(texts), encoding="utf-8")
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ("on", "day", "the", *PEOPLE, *DOINGS, *"123", *letters, *(f"##{letter}" for letter in letters), ".")
    al.build_corpus(
        folder / "texts.txt",
        tokenizer=Tokenizer(WordPieceModel([*SPECIAL_TOKENS, *words], rules=Rules(lowercase=True, strip_accents=True))),
        out=folder / "shards",
        choices=CorpusChoices(
            segmenter="characters", duplicates="keep", held_out=0.1, cleaning=CleaningChoices(mojibake=False, minimum=9)
        ),
        workers=1,
        progress=lambda progress: None,
    )
    return folder / "shards"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps tell enough of the speed."""
    monkeypatch.setattr(speed, "_SECONDS_EACH", 0.0)


def pretrain(corpus: Path, out: Path, *words: str, encoder: str = "preset:bert-tiny") -> int:
    return main(["pretrain", str(corpus), "--encoder", encoder, "--out", str(out), *words])


def test_a_run_prints_its_result_and_says_what_comes_next(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain(corpus, tmp_path / "out", *SHORT, "--max-steps", "4", "--checkpoint-minutes", "0.5") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("held out: masked_word_loss ")
    assert len(printed.out.splitlines()) == 1
    for text in (
        "pairs:",
        "steps: 4 of 256 tokens",
        "memory:",
        f"encoder folder: {tmp_path / 'out'}",
        "next:",
    ):
        assert text in printed.err
    encoder, _ = al.load_encoder(tmp_path / "out")
    assert encoder.config.hidden_size == 128
    assert pretrain(corpus, tmp_path / "out", *SHORT, "--max-steps", "4") == 0
    again = capsys.readouterr()
    assert again.out == printed.out
    assert "finished already" in again.err


def test_json_is_one_document(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain(corpus, tmp_path / "out", *SHORT, "--tokens", "1.5K", "--json", "--lang", "zh") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    assert document["folder"] == str(tmp_path / "out")
    assert document["stop_reason"] is None
    assert document["measurements"]["tokens"] >= 1500
    assert document["measurements"]["main_metric"] == "masked_word_loss"
    assert "预训练" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_a_plan_is_printed_and_nothing_written(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain(corpus, tmp_path / "out", *SHORT, "--tokens", "200K", "--plan") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "pairs", "masks", "steps", "speed", "time", "memory",
    ]  # fmt: skip
    assert pretrain(corpus, tmp_path / "out", *SHORT, "--tokens", "200K", "--plan", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    assert document["plan"]["size"]["tokens"] == pytest.approx(200_000, rel=0.01)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("written", "meant"),
    [("200K", 200_000), ("1.5M", 1_500_000), ("20_000", 20_000), ("30,000", 30_000), ("0.001b", 1_000_000)],
)
def test_numbers_are_read_as_people_write_them(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], written: str, meant: int
) -> None:
    assert pretrain(corpus, tmp_path / "out", *SHORT, "--tokens", written, "--plan", "--json") == 0
    assert json.loads(capsys.readouterr().out)["plan"]["size"]["tokens"] == pytest.approx(meant, rel=0.02)


def test_lengths_and_shares_of_masks_reach_the_run(corpus: Path, tmp_path: Path) -> None:
    words = (
        "--lengths",
        "24:0.75，32:0.25",
        "--mask-share",
        "0.3:0.15",
        "--max-steps",
        "2",
        "--tokens-per-step",
        "256",
    )
    assert pretrain(corpus, tmp_path / "out", *words, "--precision", "fp32", "--masking", "pieces") == 0
    given = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["inputs"]["pretraining"]
    assert given["phases"] == [{"length": 24, "share": 0.75}, {"length": 32, "share": 0.25}]
    assert given["mask_share"] == {"first": 0.3, "last": 0.15}
    assert given["masking"] == "pieces"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--tokens", "many"], "--tokens: not a number of tokens. Received: many"),
        (["--tokens", "0"], "--tokens: not a number of tokens"),
        (["--tokens", "-5"], "--tokens: not a number of tokens"),
        (["--tokens", "1e6"], "--tokens: not a number of tokens"),
        (["--tokens", "3 miles"], "--tokens: not a number of tokens"),
        (["--tokens-per-step", "x"], "--tokens-per-step: not a number"),
        (["--tokens-per-micro-batch", "0"], "--tokens-per-micro-batch: not a number"),
        (["--held-out-tokens", "x"], "--held-out-tokens: not a number"),
        (["--max-steps", "3", "--lengths", "short"], "--lengths: not a list of lengths. Received: short"),
        (["--max-steps", "3", "--lengths", "32:"], "--lengths: not a share"),
        (["--max-steps", "3", "--lengths", "32:a"], "--lengths: not a share. Received: a"),
        (["--max-steps", "3", "--lengths", "4"], "rows are too short"),
        (["--max-steps", "3", "--lengths", "24,32"], "do not add up"),
        (["--max-steps", "3", "--lengths", "1024"], "--lengths 128"),
        (["--max-steps", "3", "--mask-share", "much"], "--mask-share: not a share. Received: much"),
        (["--max-steps", "3", "--mask-share", "0.2:"], "--mask-share"),
        (["--max-steps", "3", "--mask-share", "1.5"], "share out of range"),
        (["--max-steps", "3", "--objective", "both"], "--objective"),
        (["--max-steps", "3", "--pair", "sob"], "--pair"),
        (["--max-steps", "3", "--device", "gpu"], "unknown device"),
        (["--max-steps", "3", "--dropout", "1"], "dropout"),
        (["--max-steps", "3", "--learning-rate", "0"], "learning_rate"),
        (["--max-steps", "3", "--ramp", "0.3"], "a batch that grows needs both"),
        (["--max-steps", "3", "--lang", "fr"], "fr"),
        (["--tokens", "9K", "--minutes", "1"], "more than one budget"),
        ([], "--tokens, --minutes, --epochs or --max-steps"),
    ],
)
def test_a_wrong_option_is_one_line(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    base = [*([] if "--lengths" in words else ["--lengths", "32"]), "--precision", "fp32"]
    assert pretrain(corpus, tmp_path / "out", *base, *words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert told in printed.err.splitlines()[-1]
    assert "Traceback" not in printed.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("encoder", "told"),
    [
        ("preset:bert-tinny", "bert-tiny"),
        ("no/such/folder", "no such encoder folder"),
        ("bag-of-words", "only encoders are pretrained"),
    ],
)
def test_a_wrong_encoder_is_one_line(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], encoder: str, told: str
) -> None:
    assert pretrain(corpus, tmp_path / "out", *SHORT, "--max-steps", "3", encoder=encoder) == 2
    printed = capsys.readouterr()
    assert told in printed.err.splitlines()[-1]
    assert "Traceback" not in printed.err


def test_a_folder_that_is_no_corpus_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain(tmp_path, tmp_path / "out", *SHORT, "--max-steps", "3") == 2
    printed = capsys.readouterr()
    assert "corpus.json" in printed.err.splitlines()[-1]
    assert "Traceback" not in printed.err


def test_an_interrupted_run_exits_with_130_and_the_same_command_goes_on(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(bar: ProgressBar, progress: TrainingProgress) -> None:
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    words = (*SHORT, "--max-steps", "6")
    with monkeypatch.context() as patched:
        patched.setattr(ProgressBar, "__call__", interrupt)
        assert pretrain(corpus, tmp_path / "out", *words) == 130
    said = capsys.readouterr().err
    assert "interrupted at step 3; the same command continues there" in said
    assert said.splitlines()[-1].endswith("the same command continues at the last checkpoint")
    assert not (tmp_path / "out" / "model.safetensors").exists()
    assert pretrain(corpus, tmp_path / "out", *words) == 0
    assert "continuing at step 3" in capsys.readouterr().err
    assert [point.step for point in read_log(tmp_path / "out" / "log.jsonl")] == [1, 2, 3, 4, 5, 6]
    assert pretrain(corpus, tmp_path / "whole", *words) == 0
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "whole")]
    assert weights[0] == weights[1]


def test_other_options_need_restart(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain(corpus, tmp_path, *SHORT, "--max-steps", "2") == 0
    assert pretrain(corpus, tmp_path, *SHORT, "--max-steps", "3") == 2
    assert "training.max_steps: 3 now" in capsys.readouterr().err.splitlines()[-1]
    assert pretrain(corpus, tmp_path, *SHORT, "--max-steps", "3", "--restart") == 0
    assert len(read_log(tmp_path / "log.jsonl")) == 3
