from __future__ import annotations

import threading

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import albertine.tokenization.wordpiece as wordpiece
from albertine.errors import TokenizerError
from albertine.tokenization.normalization import Rules, basic_words, part_pattern
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel

UNCASED = Rules(lowercase=True, strip_accents=True)
CASED = Rules(lowercase=False, strip_accents=False)
WORDS = [
    "cafe",
    "un",
    "##aff",
    "##able",
    "the",
    "##s",
    "我",
    "爱",
    "!",
    ",",
    "[",
    "]",
    "sep",
    "a",
    "##b",
    "Ab",
    "é",
    "σ",
    "##ς",
]


def make(rules: Rules = UNCASED, *, longest_word: int = 100) -> Tokenizer:
    return Tokenizer(WordPieceModel([*SPECIAL_TOKENS, *WORDS], rules=rules, longest_word=longest_word))


def shown(tokenizer: Tokenizer, text: str) -> list[tuple[str, str]]:
    """The tokens of a text, each with the piece of the text that it covers."""
    tokens = tokenizer.tokenize([text], special_tokens=False)
    assert tokens.offsets is not None
    return [
        (tokenizer.id_to_token(int(index)), text[start:end])
        for index, (start, end) in zip(tokens.ids, tokens.offsets, strict=True)
    ]


def test_the_longest_pieces_are_taken_from_the_left() -> None:
    assert shown(make(), "unaffable thes") == [
        ("un", "un"),
        ("##aff", "aff"),
        ("##able", "able"),
        ("the", "the"),
        ("##s", "s"),
    ]


def test_a_word_that_cannot_be_spelt_is_one_unknown_token() -> None:
    assert shown(make(), "the unaffablex!") == [("the", "the"), ("[UNK]", "unaffablex"), ("!", "!")]


def test_offsets_reach_over_stripped_accents_composed_or_not() -> None:
    assert shown(make(), "Café cafe\u0301, THE") == [
        ("cafe", "Café"),
        ("cafe", "cafe\u0301"),
        (",", ","),
        ("the", "THE"),
    ]


def test_offsets_point_into_the_input_where_control_characters_were_dropped() -> None:
    assert shown(make(), "\u200bt\x00h\ufffde!\x07") == [("the", "t\x00h\ufffde"), ("!", "!")]


def test_chinese_characters_are_words_of_their_own_also_beyond_the_basic_plane() -> None:
    assert shown(make(), "我爱the\U00020000\U0001f600我") == [
        ("我", "我"),
        ("爱", "爱"),
        ("the", "the"),
        ("[UNK]", "\U00020000"),
        ("[UNK]", "\U0001f600"),
        ("我", "我"),
    ]


def test_a_cased_vocabulary_keeps_case_and_composes_accents() -> None:
    assert shown(make(CASED), "Ab AB e\u0301") == [("Ab", "Ab"), ("[UNK]", "AB"), ("é", "e\u0301")]


def test_a_final_sigma_is_lower_cased_as_python_does_it() -> None:
    assert shown(make(), "ΣΣ") == [("σ", "Σ"), ("##ς", "Σ")]


def test_names_of_special_tokens_in_a_text_are_text() -> None:
    assert shown(make(), "[SEP]") == [("[", "["), ("sep", "SEP"), ("]", "]")]


@pytest.mark.parametrize(("length", "pieces"), [(13, 13), (14, 1)])
def test_words_beyond_the_longest_are_unknown(length: int, pieces: int) -> None:
    found = shown(make(longest_word=13), "a" + "b" * (length - 1))
    assert len(found) == pieces
    assert (found[0][0] == "[UNK]") == (pieces == 1)


def test_chinese_can_be_left_in_words() -> None:
    rules = Rules(lowercase=True, strip_accents=True, split_chinese=False)
    assert shown(make(rules), "我爱") == [("[UNK]", "我爱")]


def test_a_vocabulary_without_special_tokens_is_refused_by_their_names() -> None:
    with pytest.raises(TokenizerError, match=r"lacks \[UNK\], \[CLS\], \[MASK\]"):
        WordPieceModel(["[PAD]", "[SEP]", "a"], rules=UNCASED)


def test_many_chunks_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["the unaffable 我爱", "", " cafe\t", "a" * 13, "thes!"] * 7
    whole = make().tokenize(texts)
    monkeypatch.setattr(wordpiece, "CHARACTERS_A_CHUNK", 13)
    parts = make().tokenize(texts)
    assert whole.ids.tolist() == parts.ids.tolist()
    assert whole.starts.tolist() == parts.starts.tolist()
    assert whole.offsets is not None
    assert parts.offsets is not None
    assert whole.offsets.tolist() == parts.offsets.tolist()


def test_a_full_table_of_words_is_emptied_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"the {'b' * (index % 7)} a{'b' * (index % 13)} 我" for index in range(99)]
    tokenizer = make()
    expected = [tokenizer.tokenize([text]).ids.tolist() for text in texts]
    monkeypatch.setattr(wordpiece, "WORDS_KEPT", 3)
    small = make()
    assert [small.tokenize([text]).ids.tolist() for text in texts] == expected


def test_several_threads_get_the_same_ids() -> None:
    texts = [f"the{'s' * (index % 97)} a{'b' * (index % 89)} {index}" for index in range(4_000)]
    expected = make().tokenize(texts).ids.tolist()
    shared = make()
    results: dict[int, list[int]] = {}

    def work(number: int) -> None:
        ids: list[int] = []
        for start in range(0, len(texts), 99):
            ids += shared.tokenize(texts[start : start + 99]).ids.tolist()
        results[number] = ids

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(results[number] == expected for number in range(4))


def test_decoding_joins_pieces_and_leaves_no_blanks_between_chinese_characters() -> None:
    tokenizer = make()
    ids = tokenizer.tokenize(["Unaffable 我爱我, thes"]).ids
    assert tokenizer.decode(ids) == "unaffable 我爱我 , thes"


ODD_CHARACTERS = "ab Zé=<.'Σσ\u0301\u0338\u200b\ufffd\x0b\x1c\x85\u3000\n中。\U00020000\ud800각\u1100\u1161"


@example(text="=\u200b\u0338a", lowercase=True)
@example(text="a\x1cb", lowercase=True)
@example(text="ΑΣ.Α ΑΣ.", lowercase=True)
@given(text=st.text(alphabet=ODD_CHARACTERS, max_size=20), lowercase=st.booleans())
@settings(max_examples=500)
def test_a_whole_text_is_cut_as_its_words_are_one_by_one(text: str, lowercase: bool) -> None:
    rules = Rules(lowercase=lowercase, strip_accents=lowercase)
    tokens = [*SPECIAL_TOKENS, *"abzé=<.'σς≠≮中。각ZΣ", "##b", "##σ", "##a"]
    model = WordPieceModel(tokens, rules=rules)
    expected = []
    for part in part_pattern(rules).finditer(text):
        blank = 1 if part[0].startswith(" ") else 0
        for word in basic_words(part[0][blank:].strip(" \n\u3000"), rules):
            found = model.encode([word.text], offsets=True)
            assert found.offsets is not None
            for token, (begin, end) in zip(found.ids.tolist(), found.offsets.tolist(), strict=True):
                shift = part.start() + blank
                expected.append((token, shift + word.begins[begin], shift + word.ends[end - 1]))
    whole = model.encode([text], offsets=True)
    assert whole.offsets is not None
    assert [(one, *span) for one, span in zip(whole.ids.tolist(), whole.offsets.tolist(), strict=True)] == expected


def test_an_interruption_leaves_no_word_without_its_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    model = WordPieceModel([*SPECIAL_TOKENS, "one", "two"], rules=Rules(lowercase=True, strip_accents=True))

    def interrupted(word: str) -> list[tuple[int, int, int]]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(model, "_cut", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.encode(["one two"], offsets=False)
    assert model.encode(["two one"], offsets=False).ids.tolist() == [6, 5]
