"""What goes over the wire about models, about the server itself and about failures; see schemas.py for the rest."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Answer",
    "Capability",
    "ErrorDetail",
    "ErrorResponse",
    "Health",
    "ModelDetail",
    "ModelList",
    "ModelState",
    "ModelSummary",
    "Readiness",
    "ReloadResponse",
    "ServerState",
]

Capability = Literal["predict", "encode", "search", "rerank", "explain"]
"""What a model can be asked for, as the last part of the path (rerank and embeddings name it in the body)."""

ModelState = Literal["loading", "ready", "failed"]
ServerState = Literal["ready", "loading", "stopping", "failed"]


class Answer(BaseModel):
    """A body that the server sends."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSummary(Answer):
    """A model in the list; the first four fields are those of OpenAI's list."""

    id: str = Field(description="The name, as the paths and bodies take it.", examples=["reviews"])
    object: Literal["model"] = "model"
    created: int = Field(description="When the folder's weights were written, in seconds since 1970.")
    owned_by: Literal["albertine"] = "albertine"
    task: str = Field(
        description="text-classification, token-classification, question-answering, sentence-similarity, seq2seq, "
        "intent-slots, aspect-opinions, what a plug-in names, or encoder where there is no task.",
        examples=["text-classification"],
    )
    input: Literal["text", "pair", "question", "text or pair"] = Field(
        description="What `inputs` of predict takes: a text; text_a and text_b; question and context. A model that "
        "only encodes says text."
    )
    capabilities: list[Capability] = Field(description="What it can be asked for.", examples=[["predict"]])
    state: ModelState = Field(description="Whether it answers now.")


class ModelDetail(ModelSummary):
    """Everything about one model."""

    labels: list[str] = Field(description="Every label; empty where the task has none.")
    kind: str = Field(
        description="What computes: bert, albert, encoder for another encoder, or the baseline's name.",
        examples=["albert"],
    )
    value_range: list[float] | None = Field(
        default=None, description="Lowest and highest `value`, where the model knows (sentence-similarity)."
    )
    max_characters: int = Field(description="Characters of a text that the server takes.")
    max_length: int | None = Field(default=None, description="Tokens that it reads at a time.")
    precision: str | None = Field(default=None, description="Of the matrix products: fp32 or bf16.")
    width: int | None = Field(default=None, description="Numbers of a vector, where it encodes.")
    documents: int | None = Field(default=None, description="Documents of its index, where it searches.")
    parameters_unique: int = Field(description="Parameters that are stored.")
    parameters_executed: int = Field(description="Parameters that a text meets; a shared block counts once a pass.")
    bytes: int = Field(description="Weights on disk.")
    flops_per_token: float | None = Field(
        default=None, description="Operations a token of a text of 128 tokens; absent for models without tokens."
    )
    config: dict[str, object] = Field(description="The configuration of the encoder or baseline, every field.")
    card: str = Field(description="The model card, Markdown; empty where there is none. Not safe as HTML as it stands.")
    generation: int = Field(description="1, and one more after every reload.")


class ModelList(Answer):
    """Every model that is served."""

    object: Literal["list"] = "list"
    data: list[ModelSummary] = Field(description="In the order in which they were given.")


class ReloadResponse(Answer):
    """A model that was replaced."""

    model: str = Field(description="The model's name.")
    generation: int = Field(description="2 after the first reload.")
    seconds: float = Field(description="From the request until the new one answered.")


class Health(Answer):
    """The process answers."""

    status: Literal["alive"] = "alive"
    version: str = Field(description="Of Albertine.", examples=["0.6.0"])


class Readiness(Answer):
    """Whether requests are taken."""

    status: ServerState
    models: dict[str, ModelState] = Field(description="Every model's state by its name.")


class ErrorDetail(Answer):
    """What is wrong, in the parts that all messages of Albertine have."""

    type: str = Field(
        description="A word for programs: invalid_json, invalid_input, too_large, unknown_model, unsupported, "
        "unsupported_media_type, unauthorized, forbidden, wrong_host, rate_limited, overloaded, not_ready, stopping, "
        "timeout, slow_request, not_found, method_not_allowed, not_implemented, reload_failed or internal.",
        examples=["invalid_input"],
    )
    message: str = Field(description="All of it in one sentence or two, for people.")
    what: str = Field(description="What is wrong.", examples=["this model reads pairs of texts"])
    where: str | None = Field(default=None, description="Path of the field, or the line.", examples=["inputs[3]"])
    received: str | None = Field(default=None, description="What was met.")
    allowed: str | None = Field(default=None, description="What would have been accepted.")
    next_step: str | None = Field(default=None, description="What to do about it.")
    retry_after: int | None = Field(
        default=None, description="Seconds after which it may work, as in the header Retry-After."
    )
    request_id: str | None = Field(default=None, description="As in the header X-Request-ID and in the server's log.")


class ErrorResponse(Answer):
    """The body of every answer that is no success; `error.message` is where OpenAI's clients look."""

    error: ErrorDetail
