"""A classifier that transformers fine-tuned answers here as it does there, whatever form its folder has by now."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import albertine as al
from albertine.checkpoints.convert import convert
from albertine.errors import CheckpointError, DataError, UserError

transformers = pytest.importorskip("transformers", reason="transformers is needed for parity", exc_type=ImportError)

WORDS = ("the", "soup", "was", "cold", "and", "warm", "汤", "凉", "了", "##s", ".")
LABELS = ("坏", "neutral", "good")
TEXTS = ["the soup was cold.", "汤凉了", "soups", "the warm soup and the cold soup and the soup"]
PAIRS = [("the soup", "was cold"), ("汤", "the soups")]
SIZES = {
    "vocab_size": 16,
    "hidden_size": 12,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 29,
    "max_position_embeddings": 17,
    "num_labels": len(LABELS),
    "id2label": dict(enumerate(LABELS)),
    "label2id": {label: index for index, label in enumerate(LABELS)},
}


@pytest.fixture(params=["bert", "albert"])
def fine_tuned(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder as transformers writes it, with weights large enough for the answers to differ."""
    transformers.logging.set_verbosity_error()
    if request.param == "bert":
        config = transformers.BertConfig(**SIZES, hidden_act="gelu_new")
        model = transformers.BertForSequenceClassification(config)
    else:
        config = transformers.AlbertConfig(**SIZES, embedding_size=7)
        model = transformers.AlbertForSequenceClassification(config)
    generator = torch.Generator().manual_seed(13)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            small = any(part in name for part in ("bias", "position", "token_type"))
            parameter.copy_(1 + 0.1 * noise if "norm.weight" in name.lower() else (0.05 if small else 0.6) * noise)
    folder = tmp_path / "fine-tuned"
    model.save_pretrained(folder)
    tokens = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return folder


@torch.no_grad()
def their_probabilities(folder: Path, inputs: list[str] | list[tuple[str, str]]) -> np.ndarray:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    batch = al.load_tokenizer(folder)(inputs, max_length=17)
    logits = model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, token_type_ids=batch.token_type_ids
    ).logits
    return logits.softmax(dim=1).numpy()


def our_probabilities(folder: Path, inputs: list[str] | list[tuple[str, str]]) -> np.ndarray:
    predictions = al.load(folder, precision="fp32").predict(inputs)
    return np.array([[prediction.scores[label] for label in LABELS] for prediction in predictions])


@pytest.mark.parametrize("inputs", [TEXTS, PAIRS], ids=["texts", "pairs"])
def test_the_folder_answers_as_it_stands(fine_tuned: Path, inputs: list[str] | list[tuple[str, str]]) -> None:
    expected = their_probabilities(fine_tuned, inputs)
    assert np.ptp(expected, axis=0).max() > 0.01
    np.testing.assert_allclose(our_probabilities(fine_tuned, inputs), expected, atol=1e-5)


@pytest.mark.parametrize("inputs", [TEXTS, PAIRS], ids=["texts", "pairs"])
def test_a_converted_folder_answers_the_same(
    fine_tuned: Path, tmp_path: Path, inputs: list[str] | list[tuple[str, str]]
) -> None:
    convert(fine_tuned, tmp_path / "ours", to="albertine", verify=True)
    model = al.load(tmp_path / "ours", precision="fp32")
    assert model.labels == LABELS
    model.save(tmp_path / "again")
    expected = their_probabilities(fine_tuned, inputs)
    for folder in ("ours", "again"):
        np.testing.assert_allclose(our_probabilities(tmp_path / folder, inputs), expected, atol=1e-5)


def test_a_fine_tuned_checkpoint_of_googles_answers_under_numbered_labels(fine_tuned: Path, tmp_path: Path) -> None:
    conversion = convert(fine_tuned, tmp_path / "google", to="tensorflow", verify=True)
    assert any("labels are left out" in note for note in conversion.notes)
    model = al.load(tmp_path / "google", precision="fp32")
    assert model.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    scores = [list(prediction.scores.values()) for prediction in model.predict(TEXTS)]
    np.testing.assert_allclose(scores, their_probabilities(fine_tuned, TEXTS), atol=1e-5)


def test_texts_and_pairs_are_not_mixed(fine_tuned: Path) -> None:
    with pytest.raises(DataError, match="single texts"):
        al.load(fine_tuned).predict([TEXTS[0], PAIRS[0]])


def test_a_model_without_vocabulary_or_of_a_task_that_is_not_there_says_so(fine_tuned: Path, tmp_path: Path) -> None:
    (fine_tuned / "vocab.txt").unlink()
    with pytest.raises(CheckpointError, match="no tokenizer"):
        al.load(fine_tuned)
    encoder = transformers.BertModel(transformers.BertConfig(**SIZES))
    encoder.save_pretrained(tmp_path / "encoder")
    with pytest.raises(UserError, match="has not been trained for a task"):
        al.load(tmp_path / "encoder")
