"""Every kind of answer and of failure, as the page shows it; the server's answers are given in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from albertine.serving.schemas import EncodeResponse, PredictResponse, SearchResponse
from albertine.serving.state_schemas import ErrorDetail, ErrorResponse, ModelDetail, ModelList, ModelSummary

pytestmark = pytest.mark.long

Tab = Any
"""`conftest.Tab`, which test modules cannot import."""

CARD = """---
library_name: albertine
---

# Card of a model

| | |
|---|---|
| kind | bert \\| tiny |

#### Skipped levels

Some **bold** text, `code`, <img src=x onerror="window.hit=1"> and [a link](https://example.org/page), but
[no script](javascript:window.hit=1).

* one
* two

```
plain
```
"""


def described(name: str, task: str, *, input: str = "text", **changes: object) -> ModelDetail:
    values: dict[str, Any] = {
        "id": name,
        "created": 1,
        "task": task,
        "input": input,
        "capabilities": ["predict"],
        "state": "ready",
        "labels": ["bad", "good"],
        "max_length": 128,
        "precision": "fp32",
        "parameters_unique": 3_400_000,
        "parameters_executed": 9_900_000,
        "bytes": 13_600_000,
        "kind": "bert",
        "config": {},
        "max_characters": 1000,
        "card": CARD,
        "generation": 1,
    }
    return ModelDetail(**{**values, **changes})


def body(model: Any) -> object:
    return model.model_dump(mode="json", exclude_none=True)


def pretend(tab: Tab, server: str, *models: ModelDetail, **answers: Mapping[str, object]) -> None:
    """Open the page on models that answer with these predictions."""
    summaries = [ModelSummary(**{name: getattr(one, name) for name in ModelSummary.model_fields}) for one in models]
    routes: dict[str, tuple[int, dict[str, str], object]] = {"models": (200, {}, body(ModelList(data=summaries)))}
    for one in models:
        routes[f"models/{one.id}"] = (200, {}, body(one))
    for name, prediction in answers.items():
        (task,) = [one.task for one in models if one.id == name]
        response = PredictResponse.model_validate(
            {"model": name, "task": task, "predictions": [prediction], "usage": {"texts": 1, "tokens": 7}}
        )
        routes[f"models/{name}/predict"] = (200, {}, body(response))
    tab.answer(routes)
    tab.open(server)


def span(start: int, end: int, label: str, text: str, score: float = 0.9) -> dict[str, object]:
    return {"start": start, "end": end, "label": label, "score": score, "text": text}


def fail(tab: Tab, path: str, status: int, kind: str, **parts: object) -> None:
    detail = ErrorDetail.model_validate({"type": kind, "message": "…", "what": "something is wrong", **parts})
    headers = {"Retry-After": str(parts["retry_after"])} if "retry_after" in parts else {}
    tab.routes[path] = (status, headers, body(ErrorResponse(error=detail)))


# --- answers


def test_labels_are_bars_with_numbers_the_best_one_first(tab: Tab, server: str) -> None:
    shares = {"good": 0.2, "bad": 0.05, "so-so": 0.75}
    prediction = {"label": "so-so", "score": 0.75, "scores": shares}
    pretend(tab, server, described("m", "text-classification"), m=prediction)
    tab.ask("fine")
    assert tab.text(".said") == "so-so"
    assert "75.0% sure" in tab.text(".answer")
    assert tab.texts(".scores tbody th") == ["so-so", "good", "bad"]
    assert tab.texts(".scores td:last-child") == ["75.0%", "20.0%", "5.0%"]
    assert tab.js("[...document.querySelectorAll('.bar i')].map(one => one.style.width)") == ["75%", "20%", "5%"]
    assert "so-so, 75.0% sure" in tab.js("document.querySelector('#status').textContent")
    assert "Tokens: 7" in tab.text(".answer")
    assert tab.js(r"/[\d.]+ ms/.test(document.querySelector('.answer').innerText)")


def test_many_labels_are_cut_and_shown_when_asked_for(tab: Tab, server: str) -> None:
    shares = {f"label-{place:02}": 2.0 ** -(place + 1) for place in range(14)}
    pretend(tab, server, described("m", "text-classification"), m={"label": "label-00", "scores": shares})
    tab.ask("fine")
    shown = "[...document.querySelectorAll('.scores tbody tr')].filter(one => one.checkVisibility()).length"
    assert tab.js(shown) == 10
    assert tab.text(".answer summary") == "4 more"
    tab.click(".answer summary")
    assert tab.js(shown) == 14


def test_silence_is_said_and_the_guess_is_not_the_headline(tab: Tab, server: str) -> None:
    prediction = {"label": "good", "score": 0.41, "scores": {"good": 0.41, "bad": 0.59}, "abstained": True}
    pretend(tab, server, described("m", "text-classification"), m=prediction)
    tab.ask("hm")
    assert "keeps silent" in tab.text(".silent")
    assert "Its best guess: good" in tab.text(".answer")
    assert tab.texts(".said") == []
    assert "no answer (unsure), 41.0% sure" in tab.js("document.querySelector('#status').textContent")


def test_any_number_of_labels(tab: Tab, server: str) -> None:
    prediction = {"labels": ["a", "c"], "scores": {"a": 0.9, "b": 0.1, "c": 0.6}}
    pretend(tab, server, described("m", "text-classification"), m=prediction)
    tab.ask("hm")
    assert tab.text(".said") == "a, c"
    assert [one.replace("\n", "").split()[:2] for one in tab.texts(".scores th[scope=row]")] == [
        ["a", "✓"],
        ["c", "✓"],
        ["b"],
    ]
    tab.routes["models/m/predict"][2]["predictions"][0]["labels"] = []
    tab.ask("hm")
    assert tab.text(".said") == "No label applies"


def test_numbers_of_pairs(tab: Tab, server: str) -> None:
    pretend(tab, server, described("m", "sentence-similarity", input="pair", labels=[]), m={"value": 0.8124})
    tab.write("#second", "another")
    tab.ask("one")
    assert tab.text(".said") == "0.812"


def test_spans_are_marked_by_code_points_beside_and_across_each_other(tab: Tab, server: str) -> None:
    text = "😀𠮷 Anna Berg,Oslo"
    spans = [
        span(1, 2, "rare", "𠮷"),
        span(3, 12, "person", "Anna Berg"),
        span(8, 17, "both", "Berg,Oslo"),
        span(13, 17, "place", "Oslo"),
    ]
    pretend(tab, server, described("m", "token-classification"), m={"spans": spans})
    tab.ask(text)
    assert tab.texts(".text mark") == ["𠮷", "Anna ", "Berg", ",", "Oslo"]
    marks = "[...document.querySelectorAll('.text mark')]"
    depth = f"{marks}.map(one => one.querySelectorAll('span').length)"
    assert tab.js(depth) == [1, 1, 2, 1, 2]
    assert tab.texts(".text .tag") == ["rare", "person", "both", "place"]
    lines = f"{marks}.map(one => [...one.querySelectorAll('span')].map(each => each.style.textUnderlineOffset))"
    assert all(len(set(one)) == len(one) for one in tab.js(lines))
    styles = f"new Set({marks}.flatMap(one => [...one.querySelectorAll('span')]).map(each => `${{each.className}} " + (
        "${each.style.textDecorationStyle}`)).size"
    )
    assert tab.js(styles) == 4
    assert tab.texts(".spans tbody tr") == [
        "rare\t𠮷\t1–2\t90.0%",
        "person\tAnna Berg\t3–12\t90.0%",
        "both\tBerg,Oslo\t8–17\t90.0%",
        "place\tOslo\t13–17\t90.0%",
    ]


def test_an_intent_and_its_slots(tab: Tab, server: str) -> None:
    prediction = {"label": "weather", "score": 0.9, "spans": [span(16, 20, "town", "Oslo")]}
    pretend(tab, server, described("m", "intent-slots"), m=prediction)
    tab.ask("will it rain in Oslo")
    assert tab.text(".said") == "weather"
    assert tab.texts(".text mark") == ["Oslo"]


def test_opinions_and_what_is_implied(tab: Tab, server: str) -> None:
    said = [
        {
            "aspect": span(4, 10, "aspect", "screen"),
            "expression": span(14, 22, "opinion", "gorgeous"),
            "polarity": "positive",
            "score": 0.8,
        },
        {"expression": span(14, 22, "opinion", "gorgeous"), "polarity": "odd", "category": "look", "score": 0.3},
    ]
    pretend(tab, server, described("m", "aspect-opinions"), m={"opinions": said, "abstained": True})
    tab.ask("the screen is gorgeous")
    assert tab.texts(".text mark") == ["screen", "gorgeous"]
    assert tab.texts(".opinions tbody tr") == [
        "screen\tgorgeous\t\tpositive\t80.0%",
        "implied\tgorgeous\tlook\todd\t30.0%",
    ]
    assert "left out" in tab.text(".silent")


def test_an_answer_is_marked_in_its_context_and_no_answer_is_said(tab: Tab, server: str) -> None:
    spans = [span(2, 7, "answer", "Paris", 0.8), span(2, 11, "answer", "Paris, on", 0.1)]
    model = described("m", "question-answering", input="question", labels=[])
    pretend(tab, server, model, m={"output": "Paris", "score": 0.8, "spans": spans})
    tab.write("#second", "🗼 Paris, on the river")
    tab.ask("where?")
    assert tab.text(".said") == "Paris"
    assert tab.texts(".text mark") == ["Paris"]
    assert tab.texts(".spans tbody td:first-of-type") == ["Paris", "Paris, on"]
    tab.routes["models/m/predict"][2]["predictions"] = [{"output": "", "score": 0.7}]
    tab.ask("why?")
    assert tab.text(".said") == "No answer stands in this text"


def test_a_written_text_and_a_cut_one(tab: Tab, server: str) -> None:
    pretend(tab, server, described("m", "seq2seq", labels=[]), m={"output": "le bateau <b>", "truncated": True})
    tab.ask("the boat")
    assert tab.text(".said") == "le bateau <b>"
    assert "was cut off" in tab.text(".answer")


def test_hits_of_an_index_and_vectors_of_an_encoder(tab: Tab, server: str) -> None:
    model = described("m", "encoder", capabilities=["encode", "search", "rerank"], labels=[], documents=2)
    pretend(tab, server, model)
    usage = {"texts": 1, "tokens": 3}
    hits = [{"place": 1, "text": "close on holidays", "score": 0.83, "file": "a.txt", "line": 3}]
    hits.append({"place": 0, "text": "something else", "score": -0.2})
    found = SearchResponse.model_validate({"model": "m", "hits": [hits], "usage": usage})
    made = EncodeResponse(model="m", width=2, vectors=[[1.0, 0.0], [0.6, 0.8]], usage=found.usage)
    tab.routes |= {"models/m/search": (200, {}, body(found)), "models/m/encode": (200, {}, body(made))}
    tab.ask("holidays")
    assert tab.texts(".hits .passage") == ["close on holidays", "something else"]
    assert tab.texts(".hits .soft") == ["0.830 · a.txt:3", "-0.200 · #1"]
    tab.choose("#mode", "encode")
    tab.write("#second", "another")
    tab.ask("one")
    assert tab.text(".said") == "0.600"


# --- two models


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"label": "good", "score": 0.9}, {"label": "good", "score": 0.6}, "the same answer"),
        ({"label": "good", "score": 0.9}, {"label": "bad", "score": 0.6}, "disagree: good against bad"),
        ({"label": "good"}, {"label": "good", "abstained": True}, "disagree: good against no answer (unsure)"),
        ({"labels": ["a", "b"]}, {"labels": ["b", "a"]}, "the same answer"),
        ({"value": 0.5}, {"value": 0.25}, "differ by 0.250"),
        ({"spans": [span(0, 1, "x", "a")]}, {"spans": [span(1, 2, "x", "b")]}, "disagree"),
    ],
)
def test_two_answers_are_held_against_each_other(
    tab: Tab, server: str, first: dict[str, object], second: dict[str, object], said: str
) -> None:
    models = [described(name, "text-classification") for name in ("one", "two")]
    pretend(tab, server, *models, described("else", "seq2seq"), one=first, two=second)
    assert tab.texts("#other option") == ["No other model", "two — text classification"]
    tab.choose("#other", "two")
    tab.ask("ab")
    assert said in tab.text(".verdict")
    assert tab.js("document.querySelector('.verdict.apart') !== null") == ("same" not in said)
    assert tab.texts(".answer h3") == ["one", "two"]
    assert len(tab.texts(".only")) == (2 if "spans" in first else 0)


def test_one_model_that_fails_leaves_the_other_one_s_answer(tab: Tab, server: str) -> None:
    models = [described(name, "text-classification") for name in ("one", "two")]
    pretend(tab, server, *models, two={"label": "good"})
    fail(tab, "models/one/predict", 500, "internal")
    tab.choose("#other", "two")
    tab.ask("ab")
    assert "Something failed on the server" in tab.texts(".answer")[0]
    assert "good" in tab.texts(".answer")[1]
    assert tab.texts(".verdict") == []


# --- failures


def test_every_part_of_a_message_is_shown(tab: Tab, server: str) -> None:
    pretend(tab, server, described("m", "text-classification"))
    parts = {"where": "inputs", "received": "300 <b>", "allowed": "200 or fewer", "next_step": "Cut it"}
    fail(tab, "models/m/predict", 413, "too_large", request_id="r-1", **parts)
    tab.ask("long")
    shown = tab.text(".error")
    for part in ("too long for this server", "omething is wrong", "Cut it", "r-1", *list(parts.values())[:3]):
        assert part in shown
    assert "too long" in tab.js("document.querySelector('#alert').textContent")


def test_a_pause_is_counted_down_and_then_it_can_be_tried_again(tab: Tab, server: str) -> None:
    pretend(tab, server, described("m", "text-classification"), m={"label": "good"})
    answer = tab.routes["models/m/predict"]
    fail(tab, "models/m/predict", 503, "overloaded", retry_after=2)
    tab.ask("now")
    assert "try again in 2 s" in tab.text(".error button")
    before = len(tab.requests)
    tab.js("document.querySelector('.error button').click()")  # a person's click would wait until it may be clicked
    assert len(tab.requests) == before
    tab.wait("document.querySelector('.error button').innerText === 'Try again'")
    assert "now" in tab.js("document.querySelector('#status').textContent")
    tab.routes["models/m/predict"] = answer
    tab.click(".error button")
    tab.wait("document.querySelector('.said')?.innerText === 'good'")


def test_no_server_and_an_answer_that_is_none(tab: Tab, server: str) -> None:
    pretend(tab, server, described("m", "text-classification"))
    tab.routes["models/m/predict"] = (0, {}, None)
    tab.ask("hm")
    assert "cannot be reached" in tab.text(".error")
    tab.routes["models/m/predict"] = (502, {}, b"<h1>Bad gateway</h1>")
    tab.ask("hm")
    assert "cannot be read" in tab.text(".error")
    assert "502" in tab.text(".error")


def test_a_server_without_models_and_one_that_comes_back(tab: Tab, server: str) -> None:
    pretend(tab, server)
    assert "No model is served" in tab.text("#trouble")
    tab.routes["models"] = (0, {}, None)
    tab.open(server)
    assert "cannot be reached" in tab.text("#trouble")
    model = described("m", "text-classification")
    summary = {name: getattr(model, name) for name in ModelSummary.model_fields}
    tab.routes |= {
        "models": (200, {}, body(ModelList(data=[ModelSummary(**summary)]))),
        "models/m": (200, {}, body(model)),
    }
    tab.js("document.querySelector('#trouble button').focus()")
    tab.press("Enter")
    tab.wait("!document.querySelector('#form').hidden")
    assert tab.text("#trouble") == ""
    assert tab.focused() == "model"


def test_a_model_that_is_loading_can_be_chosen_once_it_is_ready(tab: Tab, server: str) -> None:
    pretend(tab, server, described("m", "text-classification"), described("late", "", capabilities=[], state="loading"))
    assert tab.texts("#model option:disabled") == ["late — loading"]
    for one in tab.routes["models"][2]["data"]:
        one |= {"task": "text-classification", "capabilities": ["predict"], "state": "ready"}
    tab.routes["models/late"] = tab.routes["models/m"]
    tab.wait("document.querySelector('#model option:disabled') === null")
    tab.wait("!document.querySelector('#other-field').hidden")


def test_a_running_request_is_stopped(tab: Tab, server: str) -> None:
    pretend(tab, server, described("m", "text-classification"), m={"label": "good"})
    answer = tab.routes["models/m/predict"]
    for stop in ("Escape", "Enter"):
        tab.routes["models/m/predict"] = (-1, {}, None)
        tab.write("#first", "hm")
        tab.press("Enter", "Control")
        tab.wait("!document.querySelector('#stop').hidden")
        assert tab.text("#run") == "Working…"
        if stop == "Enter":
            tab.js("document.querySelector('#stop').focus()")
        tab.press(stop)
        tab.wait("document.querySelector('#stop').hidden")
        assert "Stopped." in tab.text("#results")
        assert tab.js("document.querySelector('#status').textContent") == "Stopped."
        assert tab.focused() == ("first" if stop == "Escape" else "run")
    tab.routes["models/m/predict"] = answer
    tab.ask("hm")
    assert tab.text(".said") == "good"


# --- the card


def test_a_card_is_shown_as_text_and_never_as_markup(tab: Tab, server: str) -> None:
    pretend(tab, server, described("m", "text-classification"))
    tab.wait("document.querySelector('#cards summary') !== null")
    tab.click("#cards summary")
    tab.wait("document.querySelector('.prose h4') !== null")
    assert tab.text(".prose h4") == "Card of a model"
    assert tab.text(".prose h5") == "Skipped levels"
    assert tab.texts(".prose td") == ["bert | tiny"]
    assert tab.texts(".prose li") == ["one", "two"]
    assert tab.texts(".prose strong") == ["bold"]
    assert tab.texts(".prose code") == ["code", "plain"]
    assert "<img src=x" in tab.text(".prose")
    assert tab.js("document.querySelectorAll('.prose img').length") == 0
    assert tab.js("[...document.querySelectorAll('.prose a')].map(one => one.href)") == ["https://example.org/page"]
    assert tab.js("window.hit") is None
    assert "3,400,000" in tab.text("#cards")
    assert tab.texts(".labels li") == ["bad", "good"]
