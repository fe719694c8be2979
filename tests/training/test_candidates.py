"""A name stands for a baseline, an architecture or a folder, and each gets its tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from albertine.checkpoints.writing import save_encoder
from albertine.errors import FailureError, TokenizerError
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.records import Example
from albertine.tasks.config import TaskConfig
from albertine.tasks.text_classification import TASK
from albertine.tokenization.learn import learn_vocabulary
from albertine.training.candidates import build_module, find_candidate, prepare_candidate, tokenizer_fingerprint
from albertine.training.gradients import memory_errors

WORDS = ["the quick brown fox", "jumps over a lazy dog", "seven odd boxes of wine"]
EXAMPLES = [Example(text=text, label="a") for text in WORDS]
LABELS = TaskConfig(task=TASK.name, labels=("a", "b"), max_length=13)


def small(vocab_size: int) -> EncoderConfig:
    sizes = {"hidden_size": 12, "embedding_size": 12, "intermediate_size": 13, "max_position_embeddings": 13}
    return EncoderConfig.preset("bert-tiny", vocab_size=vocab_size, **sizes)


def test_a_bare_preset_name_warns_of_random_weights_and_is_the_preset(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="albertine"):
        assert find_candidate("albert-base") == find_candidate("preset:albert-base")
    assert len(caplog.records) == 1
    assert "random" in caplog.text


def test_a_folder_of_a_presets_name_is_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bert-tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_candidate("bert-tiny").folder == Path("bert-tiny")
    assert find_candidate("preset:bert-tiny").preset == "bert-tiny"


def test_random_weights_get_a_vocabulary_learnt_from_the_training_texts_and_keep_the_presets_positions() -> None:
    made = prepare_candidate(
        find_candidate("preset:bert-tiny"), TASK, EXAMPLES, tokenizer=None, vocabulary_size=99, seed=0
    )
    assert isinstance(made.config, EncoderConfig)
    assert made.config.vocab_size == made.tokenizer.vocab_size <= 99
    assert made.config.max_position_embeddings == 512
    assert made.config.pad_token_id == made.tokenizer.pad_id


def test_a_tokenizer_that_is_given_is_used_instead(tmp_path: Path) -> None:
    tokenizer = learn_vocabulary(WORDS, size=77)
    tokenizer.save(tmp_path)
    for given in (tokenizer, tmp_path, str(tmp_path)):
        made = prepare_candidate(find_candidate("bilstm"), TASK, EXAMPLES, tokenizer=given, vocabulary_size=99, seed=0)
        assert tokenizer_fingerprint(made.tokenizer) == tokenizer_fingerprint(tokenizer)


def test_pretrained_weights_reach_the_module_and_the_seed_decides_the_rest(tmp_path: Path) -> None:
    tokenizer = learn_vocabulary(WORDS, size=77)
    encoder = Encoder(small(tokenizer.vocab_size))
    save_encoder(encoder, tokenizer, tmp_path)
    made = prepare_candidate(find_candidate(tmp_path), TASK, EXAMPLES, tokenizer=None, vocabulary_size=99, seed=0)
    modules = [build_module(TASK, LABELS, made, seed=seed) for seed in (3, 3, 4)]
    for name, value in encoder.state_dict().items():
        assert torch.equal(modules[0].state_dict()[f"body.{name}"], value)
    heads = [module.state_dict()["classifier.weight"] for module in modules]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_a_folder_without_a_tokenizer_says_how_to_give_one(tmp_path: Path) -> None:
    save_encoder(Encoder(small(99)), None, tmp_path)
    with pytest.raises(TokenizerError, match="--tokenizer"):
        prepare_candidate(find_candidate(tmp_path), TASK, EXAMPLES, tokenizer=None, vocabulary_size=99, seed=0)


def test_a_tokenizer_that_knows_more_than_the_encoder_is_refused(tmp_path: Path) -> None:
    save_encoder(Encoder(small(13)), None, tmp_path)
    tokenizer = learn_vocabulary(WORDS, size=77)
    with pytest.raises(TokenizerError, match="up to 13"):
        prepare_candidate(find_candidate(tmp_path), TASK, EXAMPLES, tokenizer=tokenizer, vocabulary_size=99, seed=0)


def test_other_weights_under_the_same_name_have_another_fingerprint(tmp_path: Path) -> None:
    prints = []
    for _ in range(2):
        save_encoder(Encoder(small(99)), None, tmp_path)
        prints.append(find_candidate(tmp_path).fingerprint())
    assert prints[0] != prints[1]
    assert str(tmp_path.parent) not in str(prints)


def out_of_memory() -> None:
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")


def another_error() -> None:
    raise RuntimeError("something else")


def test_memory_that_runs_out_is_a_line_that_says_what_helps() -> None:
    with pytest.raises(FailureError, match="--accumulation"), memory_errors():
        out_of_memory()
    with pytest.raises(RuntimeError, match="something else"), memory_errors():
        another_error()
