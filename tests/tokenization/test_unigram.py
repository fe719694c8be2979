from __future__ import annotations

import pytest

from albertine.errors import TokenizerError
from albertine.tokenization.albert_text import Aligner, TextRules, prepared
from albertine.tokenization.sentencepiece_model import PieceType, read_model, write_model
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.unigram import UnigramModel

PIECES = [
    ("<pad>", 0.0, PieceType.CONTROL),
    ("<unk>", 0.0, PieceType.UNKNOWN),
    ("[CLS]", 0.0, PieceType.CONTROL),
    ("[SEP]", 0.0, PieceType.CONTROL),
    ("[MASK]", 0.0, PieceType.CONTROL),
    ("(", 0.0, PieceType.USER_DEFINED),
    ("▁", -2.0, PieceType.NORMAL),
    ("▁the", -2.5, PieceType.NORMAL),
    ("▁cafe", -3.0, PieceType.NORMAL),
    ("s", -3.5, PieceType.NORMAL),
    (",", -3.5, PieceType.NORMAL),
    ("1", -4.0, PieceType.NORMAL),
    ("9", -4.0, PieceType.NORMAL),
    ("19", -4.2, PieceType.NORMAL),
    ("▁19", -4.2, PieceType.NORMAL),
    ("9,", -4.1, PieceType.NORMAL),
    ("▁19,", -4.1, PieceType.NORMAL),
    ('"', -4.0, PieceType.NORMAL),
    ("a", -5.0, PieceType.NORMAL),
    ("b", -5.0, PieceType.NORMAL),
    (".", -5.0, PieceType.NORMAL),
]


def model_bytes(pieces: list[tuple[str, float, PieceType]] = PIECES) -> bytes:
    names, scores, types = zip(*pieces, strict=True)
    return write_model(names, scores, types, b"")


def make(rules: TextRules | None = None) -> Tokenizer:
    return Tokenizer(UnigramModel(model_bytes(), rules=rules or TextRules()))


def shown(tokenizer: Tokenizer, text: str) -> list[tuple[str, str]]:
    tokens = tokenizer.tokenize([text], special_tokens=False)
    assert tokens.offsets is not None
    return [
        (tokenizer.id_to_token(int(index)), text[start:end])
        for index, (start, end) in zip(tokens.ids, tokens.offsets, strict=True)
    ]


def test_the_blank_before_a_word_is_not_in_its_range() -> None:
    assert shown(make(), " the  the") == [("▁the", "the"), ("▁the", "the")]


def test_a_blank_alone_has_the_range_of_the_next_character() -> None:
    assert shown(make(), "the s s") == [("▁the", "the"), ("▁", "s"), ("s", "s"), ("▁", "s"), ("s", "s")]


def test_accents_and_case_are_dropped_and_stay_in_the_range() -> None:
    assert shown(make(), "Cafe\u0301s CAFÉ") == [("▁cafe", "Cafe\u0301"), ("s", "s"), ("▁cafe", "CAFÉ")]


def test_accents_and_case_are_kept_when_asked_for() -> None:
    assert [token for token, _ in shown(make(TextRules(lowercase=False, keep_accents=True)), "é THE")] == [
        "▁",
        "<unk>",
    ] * 2


def test_two_quotes_become_one_double_quote_over_both() -> None:
    assert shown(make(), "``s''") == [("▁", "``"), ('"', "``"), ("s", "s"), ('"', "''")]


def test_digit_and_comma_are_cut_apart_as_in_googles_code() -> None:
    # Both "▁19," and "9," are pieces, and the more probable cut.
    assert shown(make(), "19, 9,") == [("▁19", "19"), (",", ","), ("▁", "9"), ("9", "9"), (",", ",")]


def test_a_run_of_unknown_characters_is_one_token() -> None:
    assert shown(make(), "s我爱\U0001f600s") == [("▁", "s"), ("s", "s"), ("<unk>", "我爱\U0001f600"), ("s", "s")]


def test_pieces_of_one_decomposed_character_share_its_range() -> None:
    assert shown(make(), "a…") == [("▁", "a"), ("a", "a"), (".", "…"), (".", "…"), (".", "…")]


def test_half_of_a_surrogate_pair_is_unknown_not_an_error() -> None:
    assert shown(make(), "s\ud800")[-1] == ("<unk>", "\ud800")


@pytest.mark.parametrize(
    ("text", "result", "sources"),
    [
        ("", "", []),
        (" \t", "", []),
        ("  A \n\t b ", "a b", ["A", " \n\t ", "b"]),
        ("``x''", '"x"', ["``", "x", "''"]),
        ("e\u0301\u0302 ½", "e 1⁄2", ["e\u0301\u0302", " ", "½", "½", "½"]),
        ("\u0301a", "a", ["a"]),
    ],
)
def test_every_prepared_character_knows_its_source(text: str, result: str, sources: list[str]) -> None:
    assert prepared(text, TextRules()) == result
    begins, ends = Aligner(TextRules()).align(text, result)
    assert [text[begin:end] for begin, end in zip(begins, ends, strict=True)] == sources


def test_what_is_written_is_read_again() -> None:
    file = read_model(model_bytes(), where="here")
    assert list(file.pieces) == [piece for piece, _, _ in PIECES]
    assert file.scores == pytest.approx([score for _, score, _ in PIECES])
    assert list(file.types) == [kind for _, _, kind in PIECES]
    assert (file.model_type, file.usual_blanks) == ("unigram", True)


@pytest.mark.parametrize("length", [0, 1, 13, 99])
def test_a_model_that_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(TokenizerError):
        UnigramModel(model_bytes()[:length], rules=TextRules())


@pytest.mark.parametrize("data", [b"\xff" * 99, b"PK\x03\x04 a zip", b"[PAD]\n[UNK]\n"])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(TokenizerError, match="not a"):
        UnigramModel(data, rules=TextRules())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("[CLS]", "<s>"), r"lacks \[CLS\]"),
        (("▁the", "▁of▁the"), "pieces with blanks inside"),
    ],
)
def test_a_unigram_model_of_another_kind_is_refused_with_the_reason(change: tuple[str, str], reason: str) -> None:
    pieces = [(change[1] if piece == change[0] else piece, score, kind) for piece, score, kind in PIECES]
    with pytest.raises(TokenizerError, match=reason):
        UnigramModel(model_bytes(pieces), rules=TextRules())


def test_a_bpe_model_is_refused() -> None:
    as_bpe = model_bytes() + b"\x12\x02\x18\x02"  # another trainer_spec with model_type 2 overrides the first
    with pytest.raises(TokenizerError, match="not a unigram model"):
        UnigramModel(as_bpe, rules=TextRules())


def test_decoding_gives_the_words_back() -> None:
    tokenizer = make()
    assert tokenizer.decode(tokenizer.tokenize(["The cafes"]).ids) == "the cafes"
