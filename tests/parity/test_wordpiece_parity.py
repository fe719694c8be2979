from __future__ import annotations

import lzma
from itertools import islice
from pathlib import Path

import pytest
from transformers import BertTokenizerFast
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

from albertine.tokenization.tokenizer import load_tokenizer

CASED = "vocab/bert_cased/google_cased_en_vocab.txt"
UNCASED = "vocab/bert_uncased/vocab.txt"
CHINESE = "vocab/bert_chinese/vocab.txt"

# More letters, scripts and signs than corpora of one language hold.
ODD_TEXTS = [
    "",
    " \t\n\u3000",
    "ΑΣ.ΑΣ ΟΔΥΣΣΕΥΣ Σ",
    "İstanbul ISTANBUL ẞ ǅ",
    "e\u0301te\u0301 A\u030angstrom \u212b \u2126",
    "< \u0338 <\u0338 =\u0338",
    "\u1fef \u037e \u2329a\u232a",
    "豈\uf900\U0002f800 中a国\u0301b",
    "\u1112\u1161\u11ab한국어",
    "a\u200bb\u00adc\u0085d\x0be\x1cf\u2028g\ufffdh\x00i",
    "\U0001f600\U0001f1e9\U0001f1ea\U00012000 \U000e0001",
    "\U0001d165\U0001d16e x\u302e\u0300",
    "don't ... $5,000.00 #tag @user http://a.b/c?d=e_f",
    "x" * 99 + " " + "y" * 100 + " " + "z" * 101,
    "ﬁ ½ ™ Ⅻ ①",
]


def lines(data_dir: Path, corpus: str, count: int) -> list[str]:
    with lzma.open(data_dir / "corpus" / f"{corpus}.txt.xz", "rt", encoding="utf-8") as file:
        texts = (line.rstrip("\n") for line in file)
        return list(islice((text for text in texts if text.strip() and not text.startswith(("<doc", "</doc"))), count))


def assert_same_ids(data_dir: Path, vocabulary: str, texts: list[str], *, lowercase: bool) -> None:
    ours = load_tokenizer(data_dir / vocabulary)
    legacy = BertTokenizerLegacy(str(data_dir / vocabulary), do_lower_case=lowercase)
    assert ours.lowercase == lowercase
    tokens = ours.tokenize(texts, special_tokens=False)
    for text, row in zip(texts, tokens.rows(), strict=True):
        expected = legacy.convert_tokens_to_ids(legacy.tokenize(text))
        assert row.input_ids.tolist() == expected, text


@pytest.mark.parametrize(
    ("vocabulary", "corpus", "lowercase"),
    [(UNCASED, "en_wiki_0", True), (CHINESE, "zh_wiki_0", True)],
)
def test_20000_lines_get_the_ids_of_an_independent_wordpiece(
    data_dir: Path, vocabulary: str, corpus: str, lowercase: bool
) -> None:
    assert_same_ids(data_dir, vocabulary, lines(data_dir, corpus, 20_000), lowercase=lowercase)


@pytest.mark.parametrize(
    ("vocabulary", "corpus", "lowercase"),
    [
        (CASED, "en_wiki_1", False),
        (CASED, "zh_wiki_1", False),
        (UNCASED, "zh_lctt", True),
        (CHINESE, "en_wiki_1", True),
    ],
)
def test_2000_lines_of_other_mixtures_get_the_same_ids(
    data_dir: Path, vocabulary: str, corpus: str, lowercase: bool
) -> None:
    assert_same_ids(data_dir, vocabulary, lines(data_dir, corpus, 2_000), lowercase=lowercase)


@pytest.mark.long
@pytest.mark.parametrize(
    ("vocabulary", "corpus", "lowercase"),
    [
        (CASED, "en_wiki_1", False),
        (UNCASED, "en_wiki_2", True),
        (CHINESE, "zh_wiki_1", True),
        (CHINESE, "zh_lctt", True),
        (CHINESE, "zh_laws", True),
        (CHINESE, "zh_xinwenlianbo", True),
        (CASED, "zh_lctt", False),
    ],
)
def test_40000_lines_of_every_corpus_get_the_same_ids(
    data_dir: Path, vocabulary: str, corpus: str, lowercase: bool
) -> None:
    assert_same_ids(data_dir, vocabulary, lines(data_dir, corpus, 40_000), lowercase=lowercase)


@pytest.mark.parametrize(("vocabulary", "lowercase"), [(UNCASED, True), (CASED, False), (CHINESE, True)])
def test_odd_characters_get_the_same_ids(data_dir: Path, vocabulary: str, lowercase: bool) -> None:
    assert_same_ids(data_dir, vocabulary, ODD_TEXTS, lowercase=lowercase)


def test_every_character_gets_the_same_ids_between_letters(data_dir: Path) -> None:
    # Surrogates cannot be written to a file, and are not text.
    texts = [f"a{chr(point)}B" for point in range(0x2FFFF) if not 0xD800 <= point < 0xE000 and point % 7 == 0]
    assert_same_ids(data_dir, UNCASED, texts, lowercase=True)
    assert_same_ids(data_dir, CASED, texts, lowercase=False)


@pytest.mark.parametrize("vocabulary", [UNCASED, CASED, CHINESE])
def test_transformers_opens_what_is_saved_and_gives_the_same_ids_for_plain_text(
    data_dir: Path, tmp_path: Path, vocabulary: str
) -> None:
    ours = load_tokenizer(data_dir / vocabulary)
    ours.save(tmp_path)
    theirs = BertTokenizerFast.from_pretrained(tmp_path)
    texts = ['It\'s a plain "text", naïve or not.', "我爱北京，and Beijing", "Second one (in brackets)"]
    pairs = [None, "and its pair", None]
    tokens = ours.tokenize(texts, pairs)
    assert tokens.offsets is not None
    for text, pair, row in zip(texts, pairs, tokens.rows(), strict=True):
        expected = theirs(text, pair, return_token_type_ids=True, return_offsets_mapping=True)
        assert row.offsets is not None
        assert row.input_ids.tolist() == expected["input_ids"]
        assert row.token_type_ids.tolist() == expected["token_type_ids"]
        assert [tuple(span) for span in row.offsets.tolist()] == expected["offset_mapping"]
