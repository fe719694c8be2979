"""Tiny models of odd sizes, saved as users have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from albertine import registry
from albertine.checkpoints.writing import save_encoder
from albertine.inference.model import Model
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel
from albertine.tasks.config import TaskConfig
from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer

SIGNS = sorted(set("the quick brown fox jumps over a lazy dog .,?!0123456789") - {" "})
WORDS = ["the", "soup", "was", "bread", "hot", "好", "吃", "很", "太", "慢", "了", "北", "京", "天", "气"]
SMALL = {
    "hidden_size": 14,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 22,
    "max_position_embeddings": 41,
}
SHAPES: dict[str, tuple[str, dict[str, object]]] = {
    "bert": ("bert-base", {"embedding_size": 14}),
    "bert-without-pooler": ("bert-base", {"embedding_size": 14, "add_pooler": False}),
    "bert-untied": ("bert-base", {"embedding_size": 14, "tie_word_embeddings": False}),
    "albert": ("albert-base", {"embedding_size": 6}),
    "albert-groups": ("albert-base", {"embedding_size": 6, "num_hidden_groups": 2, "inner_group_num": 2}),
    "albert-shared-attention": ("albert-base", {"embedding_size": 6, "share": "attention"}),
    "pre-norm": ("albert-base", {"embedding_size": 6, "norm_placement": "pre"}),
    "brightmart": (
        "albert-chinese-tiny",
        {"embedding_size": 6, "embedding_norm_width": "hidden", "projection_bias": False},
    ),
    "transformer": ("transformer-base", {"embedding_size": 15, "hidden_size": 15, "num_attention_heads": 3}),
}


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *SIGNS, *(f"##{sign}" for sign in SIGNS)]
    path = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    path.write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return load_tokenizer(path)


@pytest.fixture(scope="session")
def shape(tokenizer: Tokenizer) -> Callable[..., EncoderConfig]:
    """A configuration by its name above, with fields replaced."""

    def make(name: str, **changes: object) -> EncoderConfig:
        preset, columns = SHAPES[name]
        return EncoderConfig.preset(preset, **{"vocab_size": tokenizer.vocab_size, **SMALL, **columns, **changes})

    return make


@pytest.fixture
def save_pretraining(tokenizer: Tokenizer, tmp_path: Path) -> Callable[..., Path]:
    """Save an encoder with the heads of its pretraining, and return the folder."""

    def save(config: EncoderConfig, *, std: float = 0.3) -> Path:
        torch.manual_seed(7)
        module = PretrainingModel(config, pair=config.add_pooler)
        _randomize(module, std)
        own = tokenizer if config.vocab_size == tokenizer.vocab_size else None
        save_encoder(module, own, tmp_path / "pretraining", format="albertine")
        return tmp_path / "pretraining"

    return save


@pytest.fixture
def save_task(tokenizer: Tokenizer, tmp_path: Path) -> Callable[..., tuple[Model, Path]]:
    """Save the model of a task, and return it with its folder."""

    def save(config: EncoderConfig, task_config: TaskConfig, *, std: float = 0.5) -> tuple[Model, Path]:
        torch.manual_seed(11)
        task = registry.tasks.get(task_config.task)
        module = task.build(config, task_config)  # type: ignore[attr-defined]
        _randomize(module, std)
        model = Model(
            module,
            config=config,
            tokenizer=tokenizer,
            task=task,  # type: ignore[arg-type]
            task_config=task_config,
            precision="fp32",
            manifest={"schema_version": 1, "seed": 11},
            card="# A card\n",
        )
        model.save(tmp_path / "model")
        return model, tmp_path / "model"

    return save


def _randomize(module: torch.nn.Module, std: float) -> None:
    """Give every parameter a random value, norms and biases too, so that one that is left out shows."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            # the parameters of a chain are hundredths of its scores
            share = 0.02 if name.startswith("crf.") else 1.0
            parameter.normal_(mean=1.0 if name.endswith("layer_norm.weight") else 0.0, std=share * std)
