"""A tokenizer over a few signs, and classifiers that are not trained but tell texts apart."""

from __future__ import annotations

import pytest
import torch

from albertine.inference.model import Model
from albertine.models.config import EncoderConfig
from albertine.tasks.config import TaskConfig
from albertine.tasks.text_classification import TASK
from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer

SIGNS = "abcdefghijklmnopqrstuvwxyz"
TINY = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 60,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}


@pytest.fixture(scope="session")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *SIGNS, *(f"##{sign}" for sign in SIGNS)]
    path = tmp_path_factory.mktemp("letters") / "vocab.txt"
    path.write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return load_tokenizer(path)


@pytest.fixture(params=["bert", "albert"])
def elastic(request: pytest.FixtureRequest, letters: Tokenizer) -> Model:
    """A model of five passes whose exits may answer."""
    sizes = {**TINY, "vocab_size": letters.vocab_size, "num_hidden_layers": 5}
    config = (
        EncoderConfig.preset("bert-tiny", **sizes, embedding_size=32)
        if request.param == "bert"
        else EncoderConfig.preset("albert-base", **sizes, embedding_size=12)
    )
    task_config = TaskConfig(task=TASK.name, labels=("one", "three", "two"), max_length=40, elastic=True, exit_at=0.5)
    torch.manual_seed(4)
    module = TASK.build(config, task_config)
    torch.nn.init.normal_(module.classifier.weight, std=1.0)  # type: ignore[union-attr, arg-type]
    return Model(module, config=config, tokenizer=letters, task=TASK, task_config=task_config, precision="fp32")
