"""The examples of docs/tasks.md run as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import albertine as al
from albertine.tokenization.learn import learn_vocabulary

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)

NAMES = ("Anna Berg", "Bo Lind", "Carl Moe", "Dina Ros", "Eva Holm")
TOWNS = ("Oslo", "Bergen", "Molde", "Hamar", "Bodo")
GOOD, BAD = (
    ("warm soup", "kind waiter", "fine film", "soft bed"),
    ("cold soup", "rude waiter", "dull film", "loud room"),
)
ACTS = ("a bird sings", "a lamp burns", "a boat leaves", "a child runs", "a door opens", "a dog barks")


def rows(name: str, header: str, lines: list[str]) -> None:
    Path(name).write_text("\n".join([header, *lines] if header else lines) + "\n", encoding="utf-8")


def data_files() -> list[str]:
    """Write the files that the page speaks of, and return every text in them."""
    generator = np.random.default_rng(3)
    reviews = [
        (f"{part} and {other} number {n}", label)
        for n in range(20)
        for label, parts in (("good", GOOD), ("bad", BAD))
        for part, other in [generator.choice(parts, 2)]
    ]
    rows("reviews.csv", "text,label", [f"{text},{label}" for text, label in reviews])
    rooms = [
        {"text": f"{' and '.join(kinds) or 'nothing wrong'} room {n}", "labels": kinds}
        for n in range(30)
        for kinds in [[kind for place, kind in enumerate(("cold", "loud")) if n >> place & 1]]
    ]
    rows("rooms.jsonl", "", [json.dumps({"text": one["text"], "label": one["labels"]}) for one in rooms])
    wishes = {"music": "play a song", "light": "turn on the lamp", "travel": "take the train"}
    rows("wishes.csv", "text,label", [f"{text} {n},{label}" for n in range(20) for label, text in wishes.items()])
    rows("stars.csv", "text,label", [f"film {n} with {n % 5} stars,{n % 5}" for n in range(40)])
    sentences = [
        (f"{NAMES[n % 5]} lives in {TOWNS[n // 5 % 5]} number {n}.", NAMES[n % 5], TOWNS[n // 5 % 5]) for n in range(40)
    ]
    spans = [
        {
            "text": text,
            "spans": [
                {"start": 0, "end": len(name), "label": "person"},
                {"start": text.index(town), "end": text.index(town) + len(town), "label": "place"},
            ],
        }
        for text, name, town in sentences
    ]
    rows("names.jsonl", "", [json.dumps(one) for one in spans])
    requests = [
        (f"{start} {town}", intent, town)
        for start, intent in (
            ("will it rain in", "weather"),
            ("how do I get to", "way"),
            ("what time is it in", "time"),
        )
        for town in (*TOWNS, "New York", "Rome", "Lima", "Quito", "Cairo")
    ]
    asked = [
        {"text": text, "intent": intent, "slots": [[text.index(town), len(text), "town"]]}
        for text, intent, town in requests
    ]
    rows("requests.jsonl", "", [json.dumps(one) for one in asked])
    meals = [
        {
            "text": f"The {one} was {good} but the {other} was {bad}, table {n}.",
            "opinions": [
                {"aspect": one, "expression": good, "polarity": "positive"},
                {"aspect": other, "expression": bad, "polarity": "negative"},
            ],
        }
        for n in range(8)
        for one, other in (("soup", "waiter"), ("waiter", "room"), ("room", "soup"))
        for good, bad in (("warm", "rude"), ("fine", "dull"))
    ]
    rows("opinions.jsonl", "", [json.dumps(one) for one in meals])
    paragraphs = [
        {
            "context": text,
            "qas": [
                {"id": str(n), "question": f"Who lives in {town}?", "answers": [{"text": name, "answer_start": 0}]}
            ],
        }
        for n, (text, name, town) in enumerate(sentences)
    ]
    articles = [{"title": f"article {place}", "paragraphs": paragraphs[place::10]} for place in range(10)]
    Path("questions.json").write_text(json.dumps({"version": "1.1", "data": articles}), encoding="utf-8")
    pairs = [
        f"{one} {n},{other} {n},{5 if one == other else 1}" for n in range(6) for one in ACTS[:3] for other in ACTS[:3]
    ]
    rows("pairs.csv", "text_a,text_b,score", pairs)
    rows("sentences.tsv", "source\ttarget", [f"{act} {n}\t{act[::-1]} {n}" for n in range(8) for act in ACTS])
    return [
        *(text for text, _ in reviews),
        *(one["text"] for one in (*spans, *asked, *meals)),
        *ACTS,
        *(act[::-1] for act in ACTS),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tasks")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        tokenizer = learn_vocabulary(data_files(), size=400, lowercase=False)
        torch.manual_seed(0)
        config = al.EncoderConfig.preset(
            "bert-tiny", vocab_size=tokenizer.vocab_size, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=64, max_position_embeddings=64, pad_token_id=tokenizer.pad_id,
        )  # fmt: skip
        al.save_encoder(al.Encoder(config), tokenizer, "my-encoder")
    return place


def test_every_example_of_the_page_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), names)  # our own page
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split()[0] in ("good", "bad")
    assert len(BLOCKS) >= 10
    assert (folder / "runs" / "writer" / "task.json").is_file()
