"""What OpenAPI says beside what FastAPI finds out by itself: bodies, statuses, names of models, keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from albertine import __version__
from albertine.serving.bodies import JSON, NDJSON
from albertine.serving.compatible_schemas import EmbeddingsRequest, RerankRequest
from albertine.serving.schemas import (
    EncodeRequest,
    ExplainRequest,
    PredictRequest,
    SearchRequest,
    StreamedError,
    StreamedPrediction,
    StreamEnd,
)
from albertine.serving.service import Service
from albertine.serving.state_schemas import Capability, ErrorResponse

__all__ = ["ASKING", "STREAMS", "describe", "failures", "takes"]

_REFERENCE = "#/components/schemas/{model}"
_BODIES = (EmbeddingsRequest, EncodeRequest, ExplainRequest, PredictRequest, RerankRequest, SearchRequest)
_LINES = (StreamedPrediction, StreamedError, StreamEnd)
_SECONDS = {
    "Retry-After": {
        "description": "Seconds after which it may work.",
        "schema": {"type": "integer", "minimum": 1},
    }
}
_FAILURES = {
    401: "A key is needed, or the one that came is not known.",
    403: "Models are replaced with an admin key only.",
    404: "There is no such model.",
    408: "The body did not come in time.",
    409: "The model could not be replaced, and goes on as it was.",
    413: "The body, the number of texts or a text is too large.",
    415: "The body is no JSON in UTF-8.",
    421: "The server does not answer to the name in the Host header.",
    422: "The body is no JSON, has another shape, or does not fit the model.",
    429: "Too many requests from this client.",
    500: "The fault is the server's; its log has the reason under the request's id.",
    501: "No explainer is registered.",
    503: "The server stops, a model is being loaded, or too much waits for it.",
}
_EVERYWHERE = (421, 500)
_VERBS: Mapping[str, Capability] = {"predict": "predict", "encode": "encode", "search": "search", "explain": "explain"}
_FOREIGN = ("HTTPValidationError", "ValidationError")

STREAMS: dict[str, Any] = {
    "description": "The predictions; as a stream where the body is NDJSON, or where Accept asks for one.",
    "content": {
        NDJSON: {"schema": {"type": "string", "description": "A StreamedPrediction or StreamedError a line."}},
        "text/event-stream": {
            "schema": {
                "type": "string",
                "description": "Events prediction (StreamedPrediction), error (StreamedError) and, last, done "
                "(StreamEnd).",
            }
        },
    },
}
"""What predict answers beside JSON."""


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what a route can answer when it does not succeed.

    Args:
        statuses: those beside the ones that every route has.
    """
    found: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, *_EVERYWHERE}):
        found[status] = {"model": ErrorResponse, "description": _FAILURES[status]}
        if status in (429, 503):
            found[status]["headers"] = _SECONDS
    return found


ASKING = failures(401, 404, 408, 413, 415, 422, 429, 503)
"""What a route that asks a model can answer beside success."""


def takes(model: type[BaseModel], *, lines: bool = False) -> dict[str, Any]:
    """Return what stands in OpenAPI of a body that the route reads itself.

    Args:
        model: its shape as JSON.
        lines: whether NDJSON is taken as well.
    """
    content: dict[str, Any] = {JSON: {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}}
    if lines:
        content[NDJSON] = {
            "schema": {
                "type": "string",
                "description": "One input a line, as an element of `inputs` has it.",
                "examples": ['"a text"\n{"text": "another"}\n'],
            }
        }
    return {"requestBody": {"required": True, "content": content}}


def describe(app: FastAPI, service: Service) -> dict[str, Any]:
    """Return the whole document.

    Args:
        app: with all its routes.
        service: for the names of the models and the keys.
    """
    document = get_openapi(
        title="Albertine",
        version=__version__,
        summary="BERT and ALBERT models behind HTTP.",
        routes=app.routes,
    )
    _, definitions = models_json_schema(
        [*((one, "validation") for one in _BODIES), *((one, "serialization") for one in _LINES)],
        ref_template=_REFERENCE,
    )
    components = document.setdefault("components", {})
    schemas = {**definitions.get("$defs", {}), **components.get("schemas", {})}
    # FastAPI's own form of a failure, which it adds to every route with a parameter; none of ours answers it.
    components["schemas"] = {name: one for name, one in schemas.items() if name not in _FOREIGN}
    bodies = components["schemas"]
    _limit(bodies["EmbeddingsRequest"]["properties"]["model"], service.able("encode"))
    _limit(bodies["RerankRequest"]["properties"]["model"]["anyOf"][0], service.able("rerank"))
    if service.keys.needed or service.keys.admin:
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
    for path, operations in document["paths"].items():
        verb = path.rpartition("/")[2]
        names = service.able(_VERBS[verb]) if verb in _VERBS else []
        for operation in operations.values():
            _name_models(operation, names or list(service.models))
            if any(name in str(operation["responses"].get("422")) for name in _FOREIGN):
                del operation["responses"]["422"]
            reload = path.endswith("/reload")
            if path.startswith(("/v1/", "/rerank")) and (service.keys.admin if reload else service.keys.needed):
                operation["security"] = [{"bearer": []}, {"key": []}]
    return document


def _name_models(operation: Mapping[str, Any], names: list[str]) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path" and parameter["name"] == "name":
            _limit(parameter["schema"], names)


def _limit(schema: dict[str, Any], names: list[str]) -> None:
    """Say which names there are; none are known while the models are loaded."""
    if names:
        schema["enum"] = names
