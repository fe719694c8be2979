from __future__ import annotations

import lzma
import random
from pathlib import Path

import pytest
import sentencepiece

from albertine.errors import ConfigError, DataError
from albertine.tokenization.albert_text import TextRules, prepared
from albertine.tokenization.learn import learn_vocab, learn_vocabulary
from albertine.tokenization.sentencepiece_model import read_model
from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer
from albertine.tokenization.unigram_learning import learn_unigram

RULES = TextRules()
SENTENCES = [
    "The lower, the newer: the lowest and the newest - in 1,999 ways.",
    "Café (newer and lower) for £9; widest, wider, wide.",
    "Nobody knows why widening newness slows the lowering.",
]


def lines(seed: int = 0) -> list[str]:
    generator = random.Random(seed)
    chosen = [sentence.replace("wide", f"wide{number}") for number in range(40) for sentence in SENTENCES]
    generator.shuffle(chosen)
    return chosen


def test_the_first_pieces_and_their_types_are_those_of_google(data_dir: Path) -> None:
    ours = read_model(learn_unigram(lines(), size=90, rules=RULES).data, where="learnt")
    google = read_model((data_dir / "vocab/albert_en/spiece.model").read_bytes(), where="google")
    assert ours.pieces[:13] == google.pieces[:13]
    assert ours.types[:13] == google.types[:13]
    assert max(map(len, ours.pieces)) <= 16


def test_the_same_lines_in_any_order_give_the_same_bytes() -> None:
    assert (
        learn_unigram(lines(0), size=80, rules=RULES).data == learn_unigram(iter(lines(9)), size=80, rules=RULES).data
    )


def test_a_sample_is_drawn_by_the_seed_and_not_by_the_order() -> None:
    def learn(order: int, seed: int) -> tuple[bytes, int]:
        learnt = learn_unigram(lines(order), size=70, rules=RULES, sample_characters=2000, seed=seed)
        return learnt.data, learnt.sampled_characters

    assert learn(0, 0) == learn(4, 0)
    assert learn(0, 0) != learn(0, 1)
    assert 1800 < learn(0, 0)[1] <= 2000


def test_long_lines_and_repeated_ones_are_taken_in() -> None:
    learnt = learn_unigram(["much the same " * 500], size=60, rules=RULES)
    assert learnt.sampled_characters == pytest.approx(7000, abs=20)
    assert "▁same" in read_model(learnt.data, where="learnt").pieces
    assert learn_unigram(["same line"] * 50, size=60, rules=RULES, sample_characters=9).sampled_characters == 9


def test_the_tokenizer_gives_the_ids_of_sentencepiece(tmp_path: Path) -> None:
    tokenizer = learn_vocabulary(lines(), kind="unigram", size=120)
    assert tokenizer.kind == "unigram"
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    texts = [*SENTENCES, "a new  low (wide) “quoted” £5 ümlaut 北京"]
    expected = [processor.encode(prepared(text, RULES)) for text in texts]
    assert ids_of(tokenizer, texts) == ids_of(again, texts) == expected


def test_case_is_kept_when_asked_and_remembered(tmp_path: Path) -> None:
    tokenizer = learn_vocabulary(lines(), kind="unigram", size=120, lowercase=False, coverage=1.0)
    assert any("N" in token for token in tokenizer.model.tokens[5:])
    assert any("é" in token for token in tokenizer.model.tokens)
    tokenizer.save(tmp_path)
    assert ids_of(load_tokenizer(tmp_path), SENTENCES) == ids_of(tokenizer, SENTENCES)


def test_pieces_are_no_longer_than_asked() -> None:
    tokenizer = learn_vocabulary(lines(), kind="unigram", size=200, longest_piece=4)
    assert max(map(len, tokenizer.model.tokens[5:])) == 4


def test_small_texts_give_small_vocabularies() -> None:
    assert learn_vocabulary(lines(), kind="unigram", size=9000).vocab_size < 300


def test_a_size_that_does_not_hold_the_characters_is_refused_and_the_message_says_which_does() -> None:
    with pytest.raises(ConfigError, match=r"Allowed: \d+ or more") as raised:
        learn_vocabulary(lines(), kind="unigram", size=20)
    enough = int(str(raised.value.allowed).split()[0])
    assert learn_vocabulary(lines(), kind="unigram", size=enough).vocab_size == enough


@pytest.mark.parametrize("empty", [[], [""], [" \n\t"]])
def test_no_text_is_refused(empty: list[str]) -> None:
    with pytest.raises(DataError, match="no text"):
        learn_vocabulary(empty, kind="unigram")


def test_the_report_says_how_much_was_sampled(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(lines()), encoding="utf-8")
    report = learn_vocab([path], out=tmp_path / "out", kind="unigram", size=80, sample_characters=3000)
    assert report.learnt_from.sampled_characters is not None
    assert report.learnt_from.sampled_characters <= 3000 < report.learnt_from.characters
    assert "a sample of 2," in report.render()
    assert load_tokenizer(tmp_path / "out").kind == "unigram"


@pytest.mark.parametrize("name", ["en_wiki_0", "zh_wiki_0"])
def test_on_wikipedia_no_line_differs_from_sentencepiece(data_dir: Path, name: str) -> None:
    """Google's rule for a number before a comma, which the library does not have, is left out of the lines."""
    with lzma.open(data_dir / f"corpus/{name}.txt.xz", "rt", encoding="utf-8") as file:
        found = [line.replace(",", ";") for line in file.read(400_000).split("\n") if line.strip()]
    learnt = learn_unigram(found, size=8000, rules=RULES, sample_characters=200_000, coverage=0.98)
    tokenizer = learn_vocabulary(found, kind="unigram", size=8000, sample_characters=200_000, coverage=0.98)
    processor = sentencepiece.SentencePieceProcessor(model_proto=learnt.data)
    assert ids_of(tokenizer, found) == [processor.encode(prepared(line, RULES)) for line in found]


def ids_of(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    tokens = tokenizer.tokenize(texts, special_tokens=False)
    return [tokens.ids[start:end].tolist() for start, end in zip(tokens.starts[:-1], tokens.starts[1:], strict=True)]
