"""Semantic search: exact, in a fixed order, kept in a folder, and never with another encoder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from albertine.errors import AlbertineError, CheckpointError, ConfigError, DataError, UserError
from albertine.inference import search as module
from albertine.inference.nearest import nearest
from albertine.inference.search import Hit, Index, index, index_files, load_index
from albertine.inference.vectors import VectorModel
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.models.pooling import SentenceEncoder, SentencePooling
from albertine.records import Prediction
from albertine.tokenization.learn import learn_vocabulary

SENTENCE = "the cat sat on a mat while seven dogs slept in their warm house 很 好 吃 。 ."
WORDS = SENTENCE.split(" ")[:-2]
VOCABULARY = learn_vocabulary([SENTENCE] * 50, size=150)
CONFIG = EncoderConfig.preset(
    "albert-base",
    vocab_size=VOCABULARY.vocab_size,
    hidden_size=14,
    embedding_size=6,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=22,
    max_position_embeddings=17,
    initializer_range=0.5,
)
TEXTS = [" ".join(WORDS[start : start + count]) for start in range(9) for count in (3, 1, 6)]


def encoder(seed: int = 1, *, max_length: int | None = None, width: int = 14) -> VectorModel:
    torch.manual_seed(seed)
    pooled = SentencePooling(truncate_dim=None if width == 14 else width)
    return VectorModel(SentenceEncoder(Encoder(CONFIG), pooled), VOCABULARY, max_length=max_length)


@pytest.fixture(scope="module")
def model() -> VectorModel:
    return encoder()


def unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def brute_force(model: VectorModel, texts: Sequence[str], query: str, k: int) -> list[tuple[int, float]]:
    cosines = np.round(unit(model.encode(texts)) @ unit(model.encode([query]))[0], 6)
    order = sorted(range(len(texts)), key=lambda place: (-cosines[place], place))
    return [(place, float(cosines[place])) for place in order[:k]]


# --- what is found


@pytest.mark.parametrize("k", [1, 4, 27, 100])
def test_search_is_that_of_brute_force(model: VectorModel, k: int) -> None:
    found = index(TEXTS, encoder=model).search("seven cats slept", k=k)
    expected = brute_force(model, TEXTS, "seven cats slept", k)
    assert [hit.place for hit in found] == [place for place, _ in expected]
    assert [hit.score for hit in found] == pytest.approx([score for _, score in expected], abs=2e-6)
    assert [hit.text for hit in found] == [TEXTS[place] for place, _ in expected]


def test_several_queries_are_answered_at_once_as_one_by_one(
    model: VectorModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_QUERIES", 2)
    found = index(TEXTS, encoder=model)
    queries = ["the cat", "很 好", "warm house", "the cat", "dogs"]
    together = found.search(queries, k=3)
    assert [[hit.place for hit in one] for one in together] == [
        [hit.place for hit in found.search(query, k=3)] for query in queries
    ]


def test_a_text_finds_itself_first(model: VectorModel) -> None:
    (hit,) = index(TEXTS, encoder=model).search(TEXTS[7], k=1)
    assert hit == Hit(place=7, text=TEXTS[7], score=pytest.approx(1.0, abs=1e-5))  # type: ignore[arg-type]


def test_equal_texts_come_in_the_order_of_their_places(model: VectorModel) -> None:
    texts = ["the cat", "on a mat", "the cat", "seven dogs", "the cat", "on a mat"] * 3
    places = [hit.place for hit in index(texts, encoder=model).search("the cat", k=9)]
    assert places == [0, 2, 4, 6, 8, 10, 12, 14, 16]


def test_no_documents_give_no_hits(model: VectorModel) -> None:
    empty = index([], encoder=model)
    assert len(empty) == 0
    assert empty.search("the cat") == []
    assert empty.search(["the cat", "dogs"], rerank=lambda pairs: []) == [[], []]
    assert empty.search([]) == []


def test_empty_texts_keep_their_place_and_are_never_found(model: VectorModel, caplog: pytest.LogCaptureFixture) -> None:
    found = index(["", "the cat", " \n", "seven dogs"], encoder=model)
    assert "2 of 4 texts are empty" in caplog.text
    assert len(found) == 4
    assert sorted(hit.place for hit in found.search("cat", k=9)) == [1, 3]


def test_what_is_added_is_found(model: VectorModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIECE", 4)
    monkeypatch.setattr(module, "_SMALL", 6)
    grown = index(TEXTS[:5], encoder=model)
    for first in range(5, len(TEXTS), 3):
        grown.add(TEXTS[first : first + 3])
    assert len(grown) == len(TEXTS)
    whole = index(TEXTS, encoder=model)
    for query in ("the cat sat", "吃"):
        assert [hit.place for hit in grown.search(query, k=9)] == [hit.place for hit in whole.search(query, k=9)]


def test_vectors_in_half_the_room_find_nearly_the_same(model: VectorModel) -> None:
    whole, half = index(TEXTS, encoder=model), index(TEXTS, encoder=model, storage="float16")
    for one, other in zip(whole.search("the cat sat", k=27), half.search("the cat sat", k=27), strict=True):
        assert abs(one.score - other.score) < 1e-3


def test_prompts_stand_before_queries_and_passages(model: VectorModel) -> None:
    found = index(["cat", "dogs"], encoder=model, query_prompt="the ", passage_prompt="warm ").search("house", k=2)
    expected = brute_force(model, ["warm cat", "warm dogs"], "the house", 2)
    assert [hit.place for hit in found] == [place for place, _ in expected]
    assert [hit.score for hit in found] == pytest.approx([score for _, score in expected], abs=2e-6)
    assert {hit.text for hit in found} == {"cat", "dogs"}
    with pytest.raises(ConfigError, match="passage_prompt"):
        index(["cat"], encoder=model, passage_prompt="the cat sat " * 9)


@pytest.mark.parametrize(
    ("call", "error", "reason"),
    [
        (lambda found: found.search("cat", k=0), ConfigError, "k: "),
        (lambda found: found.search(" \n"), UserError, "without any text"),
        (lambda found: found.search(["cat", 3]), UserError, "item 1"),
        (lambda found: found.add("cat"), UserError, "list"),
        (lambda found: found.add_files(["nowhere.txt"]), DataError, "nowhere.txt"),
        (lambda found: index(["a"], encoder=found.encoder, storage="int8"), ConfigError, "float16"),
    ],
)
def test_what_is_not_meant_is_refused(
    model: VectorModel, call: Callable[[Index], object], error: type[AlbertineError], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        call(index(["the cat"], encoder=model))


# --- long documents and files


def test_a_long_document_is_found_once_by_its_best_passage(model: VectorModel) -> None:
    long = "The cat sat on a mat. Seven dogs slept in their house. 很好吃。 Dogs slept on a warm mat. A cat sat on."
    found = index(["the cat", long, "warm"], encoder=model)
    hits = found.search("seven dogs slept in their house.", k=3)
    assert sorted(hit.place for hit in hits) == [0, 1, 2]
    (hit,) = [hit for hit in hits if hit.place == 1]
    assert "Seven dogs slept in their house." in hit.text
    assert len(hit.text) < len(long)
    parts = [one.text for one in found._passages if one.document == 1]
    assert len(parts) > 1
    counts = VOCABULARY.tokenize(parts, offsets=False).lengths
    assert counts.max() <= model.max_length
    expected = max(unit(model.encode(parts)) @ unit(model.encode(["seven dogs slept in their house."]))[0])
    assert hit.score == pytest.approx(float(expected), abs=2e-6)


def test_hits_name_file_and_line(model: VectorModel, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cat\nsat on\n\nseven dogs\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("\n很 好 吃\n", encoding="utf-8")
    found = index_files(tmp_path, encoder=model)
    assert len(found) == 3
    hit = found.search("seven dogs", k=1)[0]
    assert (Path(hit.file).name, hit.line, hit.text) == ("a.txt", 4, "seven dogs")
    lines = index_files([tmp_path], encoder=model, granularity="line")
    assert [(Path(one.file).name, one.line) for one in lines._passages] == [
        ("a.txt", 1),
        ("a.txt", 2),
        ("a.txt", 4),
        ("b.txt", 2),
    ]
    files = index_files(tmp_path / "*.txt", encoder=model, granularity="file")
    assert (len(files), files.search("很 好 吃", k=1)[0].line) == (2, 2)


# --- reranking


def test_a_reranker_orders_the_nearest_anew(model: VectorModel) -> None:
    asked: list[tuple[str, str]] = []

    def by_length(pairs: Sequence[tuple[str, str]]) -> list[float]:
        asked.extend(pairs)
        return [float(len(text)) for _, text in pairs]

    found = index(TEXTS, encoder=model)
    nearest_five = found.search("the cat", k=5)
    hits = found.search("the cat", k=2, rerank=by_length, candidates=5)
    assert asked == [("the cat", hit.text) for hit in nearest_five]
    longest = sorted(nearest_five, key=lambda hit: (-len(hit.text), hit.place))[:2]
    assert [hit.place for hit in hits] == [hit.place for hit in longest]
    assert [hit.score for hit in hits] == [float(len(hit.text)) for hit in longest]


def test_a_trained_model_of_pairs_is_a_reranker(model: VectorModel) -> None:
    class Pairs:
        def predict(self, texts: Sequence[tuple[str, str]]) -> list[Prediction]:
            return [Prediction(value=-float(len(text))) for _, text in texts]

    found = index(TEXTS, encoder=model).search(["the cat", "dogs"], k=27, rerank=Pairs())
    for hits in found:
        assert [len(hit.text) for hit in hits] == sorted(map(len, TEXTS))


@pytest.mark.parametrize("scores", [[], [1.0, 2.0, 3.0], [float("nan")] * 2])
def test_a_reranker_that_gives_something_else_is_refused(model: VectorModel, scores: list[float]) -> None:
    with pytest.raises(ConfigError, match="2 pairs"):
        index(["the cat", "dogs"], encoder=model).search("cat", rerank=lambda pairs: scores)


# --- folders


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_a_saved_index_answers_as_before(model: VectorModel, tmp_path: Path, storage: str) -> None:
    made = index(["", *TEXTS], encoder=model, storage=storage, query_prompt="the ")  # type: ignore[arg-type]
    made.save(tmp_path / "index")
    again = load_index(tmp_path / "index", encoder=encoder())
    assert len(again) == 28
    assert again.search("cat", k=9) == made.search("cat", k=9)
    again.add(["seven cats"])
    again.save(tmp_path / "index")
    third = load_index(tmp_path / "index", encoder=model)
    assert third.search("seven cats", k=28) == again.search("seven cats", k=28)
    assert third.search("seven cats", k=28)[0].place in (28, *range(28))
    assert not list(tmp_path.glob(".*"))


def test_an_empty_index_can_be_kept(model: VectorModel, tmp_path: Path) -> None:
    index([""], encoder=model).save(tmp_path / "index")
    again = load_index(tmp_path / "index", encoder=model)
    assert (len(again), again.search("cat")) == (1, [])


def test_another_encoder_is_refused(model: VectorModel, tmp_path: Path) -> None:
    index(TEXTS, encoder=model).save(tmp_path / "index")
    for other in (encoder(2), encoder(width=5)):
        with pytest.raises(CheckpointError, match="another encoder"):
            load_index(tmp_path / "index", encoder=other)
    with pytest.raises(ConfigError, match="does not name its encoder"):
        load_index(tmp_path / "index")


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["vectors.npy", "passages.jsonl", "manifest.json"])
def test_a_missing_or_damaged_file_is_named(model: VectorModel, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "index"
    index(TEXTS, encoder=model).save(folder)
    kept = (folder / name).read_bytes()
    for damage in (lambda path: path.write_bytes(kept[:-9]), flipped, lambda path: path.unlink()):
        (folder / name).write_bytes(kept)
        damage(folder / name)
        with pytest.raises(CheckpointError, match=name):
            load_index(folder, encoder=model)


def test_a_manifest_that_tells_something_else_is_refused(model: VectorModel, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    index(TEXTS, encoder=model).save(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for change in ({"width": 13}, {"storage": "int8"}, {"documents": "27"}, {"schema_version": 99}, {"sha256": {}}):
        (folder / "manifest.json").write_text(json.dumps(manifest | change))
        with pytest.raises(CheckpointError, match=r"manifest\.json"):
            load_index(folder, encoder=model)


def test_an_index_does_not_take_the_place_of_something_else(model: VectorModel, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    made = index(["the cat"], encoder=model)
    for target in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(ConfigError, match="folder of its own"):
            made.save(target)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_no_pickle_is_read(model: VectorModel, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    index(["the cat"], encoder=model).save(folder)
    np.save(folder / "vectors.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CheckpointError, match=r"vectors\.npy"):
        load_index(folder, encoder=model)


# --- the search itself


@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=9),
    k=st.integers(1, 7),
    rows=st.integers(1, 9),
    cut=st.integers(0, 20),
    seed=st.integers(0, 99),
)
@settings(max_examples=150)
def test_the_nearest_documents_are_those_of_brute_force(
    lengths: list[int], k: int, rows: int, cut: int, seed: int
) -> None:
    """Few different values, so that there are many ties; documents of several passages, some torn by a block's end."""
    generator = np.random.default_rng(seed)
    owners = np.repeat(np.arange(len(lengths)) * 2, lengths)
    vectors = generator.integers(-1, 2, size=(len(owners), 2)).astype(np.float32)
    queries = generator.integers(-1, 2, size=(3, 2)).astype(np.float32)
    found = nearest(queries, [vectors[:cut], vectors[cut:]], owners, k, rows=rows)
    for query, one in zip(queries, found, strict=True):
        similarities = vectors @ query
        best = {
            document: max((similarities[row], -row) for row in np.flatnonzero(owners == document).tolist())
            for document in set(owners.tolist())
        }
        order = sorted(best, key=lambda document: (-best[document][0], document))[:k]
        assert one.documents.tolist() == order
        assert one.similarities.tolist() == [best[document][0] for document in order]
        assert one.passages.tolist() == [-best[document][1] for document in order]
