"""Intent and slots learnt from toy data: by the record's functions, and by the verbs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import albertine as al
from albertine import registry
from albertine.batching.packing import packed
from albertine.inference.engine import Engine
from albertine.models.body import BodyConfig
from albertine.models.config import EncoderConfig
from albertine.models.recurrent import RecurrentConfig
from albertine.records import Example, Span
from albertine.tasks.config import TaskRequest
from albertine.tasks.intent_slots import TASK
from albertine.tokenization.learn import learn_vocabulary
from albertine.training.config import TrainingConfig

TOWNS, ARTISTS = ("oslo", "rome", "new york", "bergen"), ("nina", "miles davis", "otis", "oslo")


def toy(count: int, seed: int) -> list[Example]:
    """The first words say the intent, the word before a name which slot it is: a town may be an artist's name."""
    generator = np.random.default_rng(seed)
    rows = []
    for place in range(count):
        town, artist = TOWNS[generator.integers(4)], ARTISTS[generator.integers(4)]
        start = ("will it rain", "please play something", "good morning you")[place % 3]
        parts = [(" in ", town, "city")] * (place % 3 == 0 or generator.random() < 0.3)
        parts += [(" by ", artist, "artist")] * (place % 3 == 1)
        text, spans = start, []
        for before, name, label in parts:
            text += before
            spans.append(Span(start=len(text), end=len(text) + len(name), label=label, text=name))
            text += name
        rows.append(Example(text=text, label=("weather", "music", "chat")[place % 3], spans=tuple(spans)))
    return rows


TRAIN, TEST = toy(120, 1), toy(45, 2)
TOKENIZER = learn_vocabulary([one.text for one in TRAIN], size=120, lowercase=True)
RECURRENT = RecurrentConfig(
    vocab_size=TOKENIZER.vocab_size, embedding_size=16, hidden_size=16, embedding_dropout_prob=0.0,
    classifier_dropout_prob=0.0, initializer_range=0.3,
)  # fmt: skip
STACK = EncoderConfig.preset(
    "albert-base", vocab_size=TOKENIZER.vocab_size, hidden_size=32, embedding_size=32, num_hidden_layers=2,
    num_attention_heads=2, intermediate_size=64, max_position_embeddings=64, hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0, classifier_dropout_prob=0.0, initializer_range=0.15,
    pad_token_id=TOKENIZER.pad_id,
)  # fmt: skip


@pytest.mark.parametrize(
    ("body", "rate", "steps", "crf", "max_length"),
    [
        (RECURRENT, 2e-2, 60, False, None),
        (RECURRENT, 2e-2, 60, True, None),
        (replace(STACK, add_pooler=False), 3e-3, 150, False, None),
        (STACK, 3e-3, 150, True, None),
        (RECURRENT, 2e-2, 60, False, 6),
    ],
)
def test_a_toy_pattern_is_learnt(body: BodyConfig, rate: float, steps: int, crf: bool, max_length: int | None) -> None:
    request = TaskRequest(tokenizer=TOKENIZER, body=body, max_length=max_length, options={"crf": crf})
    task_config = TASK.prepare(TRAIN, request)
    module = TASK.build(body, task_config).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate)
    encoded = TASK.encode(TOKENIZER, TRAIN, task_config, labelled=True)
    assert max_length is None or len(encoded) > len(TRAIN)
    for step in range(steps):
        batch = packed([one for place in range(step % 5 * 24, step % 5 * 24 + 24) for one in encoded.of_example(place)])
        optimizer.zero_grad()
        torch.stack([part.total / part.weight for part in TASK.loss(module, batch).values()]).sum().backward()
        optimizer.step()
    engine = Engine(module.eval(), TOKENIZER, TASK, task_config)
    answers = engine.answers(TEST).rows
    metrics = TASK.score(answers, TEST, task_config)
    assert metrics["intent_accuracy"] > 0.95
    assert metrics["slot_f1"] > 0.9
    assert metrics["exact"] > 0.85
    assert not TASK.did_not_learn(TASK.evidence(answers, TEST, task_config), task_config)
    for one, prediction in zip(TEST, TASK.decode(answers, TEST, task_config), strict=True):
        assert all(one.text[span.start : span.end] == span.text for span in prediction.spans)


def written(path: Path, rows: Sequence[Example]) -> Path:
    lines = [
        {"text": f"{one.text} {n}", "intent": one.label, "slots": [[s.start, s.end, s.label] for s in one.spans or ()]}
        for n, one in enumerate(rows)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    registry.tasks.add("intent-slots", "albertine.tasks.intent_slots:TASK")
    folder = tmp_path / "data"
    folder.mkdir()
    written(folder / "train.jsonl", TRAIN)
    written(folder / "dev.jsonl", toy(60, 3))
    written(folder / "test.jsonl", [*TEST, Example(text="a day at sea", label="unheard", spans=())])
    return folder


def test_a_model_is_trained_saved_opened_measured_and_asked(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    config = TrainingConfig(epochs=25, batch_size=8)
    trained = al.finetune("intent-slots", data, encoder="bilstm", out=out, config=config, max_error=0.2)
    opened = al.load(out)
    result = al.evaluate(opened, data)
    assert result.main_metric == "exact"
    assert result.examples == 46
    assert result.metrics["unknown_intents"] == pytest.approx(1 / 46)
    assert 0.7 < result.metrics["exact"] <= 45 / 46
    assert "exact" in result.render()
    texts = ["will it rain in oslo", "please play something by oslo"]
    rain, music = opened.predict(texts)
    assert (rain.label, music.label) == ("weather", "music")
    assert [(span.label, span.text) for span in rain.spans] == [("city", "oslo")]
    assert [(span.label, span.text) for span in music.spans] == [("artist", "oslo")]
    assert [one.label for one in trained.predict(texts)] == ["weather", "music"]
    assert opened.scores(texts).shape == (2, 3)
    assert opened.task_config == trained.task_config


def test_baselines_and_encoders_are_compared_by_exact_frames(data: Path, tmp_path: Path) -> None:
    report = al.compare(
        data,
        task="intent-slots",
        encoders=[],
        out=tmp_path / "compare",
        seeds=1,
        config=TrainingConfig(batch_size=8),
        epochs=4,
    )
    assert [one.name for one in report.candidates] == ["bilstm"]
    assert report.main_metric == "exact"
    quality = report.candidates[0].quality
    assert quality is not None
    assert quality.value == pytest.approx(report.candidates[0].metrics["exact"])
