from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from albertine.errors import TokenizerError
from albertine.tokenization.sentencepiece_model import PieceType, write_model
from albertine.tokenization.tokenizer import load_tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, "hello", "world", "##s", "é", "e", "我", ",", "##,"]
TEXTS = ["Hello, worlds 我", "é É e\u0301", ""]


def write_vocabulary(folder: Path, words: list[str] = WORDS, *, name: str = "vocab.txt") -> Path:
    file = folder / name
    file.write_text("\n".join(words) + "\n", encoding="utf-8")
    return file


def write_spiece(folder: Path, *, name: str = "spiece.model") -> Path:
    pieces = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "(", "▁", "▁hello", ",", "s", "▁world", "e"]
    types = [PieceType.CONTROL, PieceType.UNKNOWN] + [PieceType.CONTROL] * 3 + [PieceType.USER_DEFINED]
    types += [PieceType.NORMAL] * 6
    scores = [0.0] * 6 + [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0]
    file = folder / name
    file.write_bytes(write_model(pieces, scores, types, b""))
    return file


def write_config(folder: Path, size: int, *, model_type: str = "bert", name: str = "config.json") -> None:
    (folder / name).write_text(json.dumps({"model_type": model_type, "vocab_size": size}), encoding="utf-8")


def test_a_chinese_albert_with_a_vocab_txt_is_wordpiece(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    write_config(tmp_path, len(WORDS), model_type="albert")
    assert load_tokenizer(tmp_path).kind == "wordpiece"


@pytest.mark.parametrize("name", ["spiece.model", "30k-clean.model"])
def test_a_sentencepiece_model_is_unigram_under_either_name(tmp_path: Path, name: str) -> None:
    file = write_spiece(tmp_path, name=name)
    assert load_tokenizer(tmp_path).kind == "unigram"
    assert load_tokenizer(file).vocab_size == 12


@pytest.mark.parametrize("write", [write_vocabulary, write_spiece])
def test_what_is_saved_loads_again_and_alone_from_tokenizer_json(tmp_path: Path, write: object) -> None:
    assert callable(write)
    tokenizer = load_tokenizer(write(tmp_path))
    expected = tokenizer.tokenize(TEXTS)
    saved = tmp_path / "saved"
    tokenizer.save(saved)
    own = saved / ("vocab.txt" if tokenizer.kind == "wordpiece" else "spiece.model")
    assert {file.name for file in saved.iterdir()} == {own.name, "tokenizer.json", "tokenizer_config.json"}
    for step in ("all files", "tokenizer.json alone"):
        again = load_tokenizer(saved)
        tokens = again.tokenize(TEXTS)
        assert tokens.ids.tolist() == expected.ids.tolist(), step
        assert (again.kind, again.lowercase, again.vocab_size) == (
            tokenizer.kind,
            tokenizer.lowercase,
            tokenizer.vocab_size,
        )
        own.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("settings", "lowercase"), [({"do_lower_case": True}, True), ({"do_lower_case": False}, False), ({}, True)]
)
def test_lower_casing_follows_the_settings(tmp_path: Path, settings: dict[str, bool], lowercase: bool) -> None:
    write_vocabulary(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.lowercase == lowercase
    hello = tokenizer.tokenize(["HELLO"], special_tokens=False).ids.tolist()
    assert hello == [5 if lowercase else tokenizer.unk_id]


@pytest.mark.parametrize(("word", "said"), [("World", "is not lower-cased"), ("world", "is lower-cased")])
def test_lower_casing_is_guessed_from_the_vocabulary_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, word: str, said: str
) -> None:
    write_vocabulary(tmp_path, [*SPECIAL, "hello", word])
    with caplog.at_level(logging.INFO, logger="albertine"):
        tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.lowercase == (word == "world")
    assert said in caplog.text


def test_accents_can_be_kept_while_lower_casing(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true, "strip_accents": false}', encoding="utf-8")
    assert load_tokenizer(tmp_path).tokenize(["É"], special_tokens=False).ids.tolist() == [WORDS.index("é")]


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(("\ufeff" + "\r\n".join(WORDS) + "\r\n").encode())
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.vocab_size, tokenizer.pad_id) == (len(WORDS), 0)


def test_a_line_separator_is_a_token_not_a_line_end(tmp_path: Path) -> None:
    write_vocabulary(tmp_path, [*SPECIAL, "\u2028", "hello"])
    assert load_tokenizer(tmp_path).token_to_id("hello") == 6


def refused(path: Path, reason: str) -> None:
    with pytest.raises(TokenizerError, match=reason):
        load_tokenizer(path)


def test_a_missing_place_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "no such file or folder")
    refused(tmp_path, r"no tokenizer files.*vocab\.txt, spiece\.model or tokenizer\.json")


def test_a_vocabulary_without_special_tokens_is_refused(tmp_path: Path) -> None:
    refused(write_vocabulary(tmp_path, ["[PAD]", "[SEP]", "[MASK]", "hello"]), r"lacks \[UNK\], \[CLS\]")


def test_an_empty_vocabulary_and_one_in_another_encoding_are_refused(tmp_path: Path) -> None:
    refused(write_vocabulary(tmp_path, []), "not a WordPiece vocabulary")
    (tmp_path / "vocab.txt").write_bytes("\n".join(WORDS).encode("gbk", "replace") + b"\xe9")
    refused(tmp_path, "not UTF-8")


def test_a_vocabulary_larger_or_far_smaller_than_the_model_is_refused(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    write_config(tmp_path, len(WORDS) - 1)
    refused(tmp_path, "does not fit the model.*13 tokens.*12 tokens, the vocab_size")
    write_config(tmp_path, 30_000)
    refused(tmp_path, "does not fit the model")


def test_rows_that_pad_the_embedding_are_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_vocabulary(tmp_path)
    write_config(tmp_path, 16, name="bert_config.json")
    assert load_tokenizer(tmp_path).vocab_size == len(WORDS)
    assert "16 rows of embeddings for 13 tokens" in caplog.text


def test_of_two_vocabularies_the_one_that_fits_the_config_is_taken(tmp_path: Path) -> None:
    write_vocabulary(tmp_path, [*WORDS, *(f"w{index}" for index in range(2000))])
    write_spiece(tmp_path)
    refused(tmp_path, "two vocabularies")
    write_config(tmp_path, 2013)
    assert load_tokenizer(tmp_path).kind == "wordpiece"
    write_config(tmp_path, 12)
    assert load_tokenizer(tmp_path).kind == "unigram"
    write_config(tmp_path, 5)
    refused(tmp_path, "wordpiece with 2013 tokens and unigram with 12 tokens")


def test_several_vocabularies_of_one_kind_are_refused(tmp_path: Path) -> None:
    write_spiece(tmp_path, name="one.model")
    write_spiece(tmp_path, name="two.model")
    refused(tmp_path, r"several vocabularies.*one\.model, two\.model")


def library_file(folder: Path, model: dict[str, object], normalizer: dict[str, object] | None = None) -> Path:
    file = folder / "tokenizer.json"
    file.write_text(json.dumps({"model": model, "normalizer": normalizer}), encoding="utf-8")
    return file


def test_a_tokenizer_json_of_another_kind_is_refused(tmp_path: Path) -> None:
    refused(library_file(tmp_path, {"type": "BPE", "vocab": {}}), "another kind.*'BPE'.*WordPiece or Unigram")


def test_a_tokenizer_json_with_other_rules_is_refused(tmp_path: Path) -> None:
    words = {word: index for index, word in enumerate(WORDS)}
    refused(library_file(tmp_path, {"type": "WordPiece", "vocab": words}, {"type": "NFC"}), "BERT's rules.*'NFC'")
    unigram = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0]]}
    refused(library_file(tmp_path, unigram, {"type": "Precompiled"}), "ALBERT's rules")
    gap = {word: 2 * index for index, word in enumerate(WORDS)}
    refused(library_file(tmp_path, {"type": "WordPiece", "vocab": gap}, {"type": "BertNormalizer"}), "without a gap")


def test_a_tokenizer_json_that_contradicts_the_vocabulary_is_refused(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    library_file(tmp_path, {"type": "BPE", "vocab": {"a": 0}})
    refused(tmp_path, "another vocabulary than in the file beside it")


@pytest.mark.parametrize("text", ["{", "[]", "\x80"])
def test_a_broken_json_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text, encoding="latin-1")
    refused(tmp_path, r"tokenizer\.json: not (valid JSON|a JSON object)")


# --- tokens that transformers adds to a vocabulary


def saved(folder: Path, write: Callable[[Path], Path] = write_vocabulary) -> Path:
    load_tokenizer(write(folder)).save(folder / "saved")
    return folder / "saved"


def add(file: Path, **token: object) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    content["added_tokens"].append(token)
    file.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("write", [write_vocabulary, write_spiece])
def test_tokens_behind_the_vocabulary_are_refused_by_name(
    tmp_path: Path, write: Callable[[Path], Path], alone: bool
) -> None:
    folder = saved(tmp_path, write)
    file, own = folder / "tokenizer.json", folder / ("vocab.txt" if write is write_vocabulary else "spiece.model")
    size = load_tokenizer(folder).vocab_size
    for number in range(7):
        add(file, id=size + number, content=f"<drug{number}>", special=number == 0)
    if alone:
        own.unlink()
    refused(folder, rf"tokenizer\.json: tokens were added.*'<drug0>' \(id {size}\).*'<drug4>'.* and 2 more.*remove")
    refused(file, "<drug0>")
    if not alone:  # the file itself says nothing of them
        assert load_tokenizer(own).vocab_size == size


def test_tokens_of_the_older_files_are_found_too(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    (folder / "tokenizer.json").unlink()
    (folder / "added_tokens.json").write_text("{}", encoding="utf-8")
    assert load_tokenizer(folder).vocab_size == len(WORDS)
    (folder / "added_tokens.json").write_text(json.dumps({"[MASK]": 4, "NEW": len(WORDS)}), encoding="utf-8")
    refused(folder, r"added_tokens\.json: tokens were added.*Received: 'NEW' \(id 13\)\.")
    (folder / "added_tokens.json").unlink()
    settings = {"added_tokens_decoder": {"0": {"content": "[PAD]"}, "13": {"content": "NEW"}}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    refused(folder, r"tokenizer_config\.json: tokens were added.*Received: 'NEW' \(id 13\)\.")


def test_an_added_token_under_another_tokens_id_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    add(folder / "tokenizer.json", id=5, content="goodbye")
    refused(folder, r"'goodbye' \(id 5\)")


def test_added_tokens_that_a_text_is_not_searched_for_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = [*WORDS, "[unused1]", "["]
    folder = saved(tmp_path, lambda place: write_vocabulary(place, words))
    add(folder / "tokenizer.json", id=5, content="hello")  # is cut as they do it
    assert load_tokenizer(folder).vocab_size == len(words)
    assert "added tokens" not in caplog.text
    add(folder / "tokenizer.json", id=13, content="[unused1]", special=True)
    assert load_tokenizer(folder).vocab_size == len(words)
    assert "are cut like any other text: '[unused1]' (id 13)" in caplog.text


# --- the length that other libraries cut texts to


@pytest.mark.parametrize(
    ("read", "asked", "written"),
    [(None, None, None), (None, 512, 512), (128, None, 128), (128, 512, 128), (512, 40, 40), (10**30, 64, 64)],
)
def test_the_maximum_length_is_kept_for_other_libraries(
    tmp_path: Path, read: int | None, asked: int | None, written: int | None
) -> None:
    write_vocabulary(tmp_path)
    if read is not None:
        settings = {"do_lower_case": True, "model_max_length": read}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.max_length == (None if read == 10**30 else read)
    tokenizer.save(tmp_path / "saved", max_length=asked)
    settings = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings.get("model_max_length") == written
    assert ("model_max_length" in settings) == (written is not None)
    assert load_tokenizer(tmp_path / "saved").max_length == written
    assert load_tokenizer(tmp_path / "saved" / "vocab.txt").max_length == written


@pytest.mark.parametrize("length", ["512", True, 0, -1, None, [], 1e30])
def test_a_maximum_length_that_is_none_is_not_taken(tmp_path: Path, length: object) -> None:
    write_vocabulary(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": length}), encoding="utf-8")
    assert load_tokenizer(tmp_path).max_length is None
