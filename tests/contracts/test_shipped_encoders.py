"""Every encoder that ships keeps to the same rules: small, with a card, a licence and its source, and it opens."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
import torch

import albertine as al
from albertine import registry
from albertine.models.config import preset_names
from albertine.shipped import ENCODERS, shipped_encoders, shipped_names

ROOT = Path(__file__).parents[2]


def test_everything_that_ships_keeps_to_the_rules(ship_encoder: ModuleType) -> None:
    assert ship_encoder.problems(ENCODERS) == []


def test_no_folder_lies_there_that_is_no_encoder() -> None:
    assert {one.name for one in ENCODERS.iterdir() if one.is_dir()} == set(shipped_names())


def test_names_are_nobody_elses_and_say_what_they_are() -> None:
    taken = {*preset_names(), *registry.baselines.names(), "auto", "none"}
    assert not taken & set(shipped_names())
    for one in shipped_encoders():
        assert re.fullmatch(r"(?:bert|albert)-(?:zh|en)-[a-z0-9-]+", one.name)


def test_no_two_of_one_language_have_the_same_place_among_the_defaults() -> None:
    places = [(language, one.default) for one in shipped_encoders() for language in one.languages if one.default]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("name", shipped_names())
def test_it_opens_with_its_vocabulary_and_both_heads_work(name: str) -> None:
    model, tokenizer = al.load_pretraining(name)
    assert tokenizer is not None
    assert tokenizer.vocab_size == model.config.vocab_size
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    (told,) = (one for one in shipped_encoders() if one.name == name)
    assert told.parameters == al.info(name).parameters.unique
    text = (
        "今天天气很好，我们去公园。" if "zh" in told.languages else "The weather is good today and we go to the park."
    )
    batch = tokenizer([text])
    place = batch.input_ids.shape[1] // 2
    hidden = batch.input_ids.clone()
    hidden[0, place] = tokenizer.mask_id
    with torch.inference_mode():
        out = model(hidden, attention_mask=batch.attention_mask, token_type_ids=batch.token_type_ids)
    assert out.prediction_logits is not None
    rank = int((out.prediction_logits[0, place] > out.prediction_logits[0, place, batch.input_ids[0, place]]).sum())
    assert rank < tokenizer.vocab_size / 10, "a common word in its place is not among the unlikely ones"


def test_the_licence_of_the_weights_stands_in_the_notice_and_both_files_in_the_wheel() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for said in ("Apache License, Version 2.0", "Attribution-ShareAlike 4.0", "Wikipedia", "public domain"):
        assert said in notice
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'license-files = ["LICENSE", "NOTICE"]' in project


def test_a_folder_that_breaks_the_rules_would_be_seen(ship_encoder: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "bert-zh-odd").mkdir()
    (tmp_path / "bert-zh-odd" / "README.md").write_text("# A card\n", encoding="utf-8")
    (tmp_path / "bert-zh-odd" / "manifest.json").write_text('{"command": "albertine /home/me/x"}', encoding="utf-8")
    with (tmp_path / "bert-zh-odd" / "model.safetensors").open("wb") as file:
        file.truncate(37_000_000)
    found = "\n".join(ship_encoder.problems(tmp_path))
    for said in ("more than 8,000,000", "more than 36,000,000", "licence", "attribution", "language", "vocabulary",
                 "somebody's machine"):  # fmt: skip
        assert said in found
