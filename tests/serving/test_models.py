"""What the routes of models answer, held against the models themselves."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from albertine.errors import DataError, UserError
from albertine.inference.loading import load
from albertine.inference.model import Model
from albertine.inference.search import load_index
from albertine.inference.vectors import load_vectors
from albertine.records import Example, Span
from albertine.serving.service import Service

Serving = Callable[..., Service]
Client = Callable[..., TestClient]

TEXTS = [
    "the soup was hot",
    "很好吃",
    "",
    "a very slow waiter " * 11,
    "ada wrote a letter in oslo",
    "\x00\ufeff\u202e😀 good",
]
PAIRS = [("the soup was hot", "the bread was stale"), ("很好吃", "太慢了"), ("", "a"), ("the soup " * 20, "hot")]
QUESTIONS = [("who wrote a letter", "ada wrote a letter in oslo"), ("who", "the soup was hot " * 19), ("", "bread")]


def span(one: Span | None) -> dict[str, object] | None:
    if one is None:
        return None
    return {"start": one.start, "end": one.end, "label": one.label, "score": pytest.approx(one.score), "text": one.text}


def expected(model: Model, examples: list[Example], place: int, *, scores: bool) -> dict[str, object]:
    """Return what the answer to an input has to be, from the model asked directly and by itself."""
    (one,) = model.predict_examples([examples[place]])
    found: dict[str, object] = {}
    if one.label is not None:
        found["label"] = one.label
    if one.labels is not None:
        found["labels"] = list(one.labels)
    if one.value is not None:
        found["value"] = pytest.approx(one.value, abs=1e-5)
    if one.text is not None:
        found["output"] = one.text
    if one.score is not None:
        found["score"] = pytest.approx(one.score, abs=1e-5)
    if scores and one.scores:
        found["scores"] = pytest.approx(dict(one.scores), abs=1e-5)
    if one.opinions is not None:
        found["opinions"] = [
            {
                name: value
                for name, value in {
                    "aspect": span(opinion.aspect),
                    "expression": span(opinion.expression),
                    "polarity": opinion.polarity,
                    "category": opinion.category or None,
                    "score": pytest.approx(opinion.score, abs=1e-5),
                }.items()
                if value is not None
            }
            for opinion in one.opinions
        ]
    if one.spans or not found:
        found["spans"] = [span(piece) for piece in one.spans]
    if one.abstained:
        found["abstained"] = True
    return found


KINDS: dict[str, tuple[str, str]] = {
    "reviews": ("text", "text-classification"),
    "bag": ("text", "text-classification"),
    "several": ("text", "text-classification"),
    "stars": ("text", "text-classification"),
    "entailment": ("pair", "text-classification"),
    "names": ("text", "token-classification"),
    "answers": ("question", "question-answering"),
    "intents": ("text", "intent-slots"),
    "opinions": ("text", "aspect-opinions"),
    "similar": ("pair", "sentence-similarity"),
    "crossed": ("pair", "sentence-similarity"),
    "writer": ("text", "seq2seq"),
}


def inputs(kind: str) -> tuple[list[Any], list[Example]]:
    if kind == "text":
        return [TEXTS[0], *({"text": one} for one in TEXTS[1:])], [Example(text=one) for one in TEXTS]
    rows, names = (PAIRS, ("text_a", "text_b")) if kind == "pair" else (QUESTIONS, ("question", "context"))
    made = [dict(zip(names, row, strict=True)) for row in rows]
    return made, [Example(text=first, text_pair=second) for first, second in rows]


@pytest.mark.parametrize("name", KINDS)
def test_every_task_answers_as_the_model_itself_does(
    name: str, serving: Serving, client: Client, folders: dict[str, Path]
) -> None:
    kind, task = KINDS[name]
    asked, examples = inputs(kind)
    caller = client(serving(name))
    reply = caller.post(f"/v1/models/{name}/predict", json={"inputs": asked, "scores": True})
    assert reply.status_code == 200, reply.text
    document = reply.json()
    assert (document["model"], document["task"]) == (name, task)
    model = load(folders[name], precision="fp32")
    cut = [one.pop("truncated", False) for one in document["predictions"]]
    assert document["predictions"] == [expected(model, examples, place, scores=True) for place in range(len(asked))]
    assert document["usage"]["texts"] == len(asked)
    assert (document["usage"]["tokens"] > 3 * len(asked)) == (name != "bag")
    if name in ("reviews", "entailment", "writer"):  # these read beginnings alone
        assert cut.index(True) == 3
        assert sum(cut) == 1
    detail = caller.get(f"/v1/models/{name}").json()
    assert (detail["task"], detail["input"], detail["state"]) == (task, kind, "ready")
    assert detail["labels"] == list(model.labels)
    assert detail["card"] == f"# {name}\n"
    assert detail.get("value_range") == ([0.0, 1.0] if task == "sentence-similarity" else None)
    assert detail["kind"] == model.body_kind
    assert detail["parameters_unique"] == model.parameters_info.unique
    assert "predict" in detail["capabilities"]
    alone = caller.post(f"/v1/models/{name}/predict", json={"inputs": asked[0]}).json()["predictions"]
    assert alone == [expected(model, examples, 0, scores=False)]


def test_offsets_count_characters_of_the_input(serving: Serving, client: Client) -> None:
    text = "😀 ada wrote 很好吃 in oslo"
    reply = client(serving("names")).post("/v1/models/names/predict", json={"inputs": text}).json()
    for found in reply["predictions"][0]["spans"]:
        assert text[found["start"] : found["end"]] == found["text"]


def test_the_wrong_kind_of_input_is_named_with_its_place(serving: Serving, client: Client) -> None:
    caller = client(serving("reviews", "entailment", "answers"))
    pair, question = {"text_a": "a", "text_b": "b"}, {"question": "a", "context": "b"}
    for name, given, allowed in (
        ("reviews", pair, "a text"),
        ("reviews", question, "a text"),
        ("entailment", "a", "text_a and text_b"),
        ("entailment", question, "text_a and text_b"),
        ("answers", "a", "question and context"),
        ("answers", pair, "question and context"),
    ):
        good = {"reviews": "x", "entailment": pair, "answers": question}[name]
        reply = caller.post(f"/v1/models/{name}/predict", json={"inputs": [good, given]})
        error = reply.json()["error"]
        assert (reply.status_code, error["where"], error["allowed"]) == (422, "inputs[1]", allowed)
        assert error["request_id"] == reply.headers["x-request-id"]


@pytest.mark.parametrize("name", ["encoder", "similar", "documents"])
def test_vectors_are_those_of_encode(name: str, serving: Serving, client: Client, folders: dict[str, Path]) -> None:
    service = serving(indexes=["documents"]) if name == "documents" else serving(name)
    caller = client(service)
    wanted = load_vectors(folders["encoder" if name == "documents" else name]).encode(TEXTS)
    reply = caller.post(f"/v1/models/{name}/encode", json={"texts": TEXTS}).json()
    np.testing.assert_allclose(np.array(reply["vectors"], dtype=np.float32), wanted, atol=1e-5)
    assert reply["width"] == wanted.shape[1]
    assert caller.post(f"/v1/models/{name}/encode", json={"texts": TEXTS[0]}).json()["vectors"] == [
        pytest.approx(wanted[0].tolist(), abs=1e-5)
    ]
    numbers = caller.post("/v1/embeddings", json={"model": name, "input": TEXTS, "user": "me"}).json()
    assert [one["index"] for one in numbers["data"]] == list(range(len(TEXTS)))
    found = np.array([one["embedding"] for one in numbers["data"]], dtype=np.float32)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert numbers["usage"]["prompt_tokens"] == numbers["usage"]["total_tokens"] == reply["usage"]["tokens"]
    packed = caller.post(
        "/v1/embeddings",
        json={"model": name, "input": TEXTS, "encoding_format": "base64", "dimensions": wanted.shape[1]},
    ).json()["data"]
    raw = [np.frombuffer(base64.b64decode(one["embedding"]), dtype="<f4") for one in packed]
    np.testing.assert_array_equal(np.stack(raw), found)
    wrong = caller.post("/v1/embeddings", json={"model": name, "input": "a", "dimensions": 3})
    assert (wrong.status_code, wrong.json()["error"]["where"]) == (422, "dimensions")


def test_search_finds_what_the_index_finds(serving: Serving, client: Client, folders: dict[str, Path]) -> None:
    index = load_index(folders["documents"])
    for service in (serving(indexes=["documents"]), serving("encoder", indexes=["encoder"])):
        (name,) = service.models
        caller = client(service)
        queries = ["hot soup", "太慢"]
        reply = caller.post(f"/v1/models/{name}/search", json={"query": queries, "k": 3}).json()
        wanted = index.search(queries, 3)
        assert [[(hit["place"], hit["text"], hit["score"]) for hit in hits] for hits in reply["hits"]] == [
            [(hit.place, hit.text, pytest.approx(hit.score, abs=1e-5)) for hit in hits] for hits in wanted
        ]
        assert reply["usage"] == {"texts": 2, "tokens": reply["usage"]["tokens"]}
        assert len(caller.post(f"/v1/models/{name}/search", json={"query": "soup"}).json()["hits"]) == 1
        detail = caller.get(f"/v1/models/{name}").json()
        assert (detail["documents"], detail["capabilities"]) == (6, ["encode", "search", "rerank"])
        blank = caller.post(f"/v1/models/{name}/search", json={"query": ["soup", " \n"]})
        assert (blank.status_code, blank.json()["error"]["where"]) == (422, "query[1]")


def test_rerank_orders_by_what_the_model_says(serving: Serving, client: Client, folders: dict[str, Path]) -> None:
    caller = client(serving("crossed", "encoder", "reviews"))
    query, documents = "hot soup", ["the soup was hot", "太慢了", "hot soup", "the soup was hot"]
    crossed = caller.post("/rerank", json={"model": "crossed", "query": query, "documents": documents}).json()
    wanted = [
        one.value for one in load(folders["crossed"], precision="fp32").predict([(query, one) for one in documents])
    ]
    order = sorted(range(4), key=lambda place: (-round(wanted[place] or 0, 5), place))
    assert [one["index"] for one in crossed["results"]] == order
    assert [one["relevance_score"] for one in crossed["results"]] == [
        pytest.approx(wanted[place], abs=1e-5) for place in order
    ]
    body = {"model": "encoder", "query": query, "documents": [*documents[:3], {"text": documents[3]}]}
    cosines = caller.post("/rerank", json={**body, "top_n": 2, "return_documents": True}).json()["results"]
    assert len(cosines) == 2
    assert cosines[0] == {"index": 2, "relevance_score": 1.0, "document": {"text": "hot soup"}}
    unnamed = caller.post("/rerank", json={"query": query, "documents": documents})
    assert unnamed.status_code == 422
    assert unnamed.json()["error"]["allowed"] == "crossed, encoder"
    only = client(serving("encoder")).post("/rerank", json={"query": query, "documents": documents})
    assert only.json()["model"] == "encoder"
    none = client(serving("reviews")).post("/rerank", json={"query": query, "documents": documents})
    assert "no model" in none.json()["error"]["what"]


def test_a_model_says_what_it_cannot_do_and_which_can(serving: Serving, client: Client) -> None:
    caller = client(serving("reviews", "encoder"))
    for name, verb, body, other in (
        ("encoder", "predict", {"inputs": "a"}, "reviews"),
        ("reviews", "encode", {"texts": "a"}, "encoder"),
        ("reviews", "search", {"query": "a"}, None),
    ):
        reply = caller.post(f"/v1/models/{name}/{verb}", json=body)
        error = reply.json()["error"]
        assert (reply.status_code, error["type"], error["received"]) == (422, "unsupported", name)
        assert error.get("next_step") == (f"Ask {other}" if other else None)
    unknown = caller.post("/v1/models/revews/predict", json={"inputs": "a"})
    assert unknown.status_code == 404
    assert unknown.json()["error"]["next_step"] == "Did you mean 'reviews'?"
    assert unknown.json()["error"]["allowed"] == "reviews, encoder"


def test_the_list_of_models_is_openais_and_more(serving: Serving, client: Client) -> None:
    reply = client(serving("reviews", "encoder")).get("/v1/models").json()
    assert reply["object"] == "list"
    assert [(one["id"], one["object"], one["task"]) for one in reply["data"]] == [
        ("reviews", "model", "text-classification"),
        ("encoder", "model", "encoder"),
    ]
    assert all(one["created"] > 1_700_000_000 for one in reply["data"])


class Letters:
    """Explains with the letters of the text."""

    def explain(self, model: Model, example: Example, label: str | None) -> dict[str, object]:
        if example.text == "secret":
            raise DataError("this is not explained")
        return {"label": label, "letters": sorted(set(example.text)), "labels": list(model.labels)}


def test_explain_is_a_hook(serving: Serving, client: Client) -> None:
    reply = client(serving("reviews")).post("/v1/models/reviews/explain", json={"input": "a"})
    assert (reply.status_code, reply.json()["error"]["type"]) == (501, "not_implemented")
    caller = client(serving("reviews", explainers={"letters": Letters()}))
    reply = caller.post("/v1/models/reviews/explain", json={"input": "abba", "label": "good"})
    assert reply.json() == {
        "model": "reviews",
        "explainer": "letters",
        "explanation": {"label": "good", "letters": ["a", "b"], "labels": ["bad", "good", "so-so"]},
    }
    refused = caller.post("/v1/models/reviews/explain", json={"input": "secret"})
    assert (refused.status_code, refused.json()["error"]["where"]) == (422, "input")
    assert "explain" in caller.get("/v1/models/reviews").json()["capabilities"]


def test_a_model_that_gives_no_numbers_fails_that_request_alone(
    serving: Serving, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    service = serving("reviews")
    current = service.models["reviews"].current
    assert current is not None
    assert current.opened.model is not None
    inner = current.opened.model.predictor
    answers = inner.answers

    def broken(items: list[Example]) -> Any:
        found = answers(items)
        rows = [row * np.nan if "nan" in item.text else row for row, item in zip(found.rows, items, strict=True)]
        return replace(found, rows=rows)

    inner.answers = broken  # type: ignore[method-assign, assignment]
    caller = client(service)
    reply = caller.post("/v1/models/reviews/predict", json={"inputs": ["a", "nan"]})
    assert (reply.status_code, reply.json()["error"]["where"]) == (500, "inputs[1]")
    assert "nan" not in reply.text.lower().replace("inputs", "")
    assert caller.post("/v1/models/reviews/predict", json={"inputs": ["a", "b"]}).status_code == 200
    (record,) = [one for one in caplog.records if reply.headers["x-request-id"] in one.message]
    assert record.exc_info is not None
    assert "finite" in str(record.exc_info[1])


def test_a_folder_that_is_no_model_is_refused(serving: Serving, folders: dict[str, Path], tmp_path: Path) -> None:
    folders["empty"] = tmp_path
    try:
        with pytest.raises(UserError):
            serving("empty")
    finally:
        del folders["empty"]


def test_an_elastic_model_says_how_deep_its_answers_are(
    serving: Serving, client: Client, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = load(folders["reviews"], precision="fp32")
    hurried = replace(plain.task_config, elastic=True, exit_at=0.0)
    Model(plain.module, config=plain.config, tokenizer=plain.tokenizer, task=plain.task, task_config=hurried).save(
        tmp_path / "elastic"
    )
    monkeypatch.setitem(folders, "elastic", tmp_path / "elastic")
    body = {"inputs": ["the soup was hot", "很好吃"]}
    for depth, passes in (("auto", 1), (1, 1), (2, 2), (None, None)):
        caller = client(serving("elastic", depth=depth))
        found = caller.post("/v1/models/elastic/predict", json=body).json()["predictions"]
        assert [one.get("depth") for one in found] == [passes, passes]
        assert [one["label"] for one in found] == [
            one.label for one in load(tmp_path / "elastic", precision="fp32", depth=depth).predict(body["inputs"])
        ]
    with pytest.raises(UserError, match="full depth"):
        serving("reviews", depth=1)
