"""Token shards: what is written is read back, whatever the shard borders; damaged and mixed folders are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from albertine.batching.shards import Shards, ShardWriter, id_dtype, tokenizer_fingerprint, write_index
from albertine.errors import AlbertineError, ConfigError, DataError, FailureError
from albertine.records import IntArray
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel

Documents = list[list[list[int]]]


def some_tokenizer(size: int = 300) -> Tokenizer:
    tokens = [*SPECIAL_TOKENS, *(f"t{index}" for index in range(size - len(SPECIAL_TOKENS)))]
    return Tokenizer(WordPieceModel(tokens, rules=Rules(lowercase=True, strip_accents=True)))


def some_documents(count: int, *, vocab_size: int = 300, seed: int = 3) -> Documents:
    generator = np.random.default_rng(seed)
    return [
        [
            generator.integers(5, vocab_size, size=generator.integers(1, 12)).tolist()
            for _ in range(generator.integers(1, 6))
        ]
        for _ in range(count)
    ]


def arrays(documents: Documents) -> tuple[IntArray, IntArray, IntArray, np.ndarray]:
    sentences = [sentence for document in documents for sentence in document]
    tokens = np.array([token for sentence in sentences for token in sentence], dtype=np.int32)
    sentence_starts = np.cumsum([0, *(len(sentence) for sentence in sentences)])
    document_starts = np.cumsum([0, *(len(document) for document in documents)])
    return tokens, sentence_starts, document_starts, tokens % 3 != 0


def written(
    folder: Path, documents: Documents, *, tokens_per_shard: int = 1 << 20, at_once: int = 4, tokenizer: Tokenizer
) -> Path:
    writer = ShardWriter(folder, "train", id_dtype(tokenizer.vocab_size), tokens_per_shard=tokens_per_shard)
    for first in range(0, len(documents), at_once):
        tokens, sentences, starts, words = arrays(documents[first : first + at_once])
        writer.add(tokens, sentence_starts=sentences, document_starts=starts, word_starts=words)
    write_index(folder, tokenizer=tokenizer, splits={"train": writer.close(), "held-out": ()})
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("tokens_per_shard", [1, 7, 50, 333, 1 << 20])
def test_every_token_sentence_and_document_comes_back_whatever_the_shard_borders(
    tmp_path: Path, tokens_per_shard: int
) -> None:
    documents = some_documents(41)
    shards = Shards(
        written(tmp_path, documents, tokens_per_shard=tokens_per_shard, tokenizer=some_tokenizer()),
        "train",
        verify=True,
    )
    tokens, sentences, starts, words = arrays(documents)
    assert (shards.num_tokens, shards.num_sentences, shards.num_documents) == (
        len(tokens),
        len(sentences) - 1,
        len(starts) - 1,
    )
    np.testing.assert_array_equal(shards.sentence_starts, sentences)
    np.testing.assert_array_equal(shards.document_starts, starts)
    assert shards.sentence_starts.dtype == shards.document_starts.dtype == np.int64
    generator = np.random.default_rng(8)
    for first, last in [(0, 0), (0, len(tokens)), *np.sort(generator.integers(0, len(tokens) + 1, (60, 2)))]:
        np.testing.assert_array_equal(shards.tokens(first, last), tokens[first:last])
        np.testing.assert_array_equal(shards.word_starts(first, last), words[first:last])
    for first, last in [(0, 0), (0, shards.num_sentences), *np.sort(generator.integers(0, len(sentences), (60, 2)))]:
        np.testing.assert_array_equal(shards.sentence_range(first, last), sentences[first : last + 1])
    for first, last in [(0, 0), (0, shards.num_documents), *np.sort(generator.integers(0, len(starts), (60, 2)))]:
        np.testing.assert_array_equal(shards.document_range(first, last), starts[first : last + 1])


@pytest.mark.parametrize("tokens_per_shard", [13, 1 << 20])
def test_the_sentence_of_a_token_and_the_document_of_a_sentence_are_found(
    tmp_path: Path, tokens_per_shard: int
) -> None:
    documents = some_documents(17)
    shards = Shards(written(tmp_path, documents, tokens_per_shard=tokens_per_shard, tokenizer=some_tokenizer()))
    for token in range(shards.num_tokens + 2):
        assert shards.find_sentence(token) == min(
            np.searchsorted(shards.sentence_starts, token, side="left"), shards.num_sentences
        )
    for sentence in range(shards.num_sentences + 2):
        assert shards.find_document(sentence) == min(
            np.searchsorted(shards.document_starts, sentence, side="left"), shards.num_documents
        )


def test_a_document_never_crosses_a_shard_border(tmp_path: Path) -> None:
    documents = some_documents(41)
    shards = Shards(written(tmp_path, documents, tokens_per_shard=50, tokenizer=some_tokenizer()))
    lengths = [sum(map(len, document)) for document in documents]
    expected: list[int] = []
    filled = None
    for length in lengths:
        if filled is None or filled + length > 50:
            expected.append(0)
            filled = 0
        expected[-1] += length
        filled += length
    assert [record.tokens for record in shards.index.splits["train"]] == expected
    assert max(lengths) <= 60
    assert any(length > 50 for length in lengths) or max(expected) <= 50


def test_the_bytes_do_not_depend_on_how_documents_are_handed_over(tmp_path: Path) -> None:
    documents = some_documents(41)
    folders = [
        written(tmp_path / str(at_once), documents, tokens_per_shard=60, at_once=at_once, tokenizer=some_tokenizer())
        for at_once in (1, 3, 41)
    ]
    assert contents(folders[0]) == contents(folders[1]) == contents(folders[2])


def test_writing_goes_on_behind_the_shards_that_are_done(tmp_path: Path) -> None:
    documents = some_documents(41)
    tokenizer = some_tokenizer()
    whole = written(tmp_path / "whole", documents, tokens_per_shard=60, tokenizer=tokenizer)
    folder = tmp_path / "parts"
    writer = ShardWriter(folder, "train", "<u2", tokens_per_shard=60)
    tokens, sentences, starts, words = arrays(documents[:20])
    writer.add(tokens, sentence_starts=sentences, document_starts=starts, word_starts=words)
    done = tuple(writer.records)
    writer.abandon()
    assert done
    assert not [path for path in folder.rglob(".*") if path.is_file()]
    first = sum(record.documents for record in done)
    writer = ShardWriter(folder, "train", "<u2", tokens_per_shard=60, done=done)
    tokens, sentences, starts, words = arrays(documents[first:])
    writer.add(tokens, sentence_starts=sentences, document_starts=starts, word_starts=words)
    write_index(folder, tokenizer=tokenizer, splits={"train": writer.close(), "held-out": ()})
    assert contents(folder) == contents(whole)


@pytest.mark.parametrize(("size", "itemsize"), [(65_536, 2), (65_537, 4), (70_000, 4)])
def test_ids_take_four_bytes_from_65537_tokens_on(tmp_path: Path, size: int, itemsize: int) -> None:
    tokenizer = some_tokenizer(size)
    documents = [*some_documents(5, vocab_size=size), [[size - 1, 7]]]
    shards = Shards(written(tmp_path, documents, tokenizer=tokenizer), verify=True)
    assert shards.index.dtype.itemsize == itemsize
    assert (tmp_path / "train" / "00000.tokens.bin").stat().st_size == itemsize * shards.num_tokens
    assert shards.tokens(shards.num_tokens - 2, shards.num_tokens).tolist() == [size - 1, 7]


def test_an_empty_split_is_an_empty_stream(tmp_path: Path) -> None:
    shards = Shards(written(tmp_path, some_documents(3), tokenizer=some_tokenizer()), "held-out", verify=True)
    assert (shards.num_tokens, shards.num_sentences, shards.num_documents) == (0, 0, 0)
    assert shards.tokens(0, 0).tolist() == []
    assert shards.sentence_starts.tolist() == shards.document_starts.tolist() == [0]
    assert shards.sentence_range(0, 0).tolist() == [0]
    assert shards.find_sentence(0) == 0


def test_the_tokenizer_of_the_folder_is_the_one_that_made_the_ids(tmp_path: Path) -> None:
    tokenizer = some_tokenizer()
    shards = Shards(written(tmp_path, some_documents(3), tokenizer=tokenizer))
    assert shards.fingerprint == tokenizer_fingerprint(tokenizer) == tokenizer_fingerprint(shards.tokenizer())
    assert shards.fingerprint != tokenizer_fingerprint(some_tokenizer(301))
    cased = WordPieceModel(tokenizer.model.tokens, rules=Rules(lowercase=False, strip_accents=False))
    assert shards.fingerprint != tokenizer_fingerprint(Tokenizer(cased))


def spoilt(folder: Path, how: str, other: Path) -> str | None:
    """Damage a folder; return the name of the file that the message must tell."""
    train = folder / "train"
    if how in ("tokens", "sentences", "documents", "words"):
        path = train / f"00001.{how}.bin"
        path.write_bytes(path.read_bytes()[:-1])
        return path.name
    if how == "missing":
        (train / "00000.words.bin").unlink()
        return "00000.words.bin"
    if how == "longer":
        path = train / "00000.tokens.bin"
        path.write_bytes(path.read_bytes() + b"\0\0")
        return path.name
    if how == "order":
        path = train / "00000.sentences.bin"
        values = np.fromfile(path, dtype="<u4")
        values[1], values[2] = values[2], values[1]
        values.tofile(path)
        return path.name
    if how == "ids":
        path = train / "00000.tokens.bin"
        values = np.fromfile(path, dtype="<u2")
        values[1] = 300
        values.tofile(path)
        return path.name
    if how == "foreign shard":
        shutil.copy(other / "train" / "00000.tokens.bin", train / "00099.tokens.bin")
        return "00099.tokens.bin"
    if how == "tokenizer":
        shutil.copy(other / "vocab.txt", folder / "vocab.txt")
        return "vocab.txt"
    index = json.loads((folder / "corpus.json").read_text())
    if how == "version":
        index["schema_version"] = 99
    elif how == "dtype":
        index["dtype"] = "uint32"
    elif how == "keys":
        del index["splits"]["train"]["shards"][0]["sha256"]["words"]
    (folder / "corpus.json").write_text("{" if how == "json" else json.dumps(index))
    return "corpus.json"


@pytest.mark.parametrize(
    "how",
    [
        *("tokens", "sentences", "documents", "words", "missing", "longer", "order", "ids", "foreign shard"),
        *("tokenizer", "version", "dtype", "keys", "json"),
    ],
)
def test_a_damaged_or_mixed_folder_is_refused_and_the_file_named(tmp_path: Path, how: str) -> None:
    folder = written(tmp_path / "one", some_documents(41), tokens_per_shard=200, tokenizer=some_tokenizer())
    other = written(tmp_path / "other", some_documents(41, seed=4), tokenizer=some_tokenizer(299))
    name = spoilt(folder, how, other)
    with pytest.raises(DataError, match=name) as caught:
        Shards(folder)
    assert caught.value.next_step


def test_a_changed_byte_is_found_when_the_folder_is_verified(tmp_path: Path) -> None:
    folder = written(tmp_path, some_documents(41), tokenizer=some_tokenizer())
    path = folder / "train" / "00000.words.bin"
    data = bytearray(path.read_bytes())
    data[3] ^= 8
    path.write_bytes(bytes(data))
    Shards(folder)
    with pytest.raises(DataError, match=r"00000\.words\.bin: this file is not the one that was written"):
        Shards(folder, verify=True)


@pytest.mark.parametrize("unfinished", [False, True])
def test_a_folder_without_an_index_is_told_apart_from_an_unfinished_one(tmp_path: Path, unfinished: bool) -> None:
    if unfinished:
        (tmp_path / "work").mkdir()
    with pytest.raises(DataError, match="not finished" if unfinished else "not a folder of token shards"):
        Shards(tmp_path)


def test_ranges_outside_and_unknown_splits_are_refused(tmp_path: Path) -> None:
    shards = Shards(written(tmp_path, some_documents(4), tokenizer=some_tokenizer()))
    end = shards.num_tokens
    for first, last in ((-1, 2), (3, 2), (0, end + 1)):
        with pytest.raises(ConfigError, match="no such tokens"):
            shards.tokens(first, last)
        with pytest.raises(ConfigError, match="no such tokens"):
            shards.word_starts(first, last)
    with pytest.raises(ConfigError, match="no such split"):
        Shards(tmp_path, "dev")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="tokens_per_shard"):
        ShardWriter(tmp_path, "train", "<u2", tokens_per_shard=0)


def test_a_full_disk_leaves_no_half_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    documents = some_documents(41)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FailureError, match="disk is full") as caught:
        written(tmp_path, documents, tokens_per_shard=60, tokenizer=some_tokenizer())
    assert isinstance(caught.value, AlbertineError)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
