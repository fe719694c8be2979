"""The replaced-tokens objective: a generator is trained beside the encoder and thrown away."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import albertine as al
from albertine.models.config import count_parameters
from albertine.training.pretraining.run import PretrainingOutcome

Pretrain = Callable[..., PretrainingOutcome]


@pytest.mark.parametrize("preset", ["bert-tiny", "albert-base"])
def test_the_encoder_learns_and_the_generator_is_not_kept(
    pretrain: Pretrain, make_encoder: Callable[..., Path], tmp_path: Path, preset: str
) -> None:
    start = make_encoder(preset, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    outcome = pretrain(
        tmp_path / "out", encoder=start, objective="replaced-tokens", pair="none", training={"max_steps": 100}
    )
    measured = outcome.measurements
    assert measured.main_metric == "replaced_auc"
    assert measured.dev_metrics["replaced_auc"] > 0.6
    best = max(point.dev_metric for point in outcome.curve if point.dev_metric is not None)
    assert measured.dev_metrics["replaced_auc"] == pytest.approx(best)
    assert set(outcome.curve[0].parts) == {"masked_words", "replaced_tokens"}
    encoder, tokenizer = al.load_encoder(outcome.folder)
    assert tokenizer is not None
    before, _ = al.load_encoder(start)
    assert encoder.config == before.config
    tensors = load_file(outcome.folder / "model.safetensors")
    assert not [name for name in tensors if "generator" in name]
    manifest = json.loads((outcome.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["parameters"]["unique"] == count_parameters(encoder.config).unique
    kept = {name for name, one in encoder.state_dict().items() if torch.equal(one, before.state_dict()[name])}
    assert kept == {name for name in encoder.state_dict() if name.startswith("pooler")}


def test_a_masked_word_head_that_is_not_kept_is_said(
    pretrain: Pretrain, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(logging.getLogger("albertine"), "propagate", True)
    caplog.set_level(logging.INFO, "albertine")
    outcome = pretrain(tmp_path / "out", objective="replaced-tokens", training={"max_steps": 1})
    assert "the checkpoint's masked_word_head is not kept: this objective has none" in caplog.messages
    model, _ = al.load_pretraining(outcome.folder)
    assert model.masked_word_head is None
    assert model.pair_head is not None


def test_what_was_learnt_serves_the_next_run(pretrain: Pretrain, tmp_path: Path) -> None:
    first = pretrain(tmp_path / "first", objective="replaced-tokens", training={"max_steps": 60})
    gentle = {"max_steps": 1, "learning_rate": 1e-6}
    again = pretrain(tmp_path / "again", encoder=first.folder, training=gentle)
    model, _ = al.load_pretraining(again.folder)
    assert model.masked_word_head is not None
    assert model.pair_head is not None
    before, after = al.load_encoder(first.folder)[0], al.load_encoder(again.folder)[0]
    torch.testing.assert_close(after.state_dict(), before.state_dict(), atol=1e-4, rtol=0)


def test_an_evaluation_says_how_well_both_are_told(pretrain: Pretrain, tmp_path: Path) -> None:
    measured = pretrain(tmp_path / "out", objective="replaced-tokens").measurements.dev_metrics
    assert {"replaced_auc", "replaced_accuracy", "masked_word_loss", "pair_accuracy"} <= measured.keys()
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "replaced_auc *" in card
    assert "replaced-tokens, nsp" in card
