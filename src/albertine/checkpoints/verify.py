"""Two models run on the same texts, and how far they are apart in everything that both compute."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from albertine.batching.packing import padded, token_budget_batches
from albertine.checkpoints.load import open_state
from albertine.checkpoints.state import ModelState
from albertine.checkpoints.verification import OutputComparison, Verification, WeightComparison
from albertine.checkpoints.verification_facts import LabelOrder, compare_facts, compare_labels
from albertine.checkpoints.verification_inputs import VerificationInputs, verification_inputs
from albertine.errors import ConfigError
from albertine.models.heads import PretrainingModel
from albertine.models.pooling import SentencePooler
from albertine.records import Batch
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["DEFAULT_TOLERANCE", "compare_states", "verify"]

DEFAULT_TOLERANCE = 1e-4
"""Where float32 sums taken in another order stay, and another GELU (1e-3) or LayerNorm epsilon (7e-4) shows."""

_TOKENS_AT_ONCE = 1024
"""Padded tokens of a batch: what bounds hidden states and attention scores."""
_WORDS_AT_ONCE = 128
"""Tokens whose masked-word logits are there at a time: 60 MB a side for the largest vocabularies."""
_ROWS_AT_ONCE = 4096
"""Words whose embeddings are there at a time."""

_POOLING = "pooling."


def verify(
    a: str | Path,
    b: str | Path,
    *,
    texts: Sequence[str | tuple[str, str]] | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    allow_pickle: bool = False,
) -> Verification:
    """Open two models and compare what they compute, in float32 on the CPU by the padded reference path.

    Compared are the embeddings of every word, position and segment, all hidden states, the pooled vector, the logits
    of every head, sentence vectors, and the key biases, which no output shows. Both models are in memory at once.

    Args:
        a: a model folder, or anything else that `load_encoder` opens.
        b: what it is compared with.
        texts: texts and pairs of texts; None for a handful of Chinese and English ones of odd lengths, one of them
            as long as both models allow. Each side's own tokenizer cuts them, and the ids must agree; where one has no
            tokenizer, random ids take the texts' place, and the notes say so.
        tolerance: the largest absolute difference that counts as equal.
        allow_pickle: read weights that are pickles, with a loader that runs nothing.

    Raises:
        ConfigError: no texts, or a tolerance that is no number ≥ 0; no such folder or name.
        CheckpointError: a model cannot be opened.
        TokenizerError: the tokenizer's files are wrong, or do not fit the model.
        DataError: a text is not a string, or a pair does not hold two.
    """
    first, second = open_state(a, allow_pickle=allow_pickle), open_state(b, allow_pickle=allow_pickle)
    return compare_states(
        first.state,
        second.state,
        tokenizers=(first.tokenizer, second.tokenizer),
        texts=texts,
        tolerance=tolerance,
        names=(str(a), str(b)),
    )


def compare_states(
    a: ModelState,
    b: ModelState,
    *,
    tokenizers: tuple[Tokenizer | None, Tokenizer | None] = (None, None),
    texts: Sequence[str | tuple[str, str]] | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    names: tuple[str, str] = ("a", "b"),
) -> Verification:
    """Do what `verify` does with two models in memory.

    Args:
        a: the first.
        b: the second.
        tokenizers: theirs, None for a model without one.
        texts: as in `verify`.
        tolerance: as in `verify`.
        names: what the report calls them.

    Raises:
        ConfigError: no texts, or a tolerance that is no number ≥ 0.
        DataError: a text is not a string, or a pair does not hold two.
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ConfigError("not a tolerance", where="tolerance", received=tolerance, allowed="a number, 0 or more")
    inputs = verification_inputs(a.config, b.config, tokenizers, texts)
    labels = compare_labels(a, b)
    meters = _Meters()
    with torch.inference_mode():
        sides = _Side(a), _Side(b)
        _measure_embeddings(sides, meters)
        for batch in _batches(inputs):
            _measure_batch(sides, batch, labels, meters)
        _measure_key_biases(a, b, meters)
        weights = _compare_weights(a.tensors, b.tensors)
    return Verification(
        a=names[0],
        b=names[1],
        tolerance=tolerance,
        inputs=inputs.description,
        outputs=tuple(meter.result(name, tolerance) for name, meter in meters.by_name.items())
        + labels.rows
        + compare_facts(a, b, tokenizers),
        weights=weights,
        tokenizer_difference=inputs.tokenizer_difference,
        notes=(*inputs.notes, *labels.notes, *_configuration_notes(a, b)),
    )


class _Side:
    """One of the two models, in float32 on the CPU, ready to run."""

    def __init__(self, state: ModelState) -> None:
        self.state = state
        parts = {name.partition(".")[0] for name in state.tensors}
        with torch.device("meta"):  # weights that are float32 already are used where they lie
            self.model = PretrainingModel(
                state.config, masked_word="masked_word_head" in parts, pair="pair_head" in parts
            )
        own = self.model.state_dict().keys()
        self.model.load_state_dict({name: state.tensors[name].float() for name in own}, assign=True)
        self.model.eval()
        self.pooler = None if state.pooling is None else self._sentence_pooler()

    def _sentence_pooler(self) -> SentencePooler:
        assert self.state.pooling is not None
        pooler = SentencePooler(self.state.pooling, self.state.config.hidden_size)
        pooler.load_state_dict({name: self.state.tensors[_POOLING + name].float() for name in pooler.state_dict()})
        return pooler.eval()

    def run(self, batch: Batch) -> _Outputs:
        """Run the encoder; the heads follow from what it gives."""
        encoded = self.model.encoder(
            batch.input_ids,
            attention_mask=batch.attention_mask,
            token_type_ids=batch.token_type_ids,
            output_hidden_states=True,
        )
        assert batch.attention_mask is not None
        assert encoded.hidden_states is not None
        real = batch.attention_mask.bool()
        tokens = encoded.last_hidden_state[real]
        named: dict[str, Tensor] = {"last_hidden_state": tokens}
        if encoded.pooler_output is not None:
            named["pooler_output"] = encoded.pooler_output
            if self.model.pair_head is not None:
                named["pair_logits"] = self.model.pair_head(encoded.pooler_output)
        head = self.state.head
        if head is not None:
            entering = encoded.pooler_output if head.task == "text-classification" else tokens
            weight, bias = (self.state.tensors[f"{head.module}.{part}"].float() for part in ("weight", "bias"))
            if entering is not None:
                named[_logits_name(head.task)] = F.linear(entering, weight, bias)
        if self.pooler is not None:
            named["sentence_vectors"] = self.pooler(encoded.last_hidden_state, attention_mask=batch.attention_mask)
        return _Outputs(named=named, hidden_states=tuple(state[real] for state in encoded.hidden_states), tokens=tokens)

    def word_logits(self, tokens: Tensor) -> Tensor | None:
        """Return [M, V] logits of the masked-word head for the states [M, H] of tokens."""
        if self.model.masked_word_head is None:
            return None
        logits: Tensor = self.model.masked_word_head(tokens, self.model.encoder.embeddings)
        return logits


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outputs:
    """What a side makes of a batch, real tokens only."""

    named: Mapping[str, Tensor]
    hidden_states: tuple[Tensor, ...]
    tokens: Tensor
    """[S, H] the last states."""


@dataclass(slots=True, kw_only=True)
class _Meter:
    """The largest difference met so far in one output."""

    sides: set[str] = field(default_factory=set)
    largest: float = 0.0
    place: str = ""
    scale: float = 0.0
    finite: bool = True
    mismatch: str = ""

    def add(self, a: Tensor | None, b: Tensor | None, place: str) -> None:
        for side, tensor in (("a", a), ("b", b)):
            if tensor is not None and tensor.numel():
                self.sides.add(side)
                magnitude = float(tensor.abs().max())
                self.finite = self.finite and math.isfinite(magnitude)
                self.scale = max(self.scale, magnitude)
        if a is None or b is None:
            return
        if a.shape[1:] != b.shape[1:]:
            self.mismatch = f"{a.shape[-1]} wide in a, {b.shape[-1]} in b"
        elif self.finite and a.numel():
            difference = float((a - b).abs().max())
            if difference > self.largest:
                self.largest, self.place = difference, place

    def result(self, name: str, tolerance: float) -> OutputComparison:
        both = len(self.sides) == 2
        comparable = both and self.finite and not self.mismatch
        # Outputs far smaller than the tolerance would be equal whatever they are; a tenth of their size is too much.
        limit = min(tolerance, self.scale / 10) if self.scale else tolerance
        return OutputComparison(
            name=name,
            sides="both" if both else "a" if "a" in self.sides else "b",
            largest=self.largest if comparable else None,
            scale=self.scale if self.finite else None,
            within=self.finite and not self.mismatch and (not both or self.largest <= limit),
            detail=self.mismatch or ("values that are not finite" if not self.finite else self.place),
        )


class _Meters:
    """A meter for every output, in the order in which outputs come up."""

    def __init__(self) -> None:
        self.by_name: dict[str, _Meter] = {}

    def add(self, name: str, a: Tensor | None, b: Tensor | None, place: str = "") -> None:
        if a is not None or b is not None:
            self.by_name.setdefault(name, _Meter()).add(a, b, place)

    def mismatch(self, name: str, what: str) -> None:
        self.by_name.setdefault(name, _Meter(sides={"a", "b"})).mismatch = what


def _batches(inputs: VerificationInputs) -> Iterator[Batch]:
    lengths = [len(row) for row in inputs.rows]
    for group in token_budget_batches(lengths, _TOKENS_AT_ONCE):
        yield padded([inputs.rows[index] for index in group.tolist()], pad_id=0)


def _measure_embeddings(sides: tuple[_Side, _Side], meters: _Meters) -> None:
    """Compare the stack's input for every word, every position and every segment, most of which no text reaches."""
    configs = [side.state.config for side in sides]
    words = min(config.vocab_size for config in configs)
    reach = min(config.max_position_embeddings for config in configs)
    segments = max(1, min(config.type_vocab_size for config in configs))
    total = max(words, reach, segments)
    for first in range(0, total, _ROWS_AT_ONCE):
        index = torch.arange(first, min(total, first + _ROWS_AT_ONCE))
        a, b = (
            side.model.encoder.embeddings(index % words, position_ids=index % reach, token_type_ids=index % segments)
            for side in sides
        )
        meters.add("embeddings", a, b)


def _measure_batch(sides: tuple[_Side, _Side], batch: Batch, labels: LabelOrder, meters: _Meters) -> None:
    a, b = (side.run(batch) for side in sides)
    if len(a.hidden_states) != len(b.hidden_states):
        meters.mismatch("hidden_states", f"{len(a.hidden_states)} in a, {len(b.hidden_states)} in b")
    for index, (one, other) in enumerate(zip(a.hidden_states, b.hidden_states, strict=False)):
        meters.add("hidden_states", one, other, f"pass {index}" if index else "embeddings")
    for name in dict.fromkeys((*a.named, *b.named)):
        ours, theirs = a.named.get(name), b.named.get(name)
        if labels.order is not None and theirs is not None and name.endswith(" logits"):
            theirs = theirs[:, list(labels.order)]
        meters.add(name, ours, theirs)
    for first in range(0, a.tokens.shape[0], _WORDS_AT_ONCE):
        part = slice(first, first + _WORDS_AT_ONCE)
        meters.add("prediction_logits", sides[0].word_logits(a.tokens[part]), sides[1].word_logits(b.tokens[part]))


def _measure_key_biases(a: ModelState, b: ModelState, meters: _Meters) -> None:
    """Compare the keys' biases pass by pass: they move all scores of a query alike, so that no output shows them."""
    for index in range(min(a.config.num_passes, b.config.num_passes)):
        one, other = (
            state.tensors[f"encoder.attention_blocks.{state.config.blocks_of_pass(index).attention}.key.bias"].float()
            for state in (a, b)
        )
        meters.add("key_biases", one[None], other[None], f"pass {index + 1}")


def _compare_weights(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> WeightComparison:
    common = [name for name in a if name in b]
    comparable = [name for name in common if a[name].shape == b[name].shape]
    different = tuple(name for name in comparable if not _same_numbers(a[name], b[name]))
    return WeightComparison(
        equal=len(comparable) - len(different),
        different=different,
        other_shape=tuple(name for name in common if a[name].shape != b[name].shape),
        only_in_a=tuple(name for name in a if name not in b),
        only_in_b=tuple(name for name in b if name not in a),
    )


def _same_numbers(a: Tensor, b: Tensor) -> bool:
    """Compare bits where the types agree, numbers where they do not."""
    if a.dtype != b.dtype:
        wider = torch.promote_types(a.dtype, b.dtype)
        return torch.equal(a.to(wider), b.to(wider))
    return torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))


def _configuration_notes(a: ModelState, b: ModelState) -> tuple[str, ...]:
    """Name the fields in which the configurations differ."""
    first, second = dataclasses.asdict(a.config), dataclasses.asdict(b.config)
    changed = [f"{name} {first[name]} and {second[name]}" for name in first if first[name] != second[name]]
    return (f"the configurations differ: {', '.join(changed)}",) if changed else ()


def _logits_name(task: str) -> str:
    return f"{task} logits"
