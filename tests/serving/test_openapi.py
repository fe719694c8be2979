"""The document says what the server does: every status, every body, and no answer that is not described."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any
from unittest import SkipTest

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from starlette.testclient import TestClient

from albertine.serving import compatible_schemas, schemas
from albertine.serving.app import create_app
from albertine.serving.keys import Keys
from albertine.serving.service import Service

Serving = Callable[..., Service]
Client = Callable[..., TestClient]


@pytest.fixture
def document(serving: Serving, client: Client) -> dict[str, Any]:
    found: dict[str, Any] = client(serving("reviews", "encoder", indexes=["documents"])).get("/openapi.json").json()
    return found


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    named = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= set(document["components"]["schemas"])
    assert "$defs" not in text
    assert {"PredictRequest", "StreamedPrediction", "StreamEnd", "ErrorResponse"} <= set(
        document["components"]["schemas"]
    )
    assert "HTTPValidationError" not in text


def test_models_statuses_and_limits_are_told(document: dict[str, Any]) -> None:
    predict = document["paths"]["/v1/models/{name}/predict"]["post"]
    (name,) = [one for one in predict["parameters"] if one["in"] == "path"]
    assert name["schema"]["enum"] == ["reviews"]
    encode = document["paths"]["/v1/models/{name}/encode"]["post"]["parameters"]
    assert encode[0]["schema"]["enum"] == ["encoder", "documents"]
    assert document["paths"]["/v1/models/{name}"]["get"]["parameters"][0]["schema"]["enum"] == [
        "reviews", "encoder", "documents",
    ]  # fmt: skip
    bodies = document["components"]["schemas"]
    assert bodies["EmbeddingsRequest"]["properties"]["model"]["enum"] == ["encoder", "documents"]
    assert set(predict["responses"]) == {
        "200", "401", "404", "408", "413", "415", "421", "422", "429", "500", "503",
    }  # fmt: skip
    assert set(predict["requestBody"]["content"]) == {"application/json", "application/x-ndjson"}
    assert set(predict["responses"]["200"]["content"]) == {
        "application/json", "application/x-ndjson", "text/event-stream",
    }  # fmt: skip
    assert "Retry-After" in predict["responses"]["503"]["headers"]
    assert "501" in document["paths"]["/v1/models/{name}/explain"]["post"]["responses"]
    assert "409" in document["paths"]["/v1/models/{name}/reload"]["post"]["responses"]
    assert "security" not in predict


def test_keys_are_told_where_there_are_some(serving: Serving) -> None:
    app = create_app(serving("reviews", keys=Keys(api=(b"a" * 32,))))
    found = app.openapi()
    assert set(found["components"]["securitySchemes"]) == {"bearer", "key"}
    assert found["paths"]["/v1/models"]["get"]["security"] == [{"bearer": []}, {"key": []}]
    assert "security" not in found["paths"]["/health"]["get"]


def test_the_examples_are_taken(serving: Serving, client: Client) -> None:
    caller = client(serving("reviews", "entailment", "answers", "encoder", indexes=["documents"]))
    ways = {
        "PredictRequest": ["/v1/models/reviews/predict"] * 2
        + ["/v1/models/entailment/predict", "/v1/models/answers/predict"],
        "EncodeRequest": ["/v1/models/encoder/encode"],
        "SearchRequest": ["/v1/models/documents/search"],
        "EmbeddingsRequest": ["/v1/embeddings"],
        "RerankRequest": ["/rerank"],
    }
    for name, paths in ways.items():
        examples = getattr(
            compatible_schemas if name in ("EmbeddingsRequest", "RerankRequest") else schemas, name
        ).model_config["json_schema_extra"]["examples"]
        for path, example in zip(paths, examples, strict=True):
            body = {**example, "model": "encoder"} if "model" in example else example
            reply = caller.post(path, json=body)
            assert reply.status_code == 200, (name, reply.text)


def _lines(context: Any, value: Any) -> dict[str, Any]:
    """Send what is generated for NDJSON as it is, or as JSON where it is no text."""
    return {"data": value if isinstance(value, bytes) else str(value).encode("utf-8", "backslashreplace")}


@pytest.mark.long
@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
def test_nothing_is_answered_that_the_document_does_not_have(serving: Serving, mode: str) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    checks = pytest.importorskip("schemathesis.specs.openapi.checks")
    schemathesis.serializer("application/x-ndjson")(_lines)
    service = serving("reviews", "entailment", "similar", indexes=["documents"], host="0.0.0.0")
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(service))
    asked: dict[int, int] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path == "/metrics" or operation.path.endswith("/reload"):
            continue  # plain text, and nothing without a key

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode[mode]))
        def ask(case: Any) -> None:
            response = case.call()
            asked[response.status_code] = asked.get(response.status_code, 0) + 1
            assert response.status_code < 500 or response.status_code == 501, response.text
            case.validate_response(
                response,
                checks=[
                    checks.status_code_conformance,
                    checks.content_type_conformance,
                    checks.response_headers_conformance,
                    checks.response_schema_conformance,
                ],
            )

        with contextlib.suppress(Unsatisfiable, SkipTest):  # nothing can be wrong with a GET without parameters
            ask()
    assert asked.get(200, 0) > 40 if mode == "POSITIVE" else asked.get(422, 0) > 40
