from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from albertine.catalogue import Catalogue, catalogue
from albertine.checkpoints.huggingface import config_to_json
from albertine.comparison.candidates import DEFAULT_ENCODERS, Contestant
from albertine.comparison.candidates import contestants as look_up
from albertine.errors import CheckpointError, ConfigError
from albertine.models.config import EncoderConfig, count_parameters, flops_per_token

ENGLISH = catalogue("en")

BASELINES = ("bag-of-words", "word-vectors", "bilstm")


def contestants(
    encoders: Sequence[str | Path] | None,
    baselines: Sequence[str] | None,
    texts: Catalogue,
    possible: Sequence[str] = BASELINES,
) -> tuple[Contestant, ...]:
    return look_up(encoders, baselines, texts, possible=possible)


def encoder_folder(place: Path, name: str) -> Path:
    folder = place / name
    folder.mkdir(parents=True)
    config = EncoderConfig.preset("albert-base", num_hidden_layers=3)
    (folder / "config.json").write_text(json.dumps(config_to_json(config)), encoding="utf-8")
    return folder


def test_without_names_the_default_pair_and_all_baselines_take_part() -> None:
    found = contestants(None, None, ENGLISH)
    assert [one.source for one in found] == [*DEFAULT_ENCODERS, *BASELINES]
    assert [one.info.kind for one in found] == ["bert", "albert", *BASELINES]
    assert [one.learns_vocabulary for one in found] == [True, True, False, True, True]


def test_the_default_pair_differs_in_sharing_and_not_in_width() -> None:
    bert, albert = (EncoderConfig.preset(name.removeprefix("preset:")) for name in DEFAULT_ENCODERS)
    assert (bert.hidden_size, bert.num_hidden_layers) == (albert.hidden_size, albert.num_hidden_layers)
    assert count_parameters(albert).unique < count_parameters(bert).unique
    same = ("num_attention_heads", "intermediate_size", "vocab_size", "max_position_embeddings", "hidden_act")
    assert all(getattr(bert, field) == getattr(albert, field) for field in same)
    assert 0.9 < flops_per_token(albert, 64) / flops_per_token(bert, 64) < 1.1


def test_an_empty_list_means_none() -> None:
    assert [one.source for one in contestants([], ["bilstm"], ENGLISH)] == ["bilstm"]


def test_a_folder_is_described_by_its_configuration(tmp_path: Path) -> None:
    [one] = contestants([encoder_folder(tmp_path, "my encoder")], [], ENGLISH)
    assert one.info.name == "my encoder"
    assert one.file_name == "my-encoder"
    assert one.info.kind == "albert"
    assert "3 layers" in one.info.description
    assert not one.learns_vocabulary


def test_descriptions_are_in_the_reports_language() -> None:
    [english] = contestants(["preset:bert-tiny"], [], ENGLISH)
    [chinese] = contestants(["preset:bert-tiny"], [], catalogue("zh"))
    assert "random weights" in english.info.description
    assert "随机权重" in chinese.info.description


def test_candidates_of_one_name_are_told_apart(tmp_path: Path) -> None:
    first, second = (encoder_folder(tmp_path / place, "bert-tiny") for place in ("a", "b"))
    found = contestants([first, second, "preset:bert-tiny"], [], ENGLISH)
    assert [one.info.name for one in found] == ["a/bert-tiny", "b/bert-tiny", "preset:bert-tiny"]
    assert len({one.file_name for one in found}) == 3


def test_a_folder_without_a_readable_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="no weights in this folder"):
        contestants([tmp_path / "empty"], [], ENGLISH)
    (tmp_path / "empty" / "config.json").write_text('{"model_type":', encoding="utf-8")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        contestants([tmp_path / "empty"], [], ENGLISH)


def test_a_baseline_that_cannot_do_the_task_is_refused_and_not_taken_by_itself() -> None:
    assert [one.source for one in contestants([], None, ENGLISH, possible=["bilstm"])] == ["bilstm"]
    with pytest.raises(ConfigError, match="cannot do the task"):
        contestants([], ["bag-of-words"], ENGLISH, possible=["bilstm"])
