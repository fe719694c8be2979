"""What goes over the wire where other services' clients are met: OpenAI's embeddings, Cohere's and Jina's rerank."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from albertine.serving.schemas import Sent, TextInput, Usage, whole
from albertine.serving.state_schemas import Answer

__all__ = [
    "Embedding",
    "EmbeddingsRequest",
    "EmbeddingsResponse",
    "EmbeddingsUsage",
    "RerankRequest",
    "RerankResponse",
    "RerankResult",
]

_Positive = Annotated[int, Field(ge=1), BeforeValidator(whole)]


class EmbeddingsRequest(Sent):
    """As OpenAI's clients send it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "minilm", "input": ["a text", "another"]}]})

    model: str = Field(description="The name of a model that encodes, as /v1/models lists it.")
    input: str | Annotated[list[str], Field(min_length=1)] = Field(
        description="One text, or a list of them; token ids are not taken."
    )
    encoding_format: Literal["float", "base64"] = Field(
        default="float", description="Numbers, or little-endian float32 in base64 (what OpenAI's client asks for)."
    )
    dimensions: _Positive | None = Field(
        default=None, description="Only the model's own width is taken: vectors are not cut."
    )
    user: str | None = Field(default=None, description="Not looked at.")


class RerankRequest(Sent):
    """A query and the documents to put in order, as Cohere's and Jina's clients send it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "minilm", "query": "cancel an order", "documents": ["How to cancel", "Opening hours"]}
            ]
        }
    )

    model: str | None = Field(
        default=None, description="The name of a model that reranks; not needed where there is just one."
    )
    query: str = Field(description="The query.")
    documents: Annotated[list[str | TextInput], Field(min_length=1)] = Field(description="The documents.")
    top_n: _Positive | None = Field(default=None, description="How many to give back; all of them without it.")
    return_documents: bool = Field(default=False, description="Repeat the text of every document in its result.")


class Embedding(Answer):
    """One vector, as OpenAI's API gives it."""

    object: Literal["embedding"] = "embedding"
    index: int = Field(description="Which text, from 0.")
    embedding: list[float] | str = Field(description="Numbers, or little-endian float32 in base64.")


class EmbeddingsUsage(Answer):
    """What a request was worth, as OpenAI's API says it."""

    prompt_tokens: int = Field(description="Tokens that the model read, special ones included.")
    total_tokens: int = Field(description="The same.")


class EmbeddingsResponse(Answer):
    """As OpenAI's API gives it."""

    object: Literal["list"] = "list"
    data: list[Embedding] = Field(description="In the order of the texts.")
    model: str = Field(description="The model's name.")
    usage: EmbeddingsUsage


class RerankResult(Answer):
    """A document and how well it fits."""

    index: int = Field(description="Which document of the request, from 0.")
    relevance_score: float = Field(
        description="Higher fits better: what a cross-encoder gives the pair, or the cosine of a bi-encoder's vectors."
    )
    document: TextInput | None = Field(default=None, description="The document, where it was asked for.")


class RerankResponse(Answer):
    """The documents, the best first; equally good ones in their order."""

    model: str = Field(description="The model's name.")
    results: list[RerankResult]
    usage: Usage
