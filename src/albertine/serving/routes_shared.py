"""The routes that name their model in the body: embeddings as OpenAI's API has them, rerank as Cohere's and Jina's."""

from __future__ import annotations

import numpy as np
from fastapi import APIRouter, Request, Response

from albertine.records import Example
from albertine.serving.answers import embedding
from albertine.serving.asking import ask, ask_texts, begin
from albertine.serving.bodies import body_of
from albertine.serving.compatible_schemas import (
    EmbeddingsRequest,
    EmbeddingsResponse,
    EmbeddingsUsage,
    RerankRequest,
    RerankResponse,
    RerankResult,
)
from albertine.serving.describing import ASKING, takes
from albertine.serving.inputs import checked_count, place_in, text_cost
from albertine.serving.jobs import Answered
from albertine.serving.problems import Problem
from albertine.serving.routes_models import json_answer, usage
from albertine.serving.schemas import TextInput
from albertine.serving.served import ServedModel
from albertine.serving.service import Service

__all__ = ["shared_router"]


def shared_router(service: Service) -> APIRouter:
    """Return the routes of embeddings and rerank."""
    router = APIRouter(tags=["compatible"])
    options = service.options

    @router.post(
        "/v1/embeddings",
        response_model=EmbeddingsResponse,
        responses=ASKING,
        openapi_extra=takes(EmbeddingsRequest),
    )
    async def embeddings(request: Request) -> Response:
        """Turn texts into vectors, for clients of OpenAI's API."""
        asked = await body_of(request, service, EmbeddingsRequest)
        found = begin(service, request, asked.model, "encode")
        texts = asked.input if isinstance(asked.input, list) else [asked.input]
        checked_count(len(texts), options, where="input")
        vectors = service.generation(found).opened.vectors
        if asked.dimensions is not None and vectors is not None and asked.dimensions != vectors.width:
            raise Problem(
                422,
                "invalid_input",
                "vectors are not cut to another width",
                where="dimensions",
                received=asked.dimensions,
                allowed=str(vectors.width),
                next_step="Leave it out",
            )
        answers = await ask_texts(service, found, texts, request=request, where=place_in("input", asked.input))
        worth = usage(answers)
        return json_answer(
            EmbeddingsResponse.model_construct(
                data=[embedding(place, one.value, asked.encoding_format) for place, one in enumerate(answers)],
                model=asked.model,
                usage=EmbeddingsUsage(prompt_tokens=worth.tokens, total_tokens=worth.tokens),
            )
        )

    @router.post("/rerank", response_model=RerankResponse, responses=ASKING, openapi_extra=takes(RerankRequest))
    async def rerank(request: Request) -> Response:
        """Put documents in the order in which they fit a query."""
        asked = await body_of(request, service, RerankRequest)
        name = _one_reranker(service) if asked.model is None else asked.model
        found = begin(service, request, name, "rerank")
        documents = [one.text if isinstance(one, TextInput) else one for one in asked.documents]
        checked_count(len(documents), options, where="documents")
        scores, answers = await _scores(service, found, asked.query, documents, request)
        order = sorted(range(len(documents)), key=lambda place: (-scores[place], place))
        results = [
            RerankResult(
                index=place,
                relevance_score=scores[place],
                document=TextInput(text=documents[place]) if asked.return_documents else None,
            )
            for place in order[: asked.top_n]
        ]
        return json_answer(RerankResponse(model=name, results=results, usage=usage(answers)))

    return router


def _one_reranker(service: Service) -> str:
    names = service.able("rerank")
    if len(names) == 1:
        return names[0]
    raise Problem(
        422,
        "invalid_input",
        "the model has to be named" if names else "no model that is served can rerank",
        where="model",
        allowed=", ".join(names) or None,
        next_step="Name one" if names else "Serve an encoder, or a model of sentence-similarity",
    )


async def _scores(
    service: Service, model: ServedModel, query: str, documents: list[str], request: Request
) -> tuple[list[float], list[Answered]]:
    """Return what a model says of the query and every document, and its answers."""
    options = service.options

    def place(index: int) -> str:
        return f"documents[{index}]"

    if not service.generation(model).opened.reranks_pairs:
        # The query stands behind the documents, so that places are theirs.
        answers = await ask_texts(
            service,
            model,
            [*documents, query],
            request=request,
            where=lambda index: place(index) if index < len(documents) else "query",
        )
        vectors = np.stack([one.value for one in answers]).astype(np.float64)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        # The decimal number that a float32 stands for, so that equal texts have equal scores.
        return np.round(vectors[:-1] @ vectors[-1], 6).tolist(), answers
    own = text_cost(query, options, where="query")
    costs = [own + text_cost(one, options, where=place(index)) for index, one in enumerate(documents)]
    pairs = [Example(text=query, text_pair=one) for one in documents]
    generation = service.generation(model)
    answers = await ask(
        service, generation, generation.operation("predict_pair"), pairs, costs, request=request, where=place
    )
    return [one.value.value for one in answers], answers
