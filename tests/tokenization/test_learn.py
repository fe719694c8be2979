from __future__ import annotations

import json
import logging
import lzma
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers import models, pre_tokenizers, trainers

from albertine.errors import ConfigError, DataError
from albertine.tokenization.learn import learn_vocab, learn_vocabulary
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer
from albertine.tokenization.vocabulary_report import HeldOut, measured
from albertine.tokenization.word_counts import count_words
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel

SENTENCES = [
    "the lower the newer, the lowest the newest",
    "new and low, newer and lower: widest wider wide",
    "这家店很好吃，服务也好",
    "太慢了，不好吃！",
    "Café ÀÉ 2023 2024",
]


def texts(seed: int = 0) -> list[str]:
    chosen = SENTENCES * 13
    random.Random(seed).shuffle(chosen)
    return chosen


def test_special_tokens_come_first_and_no_token_comes_twice() -> None:
    tokens = learn_vocabulary(texts()).model.tokens
    assert tokens[:5] == SPECIAL_TOKENS
    assert len(set(tokens)) == len(tokens)


def test_the_same_texts_in_any_order_give_the_same_vocabulary() -> None:
    assert learn_vocabulary(texts(0), size=99).model.tokens == learn_vocabulary(iter(texts(7)), size=99).model.tokens


def test_chinese_stays_by_character() -> None:
    tokenizer = learn_vocabulary(texts())
    tokens = tokenizer.tokenize(["很好吃"], special_tokens=False)
    assert [tokenizer.id_to_token(int(index)) for index in tokens.ids] == ["很", "好", "吃"]
    assert not any(len(token) > 1 and "好" in token for token in tokenizer.model.tokens)


def test_frequent_words_become_one_piece_and_new_words_are_spelt() -> None:
    tokenizer = learn_vocabulary(texts())
    tokens = tokenizer.tokenize(["newest lowwide"], special_tokens=False)
    pieces = [tokenizer.id_to_token(int(index)) for index in tokens.ids]
    assert pieces[0] == "newest"
    assert len(pieces) > 2
    assert tokenizer.unk_id not in tokens.ids


def test_the_size_is_kept() -> None:
    assert learn_vocabulary(texts(), size=61).vocab_size == 61
    assert learn_vocabulary(texts(), size=70).vocab_size == 70
    assert learn_vocabulary(texts(), size=9999).vocab_size < 200


def test_a_size_that_does_not_hold_the_characters_is_refused_and_the_message_says_which_does() -> None:
    with pytest.raises(ConfigError, match=r"58 or more, or a coverage of (0\.\d+) or less") as raised:
        learn_vocabulary(texts(), size=56)
    assert learn_vocabulary(texts(), size=58).vocab_size == 58
    coverage = float(str(raised.value.allowed).split()[-3])
    assert learn_vocabulary(texts(), size=56, coverage=coverage).vocab_size <= 56


def test_all_of_ascii_that_occurs_is_there_whatever_the_coverage() -> None:
    tokenizer = learn_vocabulary(["好" * 999, "x~"], coverage=0.9, size=30)
    assert None not in [tokenizer.token_to_id(token) for token in ("~", "x", "##x")]
    with pytest.raises(ConfigError, match="or more") as raised:
        learn_vocabulary(texts(), size=29)
    assert "coverage" not in str(raised.value.allowed)


def test_case_and_accents_are_kept_when_asked() -> None:
    lowered, kept = learn_vocabulary(texts()), learn_vocabulary(texts(), lowercase=False)
    assert lowered.token_to_id("cafe") is not None
    assert kept.token_to_id("Café") is not None
    assert (lowered.lowercase, kept.lowercase) == (True, False)


def test_the_rarest_characters_are_left_out_and_the_coverage_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="albertine"):
        tokenizer = learn_vocabulary(["好" * 99, "坏"], coverage=0.99)
    assert tokenizer.token_to_id("好") is not None
    assert tokenizer.token_to_id("坏") is None
    assert "1 characters, which cover 99.000 % of 100" in caplog.text


def test_what_is_learnt_loads_again(tmp_path: Path) -> None:
    tokenizer = learn_vocabulary(texts())
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.model.tokens == tokenizer.model.tokens
    assert again.tokenize(SENTENCES).ids.tolist() == tokenizer.tokenize(SENTENCES).ids.tolist()


@pytest.mark.parametrize("empty", [[], [""], [" \n", "\x00"]])
def test_no_text_is_refused(empty: list[str]) -> None:
    with pytest.raises(DataError, match="no text"):
        learn_vocabulary(empty)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 9}, "10 or more"),
        ({"size": 108, "layout": "bert"}, "109 or more"),
        ({"coverage": 0.0}, "coverage"),
        ({"coverage": 1.1}, "coverage"),
        ({"kind": "bpe"}, "wordpiece, unigram"),
        ({"layout": "google"}, "compact, bert"),
        ({"kind": "unigram", "layout": "bert"}, "compact"),
        ({"rarest": 0}, "1 or more"),
        ({"longest_piece": 0}, "1 or more"),
        ({"most_words": 999}, "1,000 or more"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        learn_vocabulary(texts(), **options)


def test_the_special_tokens_stand_where_google_has_them_when_asked(data_dir: Path) -> None:
    tokenizer = learn_vocabulary(texts(), layout="bert")
    ours = tokenizer.model.tokens[:104]
    assert ours == tuple((data_dir / "vocab/bert_chinese/vocab.txt").read_text("utf-8").split("\n")[:104])
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id) == (0, 100, 101, 102)
    assert tokenizer.mask_id == 103


def test_pieces_are_no_longer_than_asked() -> None:
    tokens = learn_vocabulary(texts(), longest_piece=3).model.tokens[5:]
    assert max(len(token.removeprefix("##")) for token in tokens) == 3
    assert max(map(len, learn_vocabulary(texts(), longest_piece=1).model.tokens[5:])) == 3  # ##a


def test_rare_pieces_are_left_out() -> None:
    assert learn_vocabulary(["seldom"] * 4).token_to_id("seldom") is None
    assert learn_vocabulary(["seldom"] * 4, rarest=4).token_to_id("seldom") is not None


ALPHABET = learn_vocabulary([*texts(), "Ελληνικά κείμενα", "русский текст", "١٢٣ نص"], size=500, coverage=1.0)


@settings(max_examples=200, deadline=None)
@given(st.text("the lowrnwsidacf 这家店很好吃，服务也太慢了！20234:,ÀÉéΕλληνικάрусскийтекст١٢٣نص\n", max_size=60))
def test_every_text_of_known_characters_has_no_unknown_token(text: str) -> None:
    assert ALPHABET.unk_id not in ALPHABET.tokenize([text]).ids


def test_repeated_runs_in_other_processes_give_the_same_bytes(tmp_path: Path) -> None:
    script = (
        "import sys, random\n"
        "from albertine.tokenization.learn import learn_vocabulary\n"
        "words = [''.join(random.Random(i % 97).choices('abcdefgh', k=3 + i % 5)) for i in range(2000)]\n"
        "random.Random(int(sys.argv[1])).shuffle(words)\n"
        "sys.stdout.write('\\n'.join(learn_vocabulary(words, size=155).model.tokens))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script, seed],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "22")
    }
    assert len(outputs) == 1
    assert len(outputs.pop().split(b"\n")) == 155


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(f"{text}\n{text}" for text in texts()) + "\n", encoding="utf-8")
    return path


def test_a_vocabulary_learnt_from_files_is_written_measured_and_compared(corpus: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    learn_vocabulary(["the new"] * 9, coverage=1.0).save(other)
    report = learn_vocab([corpus], out=tmp_path / "out", size=100, against=other)
    tokenizer = load_tokenizer(tmp_path / "out")
    assert (report.learnt.size, report.held_out_documents) == (tokenizer.vocab_size, 6)
    assert report.learnt.unknown_rate == 0.0
    assert report.against is not None
    assert report.against.unknown_rate is not None
    assert report.against.unknown_rate > 0.1
    written = json.loads((tmp_path / "out/vocabulary.json").read_text("utf-8"))
    assert written == json.loads(json.dumps(report.to_dict()))
    assert "words kept whole" in report.render()


def test_held_out_documents_are_not_learnt_from(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join([*["common words"] * 9, "xylophon " * 20] * 2), encoding="utf-8")
    report = learn_vocab([path], out=tmp_path / "out", size=90, coverage=1.0)
    assert report.held_out_documents == 2
    assert report.learnt.unknown_rate == 1.0
    assert [(unknown.text, unknown.count) for unknown in report.learnt.frequent_unknowns] == [("xylophon", 40)]


def test_traditional_characters_are_learnt_as_simplified_ones_when_asked(tmp_path: Path) -> None:
    pytest.importorskip("opencc")
    (tmp_path / "a.txt").write_text("漢語和法語\n\n" * 30, encoding="utf-8")
    learn_vocab(tmp_path / "a.txt", out=tmp_path / "as-they-are", size=120)
    learn_vocab(tmp_path / "a.txt", out=tmp_path / "simplified", size=120, simplify=True)
    traditional, simplified = (load_tokenizer(tmp_path / name) for name in ("as-they-are", "simplified"))
    assert "漢" in [traditional.id_to_token(index) for index in range(traditional.vocab_size)]
    known = {simplified.id_to_token(index) for index in range(simplified.vocab_size)}
    assert {"汉", "语"} <= known
    assert "漢" not in known


def test_a_place_in_use_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="new folder"):
        learn_vocab([tmp_path / "missing.txt"], out=tmp_path)
    with pytest.raises(ConfigError, match="2 or more"):
        learn_vocab([tmp_path / "missing.txt"], out=tmp_path / "new", held_out_every=1)


def test_too_few_documents_are_said(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text("one document " * 30, encoding="utf-8")
    report = learn_vocab(path, out=tmp_path / "out", size=60)
    assert report.learnt.tokens_per_word is None
    assert "fewer than 10 documents" in report.render()


def test_wordpiece_keeps_more_words_whole_than_byte_pair_encoding_and_knows_what_google_knows(data_dir: Path) -> None:
    """On a million characters of the English Wikipedia, at the same size and with the same characters."""
    with lzma.open(data_dir / "corpus/en_wiki_0.txt.xz", "rt", encoding="utf-8") as file:
        lines = [line for line in file.read(1_500_000).split("\n") if line and not line.startswith("<")]
    held_out = HeldOut(10)
    tokenizer = learn_vocabulary(held_out.rest(lines), size=3000)
    counts = count_words(held_out.rest(lines), Rules(lowercase=True, strip_accents=True)).words
    letters = [token for token in tokenizer.model.tokens[5:] if len(token.removeprefix("##")) == 1]
    library = LibraryTokenizer(models.WordPiece(unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=3000 - 5, initial_alphabet=sorted({token[-1] for token in letters}), show_progress=False
    )
    words = sorted(counts)
    library.train_from_iterator((" ".join([word] * counts[word]) for word in words if len(word) > 1), trainer)
    pairs = sorted(library.get_vocab(), key=library.get_vocab().__getitem__)
    missing = [token for token in letters if token not in set(pairs)]
    pairs = [*SPECIAL_TOKENS, *missing, *pairs][:3000]
    rules = Rules(lowercase=True, strip_accents=True)
    byte_pairs = Tokenizer(WordPieceModel(pairs, rules=rules))
    assert len(set(pairs) & set(tokenizer.model.tokens)) < 2900
    ours = measured(tokenizer, held_out.texts, name="likelihood")
    theirs = measured(byte_pairs, held_out.texts, name="byte pairs")
    google = measured(load_tokenizer(data_dir / "vocab/bert_uncased/vocab.txt"), held_out.texts, name="google")
    assert ours.whole_words > theirs.whole_words
    assert google.tokens_per_word is not None
    assert ours.tokens_per_word is not None
    assert google.tokens_per_word < ours.tokens_per_word < 2.0
    assert ours.coverage is not None
    assert ours.coverage > 0.995
