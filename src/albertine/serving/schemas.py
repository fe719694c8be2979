"""What goes over the wire: the body of every request, and of its answer.

    POST /v1/models/{name}/predict   PredictRequest  > PredictResponse    JSON; NDJSON and server-sent events: see below
    POST /v1/models/{name}/encode    EncodeRequest   > EncodeResponse
    POST /v1/models/{name}/search    SearchRequest   > SearchResponse
    POST /v1/models/{name}/explain   ExplainRequest  > ExplainResponse    501 where no explainer is registered
    POST /v1/models/{name}/reload    no body         > ReloadResponse     with an admin key
    POST /v1/embeddings              EmbeddingsRequest > EmbeddingsResponse   the shape of OpenAI's
    POST /rerank                     RerankRequest   > RerankResponse         the shape of Cohere's and Jina's
    GET  /v1/models                  > ModelList
    GET  /v1/models/{name}           > ModelDetail
    GET  /health                     > Health       200 as long as the process answers
    GET  /ready                      > Readiness    200 when every model is warm, else 503
    GET  /metrics                    Prometheus text
    GET  /openapi.json               this file as OpenAPI
    GET  /  and  /static/{file}      the page

Every answer that is no success is an `ErrorResponse`, but for /ready. Keys travel as `Authorization: Bearer KEY` or
`X-API-Key: KEY`. Requests for /v1 and /rerank are `Content-Type: application/json`; nothing else is taken, so that a
foreign web page cannot post to a server on its reader's machine.

A stream of predictions: POST …/predict with `Content-Type: application/x-ndjson`, an `Input` a line, gives NDJSON, a
`StreamedPrediction` or `StreamedError` a line, in the order of the inputs, as they are ready; `?scores=true` stands for
the field of that name. `Accept: application/x-ndjson` asks the same of a JSON request, and `Accept: text/event-stream`
asks for server-sent events: `event: prediction` or `event: error` with that line as `data:`, and `event: done` with a
`StreamEnd` last (NDJSON ends with the last answer).

Offsets count characters as Python does (Unicode code points): in JavaScript, `Array.from(text).slice(start, end)`.
Fields that a task does not have are absent from an answer, never null. The bodies of embeddings and rerank
stand in compatible_schemas.py, what is said of models, of the server and of failures in state_schemas.py.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from albertine.serving.state_schemas import Answer, ErrorDetail

__all__ = [
    "EncodeRequest",
    "EncodeResponse",
    "ExplainRequest",
    "ExplainResponse",
    "Input",
    "Inputs",
    "OpinionOut",
    "PairInput",
    "PredictRequest",
    "PredictResponse",
    "PredictionOut",
    "QuestionInput",
    "SearchHit",
    "SearchRequest",
    "SearchResponse",
    "Sent",
    "SpanOut",
    "StreamEnd",
    "StreamedError",
    "StreamedPrediction",
    "TextInput",
    "Usage",
    "whole",
]


def whole(value: object) -> object:
    """Take 3.0 for 3, as JSON does, which has one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Sent(BaseModel):
    """A body that a client sends: unknown fields are refused, and nothing is converted ("1" is no number)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


# Requests.


class TextInput(Sent):
    """One text."""

    text: str = Field(description="The text.", examples=["The room was clean and quiet."])


class PairInput(Sent):
    """Two texts that are read together."""

    text_a: str = Field(description="The first text.", examples=["A man plays the guitar."])
    text_b: str = Field(description="The second text.", examples=["Somebody makes music."])


class QuestionInput(Sent):
    """A question and the text that may hold its answer."""

    question: str = Field(description="The question.", examples=["Who wrote the letter?"])
    context: str = Field(
        description="The text that may hold the answer; of any length, it is read in windows.",
        examples=["The letter was written by Ada and sent on Monday."],
    )


def _form(value: object) -> str:
    """Tell which form an input has, so that a message is about that one and not about all of them."""
    if isinstance(value, QuestionInput) or (isinstance(value, dict) and {"question", "context"} & value.keys()):
        return "a-question"
    if isinstance(value, PairInput) or (isinstance(value, dict) and {"text_a", "text_b"} & value.keys()):
        return "a-pair"
    return "an-object" if isinstance(value, TextInput | dict) else "a-list" if isinstance(value, list) else "a-string"


def _one_form(value: object) -> str:
    form = _form(value)
    return "a-string" if form == "a-list" else form


Input = Annotated[
    Annotated[str, Tag("a-string")]
    | Annotated[TextInput, Tag("an-object")]
    | Annotated[PairInput, Tag("a-pair")]
    | Annotated[QuestionInput, Tag("a-question")],
    Discriminator(_one_form),
]
"""What a model is asked about: a text as a string or an object, a pair, or a question with its context. Which of them a
model takes follows from its task; a model of pairs takes no single text, and the other way round."""

Inputs = Annotated[
    Annotated[str, Tag("a-string")]
    | Annotated[TextInput, Tag("an-object")]
    | Annotated[PairInput, Tag("a-pair")]
    | Annotated[QuestionInput, Tag("a-question")]
    | Annotated[list[Input], Field(min_length=1), Tag("a-list")],
    Discriminator(_form),
]
"""One input or a list of them."""


class PredictRequest(Sent):
    """One input or many."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"inputs": "The room was clean and quiet."},
                {"inputs": ["很好吃", "太慢了"], "scores": True},
                {"inputs": [{"text_a": "A man plays the guitar.", "text_b": "Somebody makes music."}]},
                {"inputs": {"question": "Who wrote it?", "context": "The letter was written by Ada."}},
            ]
        }
    )

    inputs: Inputs = Field(description="What the model is asked about: one input, or a list of them.")
    scores: bool = Field(
        default=False, description="Give the probability of every label as well, where the task has labels."
    )


class EncodeRequest(Sent):
    """Texts to be turned into vectors."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"texts": ["a text", "另一个文本"]}]})

    texts: str | Annotated[list[str], Field(min_length=1)] = Field(description="One text, or a list of them.")


_Query = Annotated[str, Field(json_schema_extra={"pattern": r"\S"})]


class SearchRequest(Sent):
    """A query for an index."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"query": "how to cancel an order", "k": 3}]})

    query: _Query | Annotated[list[_Query], Field(min_length=1)] = Field(
        description="What to look for: one query, or a list of them. A query has at least one character that is not "
        "white space."
    )
    k: Annotated[int, Field(ge=1, le=1000), BeforeValidator(whole)] = Field(
        default=5, description="Documents for each query at most."
    )


class ExplainRequest(Sent):
    """One input whose answer is to be explained."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": "The room was clean and quiet."}]})

    input: Input = Field(description="What the model was asked about.")
    label: str | None = Field(default=None, description="The label to explain; without it, the predicted one.")


# Answers.


class Usage(Answer):
    """What a request was worth."""

    texts: int = Field(description="Inputs that were answered.", examples=[2])
    tokens: int = Field(description="Tokens that the model read, special ones included; 0 for models without tokens.")


class SpanOut(Answer):
    """A labelled piece of the input."""

    start: int = Field(description="First character, counted in Unicode code points from 0.", examples=[4])
    end: int = Field(description="One past the last character.", examples=[8])
    label: str = Field(description="What it is.", examples=["PER"])
    score: float = Field(description="Its probability.", examples=[0.97])
    text: str = Field(description="The characters themselves.", examples=["Ada"])


class OpinionOut(Answer):
    """What a text says of something."""

    aspect: SpanOut | None = Field(default=None, description="The words for what is spoken of; absent where implied.")
    expression: SpanOut | None = Field(
        default=None, description="The words that say what is thought of it; absent where implied or not looked for."
    )
    polarity: str = Field(description="As the training data name it.", examples=["positive"])
    category: str | None = Field(default=None, description="What kind of aspect it is, where the model says so.")
    score: float = Field(description="Its probability.")


class PredictionOut(Answer):
    """The answer to one input; what the task does not give is absent."""

    label: str | None = Field(
        default=None,
        description="The most probable label (text-classification), the intent (intent-slots).",
        examples=["positive"],
    )
    labels: list[str] | None = Field(
        default=None, description="Every label that applies, none maybe (multi-label classification)."
    )
    value: float | None = Field(default=None, description="The number (regression, sentence-similarity).")
    output: str | None = Field(default=None, description="The text that was written (seq2seq).")
    score: float | None = Field(
        default=None, description="The probability of the label, the answer or the text.", examples=[0.98]
    )
    scores: dict[str, float] | None = Field(
        default=None,
        description="The probability of every label; present where it was asked for and the task has labels.",
        examples=[{"negative": 0.02, "positive": 0.98}],
    )
    spans: list[SpanOut] | None = Field(
        default=None,
        description="Labelled pieces of the text (token-classification, intent-slots); in question-answering the best "
        "answers as pieces of the context, the best first, none where there is no answer.",
    )
    opinions: list[OpinionOut] | None = Field(default=None, description="What is said of what (aspect-opinions).")
    abstained: bool | None = Field(
        default=None, description="True where the model keeps silent below its threshold; else absent."
    )
    truncated: bool | None = Field(
        default=None,
        description="True where the input was longer than the model reads and was cut; else absent.",
    )
    depth: int | None = Field(
        default=None, description="Passes that the answer took, where the server answers below the full depth."
    )


class PredictResponse(Answer):
    """One prediction an input, in their order."""

    model: str = Field(description="The model's name.", examples=["reviews"])
    task: str = Field(description="Its task.", examples=["text-classification"])
    predictions: list[PredictionOut] = Field(description="In the order of the inputs; one for a single input.")
    usage: Usage


class StreamedPrediction(Answer):
    """A line of a stream: the answer to one input."""

    index: int = Field(description="Which input, in the order they came, from 0.")
    prediction: PredictionOut


class StreamedError(Answer):
    """A line of a stream: an input that has no answer; those after it are answered all the same."""

    index: int = Field(description="Which input, in the order they came, from 0.")
    error: ErrorDetail


class StreamEnd(Answer):
    """The last event of server-sent events."""

    answered: int = Field(description="Inputs with a prediction.")
    failed: int = Field(description="Inputs with an error.")


class EncodeResponse(Answer):
    """One vector a text, in their order."""

    model: str = Field(description="The model's name.")
    width: int = Field(description="Numbers of a vector.", examples=[384])
    vectors: list[list[float]] = Field(description="In the order of the texts, float32.")
    usage: Usage


class SearchHit(Answer):
    """A document that was found."""

    place: int = Field(description="Which document, in the order in which the index was made, from 0.")
    text: str = Field(description="The passage of it that is nearest to the query.")
    score: float = Field(description="The cosine, -1 to 1.")
    file: str | None = Field(default=None, description="The file that it is from, where the index knows.")
    line: int | None = Field(default=None, description="The line of the file on which it starts, from 1.")


class SearchResponse(Answer):
    """The documents nearest to every query, the nearest first."""

    model: str = Field(description="The model's name.")
    hits: list[list[SearchHit]] = Field(description="One list a query, in their order; one list for a single query.")
    usage: Usage


class ExplainResponse(Answer):
    """What the registered explainer says."""

    model: str = Field(description="The model's name.")
    explainer: str = Field(description="The explainer's name.")
    explanation: dict[str, object] = Field(description="As the explainer documents it.")
