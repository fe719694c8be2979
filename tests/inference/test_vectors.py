from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import albertine as al
from albertine.checkpoints.sentence_transformers import write_sentence_transformers
from albertine.errors import CheckpointError, ConfigError, UserError
from albertine.inference.engine import EngineSettings
from albertine.inference.vectors import VectorModel, encode, load_vectors, write_vectors
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.models.pooling import DenseLayer, Prompt, SentenceEncoder, SentencePooling, VectorUse
from albertine.tokenization.learn import learn_vocabulary

SENTENCE = "the cat sat on a mat while seven dogs slept in their warm house 很 好 吃"
WORDS = SENTENCE.split(" ")
VOCABULARY = learn_vocabulary([SENTENCE] * 50, size=150)
TEXTS = [" ".join(WORDS[start : start + count]) for start in range(7) for count in (3, 1, 9, 5, 2)]
CONFIG = EncoderConfig.preset(
    "albert-base",
    vocab_size=VOCABULARY.vocab_size,
    hidden_size=14,
    embedding_size=6,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=22,
    max_position_embeddings=17,
    initializer_range=0.3,
)
DENSE = SentencePooling(
    modes=("cls", "mean"), dense=(DenseLayer(in_features=28, out_features=5),), normalize=True, max_length=9
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("encoder") / "plain"
    al.save_encoder(Encoder(CONFIG), VOCABULARY, path)
    return path


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    model = SentenceEncoder(Encoder(CONFIG), DENSE)
    path = tmp_path_factory.mktemp("sentences") / "model"
    al.save_encoder(model.encoder, VOCABULARY, path)
    write_sentence_transformers(path, DENSE, model.state_dict(), hidden_size=14)
    return path


def reference(folder: Path, texts: list[str]) -> np.ndarray:
    """The mean of the last states, a text at a time."""
    encoder, tokenizer = al.load_encoder(folder)
    assert tokenizer is not None
    with torch.no_grad():
        rows = [encoder(tokenizer(text).input_ids).last_hidden_state[0].mean(dim=0) for text in texts]
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("settings", [None, EngineSettings(max_tokens=40, max_texts=4, chunk=11)])
def test_vectors_are_the_means_of_the_last_states_in_the_order_of_the_texts(
    folder: Path, settings: EngineSettings | None
) -> None:
    vectors = encode(TEXTS, encoder=folder, precision="fp32", settings=settings)
    assert vectors.dtype == np.float32
    assert vectors.shape == (35, 14)
    np.testing.assert_allclose(vectors, reference(folder, TEXTS), atol=1e-5)


def test_a_text_has_the_same_vector_alone_and_among_others(folder: Path) -> None:
    model = load_vectors(folder, precision="fp32")
    together = model.encode(TEXTS)
    for place in (0, 7, 34):
        np.testing.assert_allclose(model.encode([TEXTS[place]])[0], together[place], atol=1e-6)
    assert np.ptp(together, axis=0).max() > 0.1


def test_no_texts_give_no_rows(folder: Path, sentences: Path) -> None:
    assert encode([], encoder=str(folder)).shape == (0, 14)
    assert encode((), encoder=sentences).shape == (0, 5)
    assert encode([], encoder=folder).dtype == np.float32


def test_a_text_without_words_has_the_vector_of_its_special_tokens(folder: Path) -> None:
    model = load_vectors(folder, precision="fp32")
    vectors = model.encode(["", "  \t\n ", "cat"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert np.isfinite(vectors).all()
    assert abs(vectors[0] - vectors[2]).max() > 1e-3


def test_a_sentence_transformers_folder_says_how_to_pool(sentences: Path) -> None:
    model = load_vectors(sentences, precision="fp32")
    assert model.pooling == DENSE
    assert (model.width, model.max_length) == (5, 9)
    vectors = model.encode(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    encoder, tokenizer = al.load_encoder(sentences)
    torch.manual_seed(1)
    module = SentenceEncoder(Encoder(CONFIG), DENSE).eval()
    module.encoder.load_state_dict(encoder.state_dict())
    assert tokenizer is not None
    with torch.no_grad():
        rows = [module(tokenizer(text, max_length=9).input_ids)[0] for text in TEXTS]
    np.testing.assert_allclose(vectors, torch.stack(rows).numpy(), atol=1e-5)


def test_a_pooling_that_is_asked_for_replaces_the_folders(
    sentences: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = load_vectors(sentences, pooling="mean", normalize=False, max_length=17, precision="fp32")
    assert "its dense layers belong to its own pooling" in caplog.text
    np.testing.assert_allclose(model.encode(TEXTS), reference(sentences, TEXTS), atol=1e-5)
    assert load_vectors(sentences, pooling="max").pooling.normalize
    assert load_vectors(folder, pooling="max", normalize=True).pooling == SentencePooling(
        modes=("max",), normalize=True
    )
    assert not load_vectors(sentences, normalize=False).pooling.normalize


def test_normalised_vectors_have_length_one_and_the_same_direction(folder: Path) -> None:
    plain = encode(TEXTS, encoder=folder, precision="fp32")
    normal = encode(TEXTS, encoder=folder, normalize=True, precision="fp32")
    np.testing.assert_allclose(normal, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-6)


def test_cut_texts_are_counted_and_said_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = load_vectors(folder, max_length=5, precision="fp32", settings=EngineSettings(chunk=7))
    caplog.clear()
    cut = [" ".join(WORDS[:3]), " ".join(WORDS[:9])]
    vectors = model.encode([*cut, *["mat"] * 20])
    assert "1 of 22 texts (4.5 %) were longer than 5 tokens" in caplog.text
    assert len(caplog.records) == 1
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    caplog.clear()
    pieces = list(model.encode_pieces([cut, [], cut]))
    assert [len(piece.vectors) for piece in pieces] == [2, 0, 2]
    assert [piece.texts for piece in pieces] == [cut, [], cut]
    assert "2 of 4 texts" in caplog.text
    assert len(caplog.records) == 1


def test_the_folders_length_is_never_longer_than_the_positions_reach(sentences: Path, tmp_path: Path) -> None:
    for limit, expected in ((512, 17), (1, 3), (None, 17)):
        encoder, tokenizer = al.load_encoder(sentences)
        al.save_encoder(encoder, tokenizer, tmp_path)
        write_sentence_transformers(tmp_path, SentencePooling(max_length=limit), {}, hidden_size=14)
        model = load_vectors(tmp_path)
        assert model.max_length == expected
        assert model.encode(["cat " * 400]).shape == (1, 14)


def test_the_tokenizers_length_counts_where_nothing_else_says_one(folder: Path, tmp_path: Path) -> None:
    assert load_vectors(folder).max_length == 17
    other = shutil.copytree(folder, tmp_path / "other")
    settings = json.loads((other / "tokenizer_config.json").read_text("utf-8"))
    assert settings["model_max_length"] == 17
    (other / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 6}), encoding="utf-8")
    assert load_vectors(other).max_length == 6
    assert load_vectors(other, max_length=11).max_length == 11
    al.convert(other, tmp_path / "converted", to="sentence-transformers", verify=True)
    assert load_vectors(tmp_path / "converted").max_length == 6


def test_cut_vectors_have_length_one_where_that_was_asked_for(tmp_path: Path) -> None:
    torch.manual_seed(1)
    pooling = SentencePooling(normalize=True, truncate_dim=5)
    al.save_encoder(Encoder(CONFIG), VOCABULARY, tmp_path)
    write_sentence_transformers(tmp_path, pooling, {}, hidden_size=14)
    model = load_vectors(tmp_path, precision="fp32")
    plain, asked = model.encode(TEXTS), encode(TEXTS, encoder=tmp_path, normalize=True, precision="fp32")
    assert (model.width, plain.shape[1], asked.shape[1]) == (5, 5, 5)
    lengths = np.linalg.norm(plain, axis=1, keepdims=True)
    assert lengths.max() < 0.99
    np.testing.assert_allclose(asked, plain / lengths, atol=1e-6)


def test_what_vectors_are_made_for_survives_a_conversion(tmp_path: Path) -> None:
    use = VectorUse(
        similarity="dot",
        prompts=(Prompt(name="query", text="find: "), Prompt(name="text", text="")),
        default_prompt="query",
        prompt_is_pooled=False,
    )
    pooling = SentencePooling(modes=("cls",), truncate_dim=5, max_length=9, use=use)
    al.save_encoder(Encoder(CONFIG), VOCABULARY, tmp_path / "one")
    write_sentence_transformers(tmp_path / "one", pooling, {}, hidden_size=14)
    al.convert(tmp_path / "one", tmp_path / "two", to="sentence-transformers", verify=True)
    assert load_vectors(tmp_path / "two").pooling == pooling
    first, second = (encode(TEXTS, encoder=tmp_path / name, precision="fp32") for name in ("one", "two"))
    np.testing.assert_array_equal(first, second)


def test_texts_are_lower_cased_where_the_folder_says_so(tmp_path: Path) -> None:
    tokenizer = learn_vocabulary(["the cat The Cat THE CAT"] * 3, size=60, lowercase=False)
    encoder = Encoder(EncoderConfig.preset("bert-tiny", vocab_size=tokenizer.vocab_size, initializer_range=0.3))
    vectors = []
    for lowercase in (True, False):
        al.save_encoder(encoder, tokenizer, tmp_path)
        write_sentence_transformers(tmp_path, SentencePooling(lowercase=lowercase), {}, hidden_size=128)
        vectors.append(encode(["The CAT", "the cat"], encoder=tmp_path, precision="fp32"))
    np.testing.assert_allclose(vectors[0][0], vectors[0][1], atol=1e-6)
    assert abs(vectors[1][0] - vectors[1][1]).max() > 1e-3


def test_bf16_gives_float32_near_fp32(sentences: Path) -> None:
    reduced = encode(TEXTS, encoder=sentences, precision="bf16")
    assert reduced.dtype == np.float32
    np.testing.assert_allclose(reduced, encode(TEXTS, encoder=sentences, precision="fp32"), atol=0.05)


def test_opening_draws_no_random_numbers(sentences: Path) -> None:
    state = torch.get_rng_state()
    load_vectors(sentences)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("texts", "match"),
    [
        ("one text", "a list of texts"),
        ([None], "item 0"),
        (["a", b"b"], "item 1"),
        (["a", ("b", "c")], "item 1"),
        ([3], "int 3"),
    ],
)
def test_what_is_not_a_list_of_texts_is_refused(folder: Path, texts: object, match: str) -> None:
    with pytest.raises(UserError, match=match):
        encode(texts, encoder=folder)
    with pytest.raises(UserError, match=match):
        load_vectors(folder).encode(texts)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"pooling": "average"}, "average"),
        ({"pooling": "maen"}, "'mean'"),
        ({"max_length": 2}, "max_length"),
        ({"max_length": 18}, r"3 … 17"),
        ({"precision": "fp16"}, "precision"),
        ({"device": "nowhere"}, "device"),
    ],
)
def test_options_that_do_not_exist_or_fit_are_refused(folder: Path, options: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        load_vectors(folder, **options)


def test_an_encoder_without_a_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    encoder, _ = al.load_encoder(folder)
    al.save_encoder(encoder, None, tmp_path)
    with pytest.raises(CheckpointError, match="no tokenizer"):
        load_vectors(tmp_path)


def test_dense_layers_for_another_encoder_are_refused(sentences: Path, tmp_path: Path) -> None:
    wide = SentencePooling(dense=(DenseLayer(in_features=28, out_features=5),))
    al.save_encoder(Encoder(CONFIG), VOCABULARY, tmp_path)
    tensors = {"pooling.dense.0.weight": torch.zeros(5, 28), "pooling.dense.0.bias": torch.zeros(5)}
    write_sentence_transformers(tmp_path, wide, tensors, hidden_size=28)
    with pytest.raises(CheckpointError, match="another width"):
        load_vectors(tmp_path)


def test_vectors_are_written_piece_by_piece_into_one_file(tmp_path: Path) -> None:
    pieces = [np.random.default_rng(3).random((rows, 7), dtype=np.float32) for rows in (5, 0, 1, 129)]
    assert write_vectors(tmp_path / "vectors.npy", iter(pieces), 7) == 135
    loaded = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, np.concatenate(pieces))
    assert write_vectors(tmp_path / "none.npy", [], 7) == 0
    assert np.load(tmp_path / "none.npy").shape == (0, 7)


def test_a_file_that_was_not_finished_is_not_left_behind(tmp_path: Path) -> None:
    def broken() -> object:
        yield np.zeros((3, 7), dtype=np.float32)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        write_vectors(tmp_path / "vectors.npy", broken(), 7)
    with pytest.raises(ConfigError, match=r"\.npy"):
        write_vectors(tmp_path / "vectors.csv", [], 7)
    assert list(tmp_path.iterdir()) == []


def test_a_module_of_ones_own_makes_a_model() -> None:
    module = SentenceEncoder(Encoder(CONFIG), SentencePooling(modes=("last",)))
    model = VectorModel(module, VOCABULARY, precision="fp32")
    assert not module.training
    assert model.encode(TEXTS).shape == (35, 14)
