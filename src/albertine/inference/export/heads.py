"""What stands on an encoder: the nodes of every head, and what a module and a graph call the same outputs.

B texts, T positions of a row, H hidden width, C classes, L tags, V vocabulary, W width of a vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from albertine.inference.export.encoder_graph import EncoderGraph
from albertine.inference.export.graph import Value
from albertine.inference.export.pooling_graph import sentence_vectors
from albertine.inference.export.products import FloatProducts
from albertine.models.config import EncoderConfig
from albertine.models.crf import Chain
from albertine.models.pooling import SentencePooling
from albertine.tasks.intent_slots_module import FrameScores
from albertine.tasks.tagger import TagScores

__all__ = [
    "ClassifierHead",
    "Head",
    "IntentSlotsHead",
    "Output",
    "SpanHead",
    "StatesHead",
    "TaggerHead",
    "VectorHead",
]

_FLOAT = FloatProducts()
"""Of the last layer of a task: a few thousand numbers, of which the answer is made, and nothing to be gained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One of the things that a graph gives out, float32."""

    name: str
    axes: tuple[str | int, ...]
    """Its shape: `batch`, `length`, and numbers."""
    meaning: str
    """In a sentence."""

    @property
    def per_token(self) -> bool:
        """Whether it says something of every token; what it says at hidden positions means nothing."""
        return "length" in self.axes

    def to_dict(self) -> dict[str, object]:
        """Return every field, ready for JSON."""
        return {"name": self.name, "axes": list(self.axes), "meaning": self.meaning}


class Head(ABC):
    """What a module computes beyond its encoder."""

    outputs: tuple[Output, ...]
    """In the order in which the graph gives them."""

    @abstractmethod
    def nodes(self, encoder: EncoderGraph) -> dict[str, Value]:
        """Add encoder and head to the graph, and return what every output is."""

    @abstractmethod
    def named(self, returned: Any) -> dict[str, Tensor]:
        """Take apart what the module returned for a padded batch, by the names of the outputs."""

    def returned(self, named: Mapping[str, Tensor]) -> Any:
        """Put together what the task's module returns from the outputs of a graph; those of tokens are [S, …]."""
        return named[self.outputs[0].name]


class ClassifierHead(Head):
    """A linear layer over the pooled vector: `Classifier`.

    Args:
        classes: C.
        meaning: of the output.
    """

    def __init__(self, classes: int, meaning: str) -> None:
        self.outputs = (Output(name="logits", axes=("batch", classes), meaning=meaning),)

    def nodes(self, encoder: EncoderGraph) -> dict[str, Value]:
        """See `Head`."""
        pooled = encoder.pooled(encoder.states(first_only=True))
        return {"logits": _head_layer(encoder, pooled, "classifier")}

    def named(self, returned: Any) -> dict[str, Tensor]:
        """See `Head`."""
        return {"logits": returned}


class TaggerHead(Head):
    """A linear layer over every token: `Tagger`, with or without a chain above it.

    Args:
        tags: L.
        chain: what transitions score; None without a CRF.
    """

    def __init__(self, tags: int, chain: Chain[Tensor] | None) -> None:
        self.chain = chain
        meaning = (
            "A score for every tag of every token, in the order of tags.json; take the logarithm of their "
            "softmax and search for the best sequence that its transitions allow."
        )
        self.outputs = (Output(name="logits", axes=("batch", "length", tags), meaning=meaning),)

    def nodes(self, encoder: EncoderGraph) -> dict[str, Value]:
        """See `Head`."""
        return {"logits": _head_layer(encoder, encoder.states(), "classifier")}

    def named(self, returned: Any) -> dict[str, Tensor]:
        """See `Head`."""
        return {"logits": returned.emissions}

    def returned(self, named: Mapping[str, Tensor]) -> Any:
        """See `Head`."""
        return TagScores(named["logits"], self.chain)


class IntentSlotsHead(Head):
    """A linear layer over the pooled vector and one over every token: `IntentSlotTagger`.

    Args:
        intents: C.
        slots: of the tags.
    """

    def __init__(self, intents: int, slots: TaggerHead) -> None:
        self._slots = slots
        tags = slots.outputs[0]
        meaning = "A score for every intent, in the order of task.json's labels; divide by its temperature first."
        self.outputs = (
            Output(name="intent_logits", axes=("batch", intents), meaning=meaning),
            Output(name="slot_logits", axes=tags.axes, meaning=tags.meaning),
        )

    def nodes(self, encoder: EncoderGraph) -> dict[str, Value]:
        """See `Head`."""
        states = encoder.states()
        return {
            "intent_logits": _head_layer(encoder, encoder.pooled(states), "intents"),
            "slot_logits": _head_layer(encoder, states, "classifier"),
        }

    def named(self, returned: Any) -> dict[str, Tensor]:
        """See `Head`."""
        return {"intent_logits": returned.intents, "slot_logits": returned.tags.emissions}

    def returned(self, named: Mapping[str, Tensor]) -> Any:
        """See `Head`."""
        return FrameScores(named["intent_logits"], self._slots.returned({"logits": named["slot_logits"]}))


class SpanHead(Head):
    """Start and end of an answer: `SpanPredictor`."""

    def __init__(self) -> None:
        self.outputs = tuple(
            Output(
                name=f"{end}_logits",
                axes=("batch", "length"),
                meaning=f"How well an answer {verb} at every token; the first token stands for no answer.",
            )
            for end, verb in (("start", "starts"), ("end", "ends"))
        )

    def nodes(self, encoder: EncoderGraph) -> dict[str, Value]:
        """See `Head`."""
        both = _head_layer(encoder, encoder.states(), "qa_outputs")
        graph = encoder.graph
        return {
            one.name: graph.node("Gather", both, graph.integer(place), axis=-1)
            for place, one in enumerate(self.outputs)
        }

    def named(self, returned: Any) -> dict[str, Tensor]:
        """See `Head`."""
        return {one.name: returned[..., place] for place, one in enumerate(self.outputs)}

    def returned(self, named: Mapping[str, Tensor]) -> Any:
        """See `Head`."""
        return torch.stack([named[one.name] for one in self.outputs], dim=-1)


class VectorHead(Head):
    """One vector a text: a bi-encoder or an encoder of sentences.

    Args:
        pooling: how the vector is made.
        hidden_size: H.
        prefix: what the names of the dense layers' parameters begin with.
    """

    def __init__(self, pooling: SentencePooling, hidden_size: int, prefix: str) -> None:
        self.pooling = pooling
        self._prefix = prefix
        length = " of length 1" if pooling.normalize else ""
        meaning = f"The text's vector{length}; compare two by their {pooling.use.similarity}."
        self.outputs = (Output(name="sentence_vectors", axes=("batch", pooling.width(hidden_size)), meaning=meaning),)

    def nodes(self, encoder: EncoderGraph) -> dict[str, Value]:
        """See `Head`."""
        states = encoder.states(first_only=self.pooling.modes == ("cls",))
        return {"sentence_vectors": sentence_vectors(encoder, states, self.pooling, self._prefix)}

    def named(self, returned: Any) -> dict[str, Tensor]:
        """See `Head`."""
        return {"sentence_vectors": returned}


class StatesHead(Head):
    """An encoder by itself, with the heads of its pretraining where it has them: `PretrainingModel`.

    Args:
        config: of the encoder.
        words: whether the masked-word head is there.
        pair: whether the sentence-pair head is.
    """

    def __init__(self, config: EncoderConfig, *, words: bool, pair: bool) -> None:
        self._pooler, self._words, self._pair = config.add_pooler, words, pair
        width, vocabulary = config.hidden_size, config.vocab_size
        found: list[tuple[str, tuple[str | int, ...], str]] = []
        found.append(("last_hidden_state", ("batch", "length", width), "The state of every token."))
        if config.add_pooler:
            found.append(("pooler_output", ("batch", width), "The pooler's vector of every text."))
        if words:
            scores = "A score for every word of the vocabulary at every token."
            found.append(("prediction_logits", ("batch", "length", vocabulary), scores))
        if pair:
            order = "Scores for: the second text follows on the first; it does not, or the two are swapped."
            found.append(("pair_logits", ("batch", 2), order))
        self.outputs = tuple(Output(name=name, axes=axes, meaning=meaning) for name, axes, meaning in found)

    def nodes(self, encoder: EncoderGraph) -> dict[str, Value]:
        """See `Head`."""
        states = encoder.states()
        found = {"last_hidden_state": states}
        if self._pooler:
            found["pooler_output"] = encoder.pooled(states)
        if self._words:
            found["prediction_logits"] = encoder.word_scores(states, "masked_word_head")
        if self._pair:
            found["pair_logits"] = _head_layer(encoder, found["pooler_output"], "pair_head")
        return found

    def named(self, returned: Any) -> dict[str, Tensor]:
        """See `Head`."""
        found = {
            "last_hidden_state": returned.encoder.last_hidden_state,
            "pooler_output": returned.encoder.pooler_output,
            "prediction_logits": returned.prediction_logits,
            "pair_logits": returned.pair_logits,
        }
        return {one.name: found[one.name] for one in self.outputs}


def _head_layer(encoder: EncoderGraph, states: Value, name: str) -> Value:
    """Return states after the linear layer of a head, a product of float32 numbers in every file."""
    with encoder.graph.scope("head"):
        return _FLOAT.linear(encoder.graph, states, encoder.weights.linear(name))
