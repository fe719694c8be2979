"""Word embeddings that begin with what stands near each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from albertine.batching.shards import Shards
from albertine.errors import ConfigError
from albertine.training.pretraining.choices import PretrainingConfig
from albertine.training.pretraining.initial_words import begin_with_neighbours
from albertine.training.pretraining.run import PretrainingOutcome

Pretrain = Callable[..., PretrainingOutcome]


def begun(corpus: Path, width: int, deviation: float = 0.02) -> tuple[torch.Tensor, Shards]:
    shards = Shards(corpus, "train")
    counts = np.bincount(shards.tokens(0, shards.num_tokens), minlength=shards.vocab_size)
    counts[: shards.tokenizer().mask_id + 1] = 0
    table = torch.full((shards.vocab_size, width), 7.0)
    begin_with_neighbours(table, shards, counts, deviation=deviation, seed=3)
    return table, shards


def test_tokens_that_stand_in_the_same_places_get_like_vectors(corpus: Path) -> None:
    table, shards = begun(corpus, 9)
    tokenizer = shards.tokenizer()

    def alike(one: str, other: str) -> float:
        pair = table[[tokenizer.token_to_id(one), tokenizer.token_to_id(other)]]
        return float(cosine_similarity(pair[0], pair[1], dim=0))

    assert alike("farmer", "fields") > alike("farmer", "nets") + 0.3
    assert alike("gladly", "wheat") > alike("gladly", "shells") + 0.3
    assert alike("sailor", "boats") > alike("sailor", "sheep") + 0.3


def test_the_numbers_have_the_deviation_asked_for_and_what_nothing_is_known_of_stays(corpus: Path) -> None:
    table, shards = begun(corpus, 300, deviation=0.05)
    seen = torch.zeros(shards.vocab_size, dtype=torch.bool)
    seen[torch.from_numpy(shards.tokens(0, shards.num_tokens))] = True
    special = shards.tokenizer().mask_id + 1
    assert (table[:special] == 7).all()
    assert (table[~seen] == 7).all()
    seen[:special] = False
    written = table[seen][:, (table[seen] != 7).any(dim=0)]
    assert 10 < written.shape[1] < shards.vocab_size
    assert float(written.std()) == pytest.approx(0.05, rel=1e-3)
    assert (table[:, shards.vocab_size :] == 7).all()  # more numbers a token than there are tokens


def test_the_same_corpus_and_seed_give_the_same_table(corpus: Path) -> None:
    assert torch.equal(begun(corpus, 11)[0], begun(corpus, 11)[0])


def test_a_preset_begins_so_unless_it_is_told_not_to_and_a_checkpoint_does_not(
    pretrain: Pretrain, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="albertine")
    one = pretrain(tmp_path / "a", encoder="preset:bert-tiny", training={"max_steps": 1})
    assert "begin with what stands near each other" in caplog.text
    caplog.clear()
    pretrain(tmp_path / "b", encoder="preset:bert-tiny", initial_words="random", training={"max_steps": 1})
    pretrain(tmp_path / "c", training={"max_steps": 1})
    assert "begin with what stands near each other" not in caplog.text
    manifest = json.loads((one.folder / "manifest.json").read_text(encoding="utf-8"))
    assert "co-occurrence" in json.dumps(manifest)


def test_another_way_to_begin_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"initial_words.*co-occurrence"):
        PretrainingConfig(initial_words="zeros")  # type: ignore[arg-type]
