"""Models as users meet them: opened from a folder, asked, saved."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from albertine.checkpoints.writing import save_encoder
from albertine.errors import CheckpointError, ConfigError, DataError, UserError
from albertine.inference.loading import load
from albertine.inference.model import Model
from albertine.models.bag_of_words import BagOfWords
from albertine.models.body import BodyConfig
from albertine.models.config import EncoderConfig
from albertine.models.ngrams import BagOfWordsConfig
from albertine.models.recurrent import RecurrentConfig
from albertine.models.word_vectors import WordVectorsConfig
from albertine.records import Example
from albertine.tasks.classification_options import ClassificationOptions
from albertine.tasks.classifier import Classifier
from albertine.tasks.config import TaskConfig
from albertine.tasks.text_classification import TASK
from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer

TEXTS = [
    "the soup was hot and the bread was fresh",
    "cold soup, stale bread",
    "很好吃，服务也好",
    "太慢了，不会再来",
    "Fine.",
    "",
    "a very long story about a very slow waiter and a very cold soup " * 9,
]
CONFIG = TaskConfig(
    task="text-classification",
    labels=("bad", "good", "so-so"),
    max_length=41,
    options=ClassificationOptions(long_texts="head"),
)
MANIFEST = {"schema_version": 1, "seed": 7}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    signs = sorted({sign for text in TEXTS for sign in text.lower() if sign != " "})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *signs, *(f"##{sign}" for sign in signs)]
    path = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    path.write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return load_tokenizer(path)


def body(kind: str, vocab_size: int) -> BodyConfig:
    small = {
        "vocab_size": vocab_size,
        "hidden_size": 14,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 22,
        "max_position_embeddings": 41,
        "initializer_range": 0.3,
    }
    if kind == "bert":
        return EncoderConfig.preset("bert-base", embedding_size=14, **small)
    if kind == "albert":
        return EncoderConfig.preset("albert-base", embedding_size=6, **small)
    if kind == "encoder":
        return EncoderConfig.preset("albert-base", embedding_size=6, norm_placement="pre", **small)
    if kind == "bilstm":
        return RecurrentConfig(vocab_size=vocab_size, embedding_size=6, hidden_size=5, initializer_range=1.0)
    return WordVectorsConfig(vocab_size=vocab_size, embedding_size=6, bigram_buckets=13, initializer_range=1.0)


KINDS = ["bert", "albert", "encoder", "bilstm", "word-vectors"]


def trained(kind: str, tokenizer: Tokenizer, config: TaskConfig = CONFIG, **changes: object) -> Model:
    torch.manual_seed(0)
    shape = body(kind, tokenizer.vocab_size)
    module = TASK.build(shape, config)
    torch.nn.init.normal_(module.classifier.weight)
    options = {"precision": "fp32", "manifest": MANIFEST, "card": "# A card\n", **changes}
    return Model(module, config=shape, tokenizer=tokenizer, task=TASK, task_config=config, **options)


def bag(config: TaskConfig = CONFIG) -> Model:
    texts = ["good soup", "good bread", "bad soup", "bad bread", "soup so so", "bread so so"] * 3
    learnt = BagOfWords(BagOfWordsConfig()).fit(texts, [1, 1, 0, 0, 2, 2] * 3, 3)
    options = {"precision": "auto", "manifest": MANIFEST, "card": "# A card\n"}
    config = replace(config, max_length=None)
    return Model(learnt, config=learnt.config, tokenizer=None, task=TASK, task_config=config, **options)


@pytest.fixture(params=[*KINDS, "bag-of-words"])
def model(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> Model:
    return bag() if request.param == "bag-of-words" else trained(request.param, tokenizer)


def test_a_saved_model_opens_and_answers_the_same(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    opened = load(tmp_path / "model", precision="fp32")
    np.testing.assert_allclose(opened.scores(TEXTS), model.scores(TEXTS), atol=1e-6)
    assert [one.label for one in opened.predict(TEXTS)] == [one.label for one in model.predict(TEXTS)]
    assert opened.task_config == model.task_config
    assert opened.config == model.config
    assert opened.labels == ("bad", "good", "so-so")
    assert opened.manifest == MANIFEST
    assert opened.card == "# A card\n"
    assert opened.body_kind == model.body_kind
    assert opened.parameters_info == model.parameters_info


def test_a_model_saved_again_writes_the_same_files(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "first")
    load(tmp_path / "first", precision="bf16" if model.tokenizer else "fp32").save(tmp_path / "second")
    first, second = (
        {one.name: one.read_bytes() for one in (tmp_path / name).iterdir()} for name in ("first", "second")
    )
    assert first == second
    expected = {"config.json", "model.safetensors", "task.json", "manifest.json", "README.md"}
    assert expected <= set(first)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "larger than any of its kind"), ("# 模型\n".encode("gb18030"), "not UTF-8")]
)
def test_a_readme_that_is_no_model_card_is_left_out_with_a_warning(
    tmp_path: Path, content: bytes | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    bag().save(tmp_path / "model")
    with (tmp_path / "model" / "README.md").open("wb") as file:
        if content is None:
            file.truncate(1 << 40)  # would not fit into memory
        else:
            file.write(content)
    with caplog.at_level(logging.WARNING, logger="albertine"):
        opened = load(tmp_path / "model")
        assert opened.card == ""
        assert len(opened.predict(TEXTS)) == len(TEXTS)
    (warning,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "README.md" in warning
    assert said in warning


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_the_body_is_told(kind: str, tokenizer: Tokenizer) -> None:
    assert trained(kind, tokenizer).body_kind == kind


def test_the_kind_of_a_bag_of_words_is_told() -> None:
    assert bag().body_kind == "bag-of-words"
    assert bag().parameters_info.unique == bag().parameters_info.executed > 0


def test_predictions_come_in_order_with_all_scores(model: Model) -> None:
    predictions = model.predict(TEXTS)
    scores = model.scores(TEXTS)
    assert [one.label for one in predictions] == [model.labels[index] for index in scores.argmax(axis=1)]
    for prediction, row in zip(predictions, scores, strict=True):
        assert prediction.score == max(prediction.scores.values())
        assert list(prediction.scores.values()) == pytest.approx(row.tolist())
        assert sum(prediction.scores.values()) == pytest.approx(1.0, abs=1e-5)


def test_no_texts_give_no_predictions(model: Model) -> None:
    assert model.predict([]) == []
    assert model.scores([]).shape == (0, 3)


def test_examples_from_a_file_are_answered_whatever_their_labels(model: Model) -> None:
    examples = [Example(text=text, label="unheard of", file="x.csv", line=3) for text in TEXTS]
    assert model.predict_examples(examples) == model.predict(TEXTS)


def test_one_text_instead_of_a_list_is_refused(model: Model) -> None:
    with pytest.raises(UserError, match=r"predict\(\[text\]\)"):
        model.predict("很好吃")


@pytest.mark.parametrize("wrong", [3, None, b"bytes", ("a", "b", "c"), ("a", 1), ["a", "b"]])
def test_what_is_not_a_text_is_refused_with_its_place(model: Model, wrong: object) -> None:
    with pytest.raises(UserError, match="item 1"):
        model.predict(["fine", wrong])


def test_a_pair_for_a_model_of_single_texts_is_refused(model: Model) -> None:
    with pytest.raises(DataError, match="single texts"):
        model.predict(["one", ("one", "two")])


def test_a_model_of_pairs_answers_pairs_and_refuses_single_texts(tokenizer: Tokenizer) -> None:
    pairs = trained("albert", tokenizer, replace(CONFIG, pairs=True))
    first, second = pairs.scores([("the soup", "was cold"), ("was cold", "the soup")])
    assert np.abs(first - second).max() > 1e-4
    with pytest.raises(DataError, match="pairs of texts"):
        pairs.predict(["the soup"])


def test_a_folder_of_an_encoder_without_a_task_says_what_to_do(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = trained("albert", tokenizer)
    assert isinstance(model.learnt, Classifier)
    save_encoder(model.learnt.body, tokenizer, tmp_path / "encoder")
    with pytest.raises(UserError, match="albertine finetune text-classification"):
        load(tmp_path / "encoder")


def test_a_missing_folder_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such folder"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_do_not_fit_are_named(kind: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    trained(kind, tokenizer).save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["stranger"] = torch.zeros(3)
    weights["classifier.bias"] = torch.zeros(7)
    del weights["classifier.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path)
    for part in ("classifier.weight is missing", "stranger belongs nowhere", "classifier.bias is [7] instead of [3]"):
        assert part in str(caught.value)


def test_a_bag_of_words_with_other_labels_is_refused(tmp_path: Path) -> None:
    bag().save(tmp_path)
    task = json.loads((tmp_path / "task.json").read_text(encoding="utf-8"))
    task["labels"] = ["bad", "good"]
    (tmp_path / "task.json").write_text(json.dumps(task), encoding="utf-8")
    with pytest.raises(CheckpointError, match="3 columns, 2 labels"):
        load(tmp_path)


def test_an_unknown_task_is_refused_with_those_that_exist(tokenizer: Tokenizer, tmp_path: Path) -> None:
    trained("bert", tokenizer).save(tmp_path)
    task = json.loads((tmp_path / "task.json").read_text(encoding="utf-8"))
    task["task"] = "text-clasification"
    (tmp_path / "task.json").write_text(json.dumps(task), encoding="utf-8")
    with pytest.raises(ConfigError, match="text-classification"):
        load(tmp_path)


def test_wrong_devices_and_precisions_are_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    trained("bert", tokenizer).save(tmp_path / "bert")
    with pytest.raises(ConfigError, match="device"):
        load(tmp_path / "bert", device="abacus")
    with pytest.raises(ConfigError, match="auto, fp32, bf16"):
        load(tmp_path / "bert", precision="fp8")
    bag().save(tmp_path / "bag")
    with pytest.raises(ConfigError, match="auto, fp32"):
        load(tmp_path / "bag", precision="bf16")


def test_bf16_weights_in_a_folder_are_opened_in_fp32(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = trained("albert", tokenizer)
    model.save(tmp_path)
    weights = {name: one.bfloat16() for name, one in load_file(tmp_path / "model.safetensors").items()}
    save_file(weights, tmp_path / "model.safetensors")
    opened = load(tmp_path, precision="fp32")
    assert {one.dtype for one in opened.learnt.parameters()} == {torch.float32}
    np.testing.assert_allclose(opened.scores(TEXTS), model.scores(TEXTS), atol=0.05)


@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_transformers_opens_the_folder_as_a_classifier_with_the_same_logits(
    kind: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    model = trained(kind, tokenizer)
    model.save(tmp_path)
    theirs, report = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert list(theirs.config.id2label.values()) == list(model.labels)
    batch = tokenizer(TEXTS, max_length=41)
    with torch.inference_mode():
        logits = theirs.eval()(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, token_type_ids=batch.token_type_ids
        ).logits
    np.testing.assert_allclose(logits.softmax(dim=-1).numpy(), model.scores(TEXTS), atol=1e-4)
