"""The routes of one model: predict, encode, search, explain, reload, and what it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel

from albertine.serving.answers import hit, prediction
from albertine.serving.asking import ask, ask_texts, begin
from albertine.serving.bodies import JSON, NDJSON, body_of, content_type, input_lines, parsed, read_body
from albertine.serving.describing import ASKING, STREAMS, failures, takes
from albertine.serving.inputs import checked_count, example_of, place_in, text_cost
from albertine.serving.jobs import Answered
from albertine.serving.problems import Problem
from albertine.serving.records import record_of
from albertine.serving.schemas import (
    EncodeRequest,
    EncodeResponse,
    ExplainRequest,
    ExplainResponse,
    Input,
    PredictRequest,
    PredictResponse,
    SearchRequest,
    SearchResponse,
    Usage,
)
from albertine.serving.served import ServedModel
from albertine.serving.service import Service
from albertine.serving.state_schemas import ModelDetail, ModelList, ModelSummary, ReloadResponse
from albertine.serving.streaming import EVENTS, StreamForm, streamed

__all__ = ["json_answer", "models_router", "usage"]

_Name = Annotated[str, Path(description="A model's name, as /v1/models lists it.")]


def models_router(service: Service) -> APIRouter:
    """Return the routes below /v1/models."""
    router = APIRouter(prefix="/v1/models", tags=["models"])
    options = service.options

    @router.get("", response_model=ModelList, responses=failures(401, 429, 503))
    async def list_models() -> Response:
        """List the models that are served."""
        return json_answer(ModelList(data=[ModelSummary(**_summary(one)) for one in service.models.values()]))

    @router.get("/{name}", response_model=ModelDetail, responses=failures(401, 404, 429, 503))
    async def show_model(request: Request, name: _Name) -> Response:
        """Tell a model's task, labels, size, configuration and card."""
        found = service.model(name)
        record_of(request).model = name
        return json_answer(_detail(service, found))

    @router.post(
        "/{name}/predict",
        response_model=PredictResponse,
        responses={**ASKING, 200: STREAMS},
        openapi_extra=takes(PredictRequest, lines=True),
    )
    async def predict(
        request: Request,
        name: _Name,
        scores: Annotated[
            bool, Query(description="As the field of that name; for NDJSON, which has no place for it.")
        ] = False,
    ) -> Response:
        """Answer one input or many, in their order; as a stream where the body or the client asks for one."""
        found = begin(service, request, name, "predict")
        record = record_of(request)
        lines = content_type(request, (JSON, NDJSON)) == NDJSON
        accepted = request.headers.get("accept", "")
        form: StreamForm | None = "events" if EVENTS in accepted else "ndjson" if lines or NDJSON in accepted else None
        body = await read_body(request, service, options.max_stream if lines else options.max_body)
        if lines:
            return streamed(service, found, input_lines(body), form or "ndjson", scores=scores, record=record)
        asked = parsed(body, PredictRequest)
        inputs: Sequence[Input] = asked.inputs if isinstance(asked.inputs, list) else [asked.inputs]
        scores = scores or asked.scores
        if form is not None:
            return streamed(service, found, inputs, form, scores=scores, record=record)
        checked_count(len(inputs), options, where="inputs")
        place = place_in("inputs", asked.inputs)
        generation = service.generation(found)
        kind = generation.opened.input
        made = [example_of(one, kind, options, where=place(index)) for index, one in enumerate(inputs)]
        examples = [example for example, _ in made]
        operation = generation.operation("predict" if examples[0].text_pair is None else "predict_pair")
        costs = [cost for _, cost in made]
        answers = await ask(service, generation, operation, examples, costs, request=request, where=place)
        return json_answer(
            PredictResponse(
                model=name,
                task=generation.opened.task,
                predictions=[prediction(one, scores=scores) for one in answers],
                usage=usage(answers),
            )
        )

    @router.post("/{name}/encode", response_model=EncodeResponse, responses=ASKING, openapi_extra=takes(EncodeRequest))
    async def encode(request: Request, name: _Name) -> Response:
        """Turn texts into vectors, in their order."""
        found = begin(service, request, name, "encode")
        asked = await body_of(request, service, EncodeRequest)
        texts = asked.texts if isinstance(asked.texts, list) else [asked.texts]
        checked_count(len(texts), options, where="texts")
        answers = await ask_texts(service, found, texts, request=request, where=place_in("texts", asked.texts))
        vectors = [one.value.tolist() for one in answers]
        return json_answer(
            EncodeResponse.model_construct(model=name, width=len(vectors[0]), vectors=vectors, usage=usage(answers))
        )

    @router.post("/{name}/search", response_model=SearchResponse, responses=ASKING, openapi_extra=takes(SearchRequest))
    async def search(request: Request, name: _Name) -> Response:
        """Find the documents of the model's index that are nearest to a query."""
        found = begin(service, request, name, "search")
        asked = await body_of(request, service, SearchRequest)
        queries = asked.query if isinstance(asked.query, list) else [asked.query]
        checked_count(len(queries), options, where="query")
        place = place_in("query", asked.query)
        costs = []
        for index, one in enumerate(queries):
            if not one.strip():
                raise Problem(422, "invalid_input", "a query without any text", where=place(index))
            costs.append(text_cost(one, options, where=place(index)))
        generation = service.generation(found)
        items = [(one, asked.k) for one in queries]
        operation = generation.operation("search")
        answers = await ask(service, generation, operation, items, costs, request=request, where=place)
        hits = [[hit(one) for one in answer.value] for answer in answers]
        return json_answer(SearchResponse(model=name, hits=hits, usage=usage(answers)))

    @router.post(
        "/{name}/explain",
        response_model=ExplainResponse,
        responses={**ASKING, **failures(501)},
        openapi_extra=takes(ExplainRequest),
    )
    async def explain(request: Request, name: _Name) -> Response:
        """Say why a model answers as it does; needs an explainer."""
        if service.explainer is None:
            service.model(name)
            raise Problem(
                501,
                "not_implemented",
                "no explainer is registered",
                next_step="Install a package that adds one (entry point group albertine.explainers)",
            )
        found = begin(service, request, name, "explain")
        asked = await body_of(request, service, ExplainRequest)
        generation = service.generation(found)
        place = place_in("input", asked.input)
        example, cost = example_of(asked.input, generation.opened.input, options, where="input")
        operation = generation.operation("explain")
        answers = await ask(
            service, generation, operation, [(example, asked.label)], [cost], request=request, where=place
        )
        explanation = dict(answers[0].value)
        return json_answer(ExplainResponse(model=name, explainer=service.explainer, explanation=explanation))

    @router.post("/{name}/reload", response_model=ReloadResponse, responses=failures(401, 403, 404, 409, 429, 503))
    async def reload(request: Request, name: _Name) -> Response:
        """Read the model's folder anew, and replace the model without losing a request; needs an admin key."""
        found = service.model(name)
        record_of(request).model = name
        seconds = await found.reload()
        number = service.generation(found).number
        return json_answer(ReloadResponse(model=name, generation=number, seconds=round(seconds, 3)))

    return router


def json_answer(body: BaseModel, status: int = 200) -> Response:
    """Return a record as JSON, without what it does not have."""
    return Response(body.model_dump_json(exclude_none=True), status_code=status, media_type=JSON)


def usage(answers: Sequence[Answered]) -> Usage:
    """Return what a request was worth."""
    return Usage(texts=len(answers), tokens=sum(one.tokens for one in answers))


def _summary(model: ServedModel) -> dict[str, Any]:
    opened = None if model.current is None else model.current.opened
    return {
        "id": model.name,
        "created": 0 if opened is None else opened.created,
        "task": "" if opened is None else opened.task,
        "input": "text" if opened is None else opened.input,
        "capabilities": [] if opened is None else list(opened.capabilities),
        "state": model.state,
    }


def _detail(service: Service, model: ServedModel) -> ModelDetail:
    generation = service.generation(model)
    opened = generation.opened
    own, vectors, index = opened.model, opened.vectors, opened.index
    reads = own.task_config.max_length if own is not None else None if vectors is None else vectors.max_length
    return ModelDetail(
        **_summary(model),
        labels=[] if own is None else list(own.labels),
        kind="encoder" if own is None else own.body_kind,
        value_range=None if opened.value_range is None else list(opened.value_range),
        max_characters=service.options.max_characters,
        max_length=reads,
        precision=own.precision if own is not None else None if vectors is None else vectors.precision,
        width=None if vectors is None else vectors.width,
        documents=None if index is None else len(index),
        parameters_unique=opened.info.parameters.unique,
        parameters_executed=opened.info.parameters.executed,
        bytes=opened.info.bytes,
        flops_per_token=opened.info.flops_per_token,
        config=opened.info.config,
        card=opened.card,
        generation=generation.number,
    )
