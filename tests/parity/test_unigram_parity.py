from __future__ import annotations

import lzma
import unicodedata
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from transformers import AlbertTokenizer

from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer

VOCABULARY = "vocab/albert_en/spiece.model"


def lines(data_dir: Path, corpus: str, count: int) -> list[str]:
    with lzma.open(data_dir / "corpus" / f"{corpus}.txt.xz", "rt", encoding="utf-8") as file:
        texts = (line.rstrip("\n") for line in file)
        return list(islice((text for text in texts if text.strip() and not text.startswith(("<doc", "</doc"))), count))


class Reference:
    """SentencePiece with Google's rules for ALBERT, one text at a time."""

    def __init__(self, file: Path) -> None:
        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(file))

    def prepare(self, text: str) -> str:
        text = " ".join(text.strip().split())
        text = text.replace("``", '"').replace("''", '"')
        decomposed = unicodedata.normalize("NFKD", text)
        return "".join(character for character in decomposed if not unicodedata.combining(character)).lower()

    def ids(self, text: str) -> list[int]:
        pieces = []
        for piece in self.processor.encode(self.prepare(text), out_type=str):
            number_before_comma = len(piece) > 1 and piece.endswith(",") and piece[-2].isdigit()
            if not number_before_comma:
                pieces.append(piece)
                continue
            again = self.processor.encode(piece[:-1].replace("▁", ""), out_type=str)
            if not piece.startswith("▁") and again[0].startswith("▁"):
                again = again[1:] if again[0] == "▁" else [again[0][1:], *again[1:]]
            pieces += [*again, ","]
        return [self.processor.piece_to_id(piece) for piece in pieces]


def assert_same_ids(ours: Tokenizer, reference: Reference, texts: list[str]) -> None:
    tokens = ours.tokenize(texts, special_tokens=False)
    without_offsets = ours.tokenize(texts, special_tokens=False, offsets=False)
    assert tokens.ids.tolist() == without_offsets.ids.tolist()
    for text, row in zip(texts, tokens.rows(), strict=True):
        assert row.input_ids.tolist() == reference.ids(text), text
        assert row.offsets is not None
        starts, ends = row.offsets[:, 0], row.offsets[:, 1]
        assert (starts < ends).all(), text
        assert (np.diff(starts, prepend=0) >= 0).all(), text
        assert (np.diff(ends, append=len(text)) >= 0).all(), text


@pytest.mark.parametrize("corpus", ["en_wiki_0", "zh_wiki_0"])
def test_20000_lines_get_the_ids_of_sentencepiece_with_googles_rules(data_dir: Path, corpus: str) -> None:
    file = data_dir / VOCABULARY
    assert_same_ids(load_tokenizer(file), Reference(file), lines(data_dir, corpus, 20_000))


@pytest.mark.long
@pytest.mark.parametrize("corpus", ["en_wiki_1", "en_wiki_2", "zh_lctt", "zh_laws", "zh_xinwenlianbo"])
def test_40000_lines_of_every_corpus_get_the_same_ids(data_dir: Path, corpus: str) -> None:
    file = data_dir / VOCABULARY
    assert_same_ids(load_tokenizer(file), Reference(file), lines(data_dir, corpus, 40_000))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \t\n\u3000\x1c",
        "in 1999, 2,000, and 12,345,678.90, 5,",
        "``quoted'' text ''''",
        "Café naïve ½ ™ … ¨ a´b ﬁ Ⅻ",
        "ΟΔΥΣΣΕΥΣ İ ẞ",
        "a▁b▁ ▁",
        "\x00a\x01 a\u200bb \ufeffc",
        "\u1112\u1161\u11ab한국 ｶﾞ が",
        "我爱ALBERT，\U0001f600\U0001f600!!!!",
        "[CLS] [SEP] <unk> <pad>",
        "²,5 ٣, ५,",
        '(a)-(b) £5–€6 "x"',
    ],
)
def test_odd_texts_get_the_same_ids(data_dir: Path, text: str) -> None:
    file = data_dir / VOCABULARY
    assert_same_ids(load_tokenizer(file), Reference(file), [text])


def test_a_small_vocabulary_with_many_unknown_pieces_gets_the_same_ids(data_dir: Path) -> None:
    file = data_dir / "checkpoints/albert_small_random/spiece.model"
    assert_same_ids(
        load_tokenizer(file), Reference(file), lines(data_dir, "zh_wiki_1", 500) + lines(data_dir, "en_wiki_1", 500)
    )


def test_tokenizer_json_alone_gives_the_same_ids(data_dir: Path, tmp_path: Path) -> None:
    file = data_dir / VOCABULARY
    load_tokenizer(file).save(tmp_path)
    (tmp_path / "spiece.model").unlink()
    assert_same_ids(load_tokenizer(tmp_path), Reference(file), lines(data_dir, "en_wiki_3", 2_000))


def test_every_character_gets_the_same_ids_between_letters(data_dir: Path) -> None:
    file = data_dir / VOCABULARY
    texts = [f"a{chr(point)}B 1" for point in range(0x2FFFF) if not 0xD800 <= point < 0xE000 and point % 7 == 0]
    assert_same_ids(load_tokenizer(file), Reference(file), texts)


def test_transformers_opens_what_is_saved_and_gives_the_same_ids_for_plain_text(data_dir: Path, tmp_path: Path) -> None:
    ours = load_tokenizer(data_dir / VOCABULARY)
    ours.save(tmp_path)
    theirs = AlbertTokenizer.from_pretrained(tmp_path)
    texts = ['It\'s a plain "text", naïve or not.', "a sentence of 7 words, and more", "Second one (in brackets)"]
    tokens = ours.tokenize(texts, [None, "and its pair", None])
    for text, pair, row in zip(texts, [None, "and its pair", None], tokens.rows(), strict=True):
        expected = theirs(text, pair, return_token_type_ids=True)
        assert row.input_ids.tolist() == expected["input_ids"]
        assert row.token_type_ids.tolist() == expected["token_type_ids"]
