"""Which encoder is taken where none is named."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import albertine as al
from albertine import shipped
from albertine.checkpoints.writing import save_encoder
from albertine.comparison import compare as comparing
from albertine.comparison.plan import Plan
from albertine.errors import ConfigError
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.records import Example
from albertine.tokenization.tokenizer import load_tokenizer
from albertine.training.default_encoder import default_encoder, default_encoders

CHINESE = ["很好吃，服务也好", "太慢了，不会再来", "房间很小 wifi 也慢", "味道不错", "Nike 鞋子质量很好"]
ENGLISH = ["the soup was hot and the bread was fresh", "cold soup, and it was late", "I would not go there again"]
GERMAN = ["das Essen war sehr gut und der Kellner freundlich", "es war nicht schön, aber die Lage ist gut"]

Ship = Callable[..., None]


@pytest.fixture
def ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ship:
    """Adds encoders to a package's folder that has none."""
    place = tmp_path / "shipped"
    monkeypatch.setattr(shipped, "ENCODERS", place)
    (tmp_path / "words").mkdir()
    signs = [*"好吃太慢了很", *"abcdefghijklmnopqrstuvwxyz"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *signs, *(f"##{sign}" for sign in signs)]
    (tmp_path / "words" / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")

    def add(name: str, languages: list[str], default: int | None) -> None:
        torch.manual_seed(3)
        config = EncoderConfig.preset(
            "albert-base", vocab_size=len(words), hidden_size=16, embedding_size=9, num_hidden_layers=1,
            num_attention_heads=2, intermediate_size=11, max_position_embeddings=33,
        )  # fmt: skip
        save_encoder(Encoder(config), load_tokenizer(tmp_path / "words"), place / name, format="albertine")
        manifest = {"shipped": {"languages": languages, "default": default}}
        (place / name / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")

    return add


@pytest.fixture
def both(ship: Ship) -> None:
    ship("a-large-one", ["zh"], None)
    ship("bert-zh", ["zh"], 1)
    ship("albert-zh", ["zh"], 2)
    ship("albert-en", ["en"], 1)
    ship("of-two", ["en", "zh"], 3)


def examples(texts: list[str]) -> list[Example]:
    return [Example(text=text) for text in texts]


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (CHINESE, ("bert-zh", "albert-zh", "of-two")),
        (ENGLISH, ("albert-en", "of-two")),
        (CHINESE * 300 + ENGLISH, ("bert-zh", "albert-zh", "of-two")),
        (GERMAN, ()),
        (["12", "??"], ()),
        ([], ()),
    ],
)
def test_the_language_of_the_data_decides_and_is_said(
    both: None, texts: list[str], names: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert default_encoders(examples(texts)) == names
    if names:
        assert f"taken: {', '.join(names)}" in caplog.text
        assert ("Chinese" in caplog.text) == (names[0] == "bert-zh")
        assert default_encoder(examples(texts)) == names[0]
    else:
        assert not caplog.records
        with pytest.raises(ConfigError, match=r"--encoder: no encoder ships for the language.*preset:NAME"):
            default_encoder(examples(texts))


def test_second_texts_count_as_well(both: None) -> None:
    pairs = [Example(text="what is it", text_pair="房间很小，味道不错，太慢了，不会再来")] * 3
    assert default_encoder(pairs) == "bert-zh"


def test_a_model_is_trained_from_the_encoder_that_ships(
    both: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"text": f"{text}{n}", "label": str(n % 2)} for n in range(12) for text in CHINESE]
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    config = al.TrainingConfig(max_steps=2, precision="fp32")
    with caplog.at_level(logging.INFO):
        model = al.finetune("text-classification", data, out=tmp_path / "out", config=config)
    assert "taken: bert-zh\n" in caplog.text, "and no other"
    assert model.manifest["inputs"]["encoder"]["name"] == "bert-zh"  # type: ignore[index]
    again = al.finetune("text-classification", data, out=tmp_path / "out", config=config)
    assert again.manifest["created"] == model.manifest["created"], "finished already"


def test_without_any_an_encoder_must_be_named_before_the_data_are_read(ship: Ship, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--encoder: no encoder is named, and none ships with this installation"):
        al.finetune("text-classification", tmp_path / "no-data.csv", out=tmp_path / "out")
    ship("by-name-alone", ["zh"], None)
    with pytest.raises(ConfigError, match="none ships with this installation"):
        al.finetune("text-classification", tmp_path / "no-data.csv", out=tmp_path / "out")


class Planned(Exception):
    """Ends a comparison where its candidates are known."""


@pytest.mark.parametrize(
    ("texts", "offered", "names"),
    [
        (CHINESE, True, ["bert-zh", "albert-zh", "of-two"]),
        (GERMAN, True, ["bert-chinese-tiny", "albert-chinese-tiny"]),
        (CHINESE, False, ["bert-chinese-tiny", "albert-chinese-tiny"]),
    ],
)
def test_a_comparison_takes_those_of_the_language_or_two_with_random_weights(
    texts: list[str], offered: bool, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    request.getfixturevalue("both" if offered else "ship")
    rows = [{"text": f"{text}{n}", "label": str(n % 2)} for n in range(12) for text in texts]
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    plans: list[Plan] = []

    def planned(workspace: object, plan: Plan, *_: object, **__: object) -> None:
        plans.append(plan)
        raise Planned

    monkeypatch.setattr(comparing, "set_up", planned)
    with pytest.raises(Planned):
        al.compare(data, baselines=["bag-of-words"], out=tmp_path / "out")
    assert [one.info.name for one in plans[0].contestants] == [*names, "bag-of-words"]
