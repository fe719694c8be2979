"""An exported graph held against the model it was made of: on texts, number by number and answer by answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from albertine.batching.packing import padded
from albertine.errors import ConfigError
from albertine.inference.engine import Engine
from albertine.inference.export.running import ExportedModule, Runner, exported_runner
from albertine.inference.export.samples import sample_texts
from albertine.inference.export.subject import Subject
from albertine.inference.inputs import Input, examples_of
from albertine.inference.model import Model
from albertine.records import Batch, Encoded, Example, Prediction
from albertine.tasks.task import FloatArray

__all__ = ["ChangedAnswer", "ExportVerification", "OutputDifference", "verify_export"]

_TOKENS_AT_ONCE = 1024
"""Padded tokens of a batch, which bound what is in memory: scores of words are 120 MB a side for large vocabularies."""
_ROWS_AT_ONCE = (1, 7)
"""The first text runs alone, the others in sevens, of odd lengths and so with padding."""
_RANDOM_LENGTHS = (1, 2, 3, 7, 18, 45)
_SEED = 20190926
_SHOWN = 5
"""Changed answers that are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputDifference:
    """How far graph and model are apart in one output, over all real tokens or texts."""

    name: str
    largest: float
    """The largest absolute difference; NaN where the graph gives something that is not a finite number."""
    scale: float
    """The largest magnitude that the model gives."""

    @property
    def relative(self) -> float:
        """Return the difference as a share of the scale."""
        return self.largest / self.scale if self.scale else self.largest

    def to_dict(self) -> dict[str, object]:
        """Return every field and the share, ready for JSON."""
        shown = [None if math.isnan(value) else value for value in (self.largest, self.relative)]
        return {"name": self.name, "largest": shown[0], "scale": self.scale, "relative": shown[1]}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedAnswer:
    """A text that the graph answers otherwise."""

    text: str
    before: str
    """The model's answer."""
    after: str
    """The graph's."""

    def to_dict(self) -> dict[str, object]:
        """Return every field, ready for JSON."""
        return {"text": self.text, "before": self.before, "after": self.after}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportVerification:
    """What a comparison found."""

    inputs: str
    """On what both were run."""
    outputs: tuple[OutputDifference, ...]
    answers: int | None
    """Texts that both answered; None for what gives no labels or spans."""
    changed: tuple[ChangedAnswer, ...]
    """Those whose labels, spans or words differ."""
    bound: float | None
    """The largest share of the scale that a difference may be; None where nothing but finite numbers is asked for."""

    def failures(self) -> list[str]:
        """Say which outputs are further apart than is allowed."""
        return [
            f"{one.name}: {'values that are not finite' if math.isnan(one.largest) else f'{one.relative:.2g} apart'}"
            for one in self.outputs
            if math.isnan(one.largest) or (self.bound is not None and one.relative > self.bound)
        ]

    def summary(self) -> dict[str, object]:
        """Return the numbers, ready for JSON: what may be given away with a model, without anybody's texts."""
        return {
            "inputs": self.inputs,
            "bound": self.bound,
            "outputs": [one.to_dict() for one in self.outputs],
            "answers": self.answers,
            "changed": None if self.answers is None else len(self.changed),
        }

    def to_dict(self) -> dict[str, object]:
        """Return the numbers and every changed answer, ready for JSON."""
        return {**self.summary(), "changed_answers": [one.to_dict() for one in self.changed]}

    def lines(self) -> list[str]:
        """Return the lines for a terminal."""
        found = [f"held against the model on {self.inputs}:"]
        for one in self.outputs:
            found.append(f"  {one.name}: {one.largest:.2g} apart at most, {one.relative:.2g} of its scale")
        if self.answers is not None:
            found.append(f"  answers that changed: {len(self.changed)} of {self.answers}")
            found += [f"    {one.text}: {one.before} -> {one.after}" for one in self.changed[:_SHOWN]]
            if len(self.changed) > _SHOWN:
                found.append(f"    … and {len(self.changed) - _SHOWN} more")
        return found


def verify_export(
    subject: Subject, folder: Path, *, texts: Sequence[Input] | None = None, bound: float | None = None
) -> ExportVerification:
    """Run a model and the graph that was made of it.

    The numbers are compared on padded batches with the module itself, in float32; the answers are those of
    `Model.predict` and of the same engine with the graph in the module's place.

    Args:
        subject: the model.
        folder: what was exported.
        texts: texts, or pairs where the model reads pairs; None for the built-in ones. A model without a tokenizer is
            run on random ids.
        bound: see `ExportVerification`.

    Raises:
        ConfigError: no texts.
        DataError: texts that the model does not read.
    """
    if texts is not None and not texts:
        raise ConfigError("there are no texts to compare on", where="texts", allowed="at least one, or None")
    runner = exported_runner(folder)
    model = subject.model
    given = list(texts) if texts is not None else _samples(subject)
    rows, described = _rows(subject, given)
    meters = {one.name: _Meter() for one in subject.head.outputs}
    with torch.inference_mode():
        for batch in _batches(rows):
            _measure(subject, runner, batch, meters)
    answered = None if model is None else _answers(subject, model, runner, examples_of(given))
    return ExportVerification(
        inputs=described,
        outputs=tuple(
            OutputDifference(name=name, largest=one.largest, scale=one.scale) for name, one in meters.items()
        ),
        answers=None if answered is None else len(given),
        changed=answered or (),
        bound=bound,
    )


def _samples(subject: Subject) -> list[Input]:
    pairs = bool(subject.model is not None and subject.model.task_config.pairs)
    found = sample_texts(pairs=pairs, longest=subject.max_length)
    if subject.model is None and subject.config.type_vocab_size != 1:
        found += sample_texts(pairs=True, longest=subject.max_length)[:7]
    return found


def _rows(subject: Subject, given: Sequence[Input]) -> tuple[list[Encoded], str]:
    """Return texts as the model reads them, cut to its length, and say what they are."""
    if subject.tokenizer is None:
        rows = _random_rows(subject.config.vocab_size, subject.config.type_vocab_size, subject.max_length)
        return rows, f"{len(rows)} rows of random ids"
    both = [(one, None) if isinstance(one, str) else one for one in given]
    tokens = subject.tokenizer.tokenize(
        [first for first, _ in both], [second for _, second in both], max_length=subject.max_length, offsets=False
    )
    lengths = tokens.lengths
    return list(tokens.rows()), f"{len(given)} texts of {int(lengths.min())} to {int(lengths.max())} tokens"


def _random_rows(words: int, segments: int, longest: int) -> list[Encoded]:
    generator = np.random.default_rng(_SEED)
    found = []
    for length in (*(one for one in _RANDOM_LENGTHS if one < longest), longest):
        types = (np.arange(length) >= generator.integers(1, length + 1)) & (segments > 1)
        ids = generator.integers(0, words, size=length, dtype=np.int32)
        found.append(Encoded(input_ids=ids, token_type_ids=types.astype(np.uint8)))
    return found


def _batches(rows: Sequence[Encoded]) -> Iterator[Batch]:
    """Yield padded batches, in the order of the rows."""
    first, limit = 0, _ROWS_AT_ONCE[0]
    while first < len(rows):
        end = first + 1
        while end - first < limit and end < len(rows):
            if (end + 1 - first) * max(len(one) for one in rows[first : end + 1]) > _TOKENS_AT_ONCE:
                break
            end += 1
        yield padded(rows[first:end], pad_id=0)
        first, limit = end, _ROWS_AT_ONCE[1]


@dataclass(slots=True)
class _Meter:
    """The largest difference met so far, and the largest magnitude."""

    largest: float = 0.0
    scale: float = 0.0

    def add(self, ours: FloatArray, theirs: FloatArray) -> None:
        self.scale = max(self.scale, float(np.abs(ours).max()))
        difference = float(np.abs(theirs - ours).max())
        lost = math.isnan(self.largest) or not math.isfinite(difference)
        self.largest = math.nan if lost else max(self.largest, difference)


def _measure(subject: Subject, runner: Runner, batch: Batch, meters: dict[str, _Meter]) -> None:
    assert batch.attention_mask is not None, "a padded batch has a mask"
    real = batch.attention_mask.bool().numpy()
    named, found = subject.head.named(subject.run(batch)), runner(batch)
    for one in subject.head.outputs:
        ours, theirs = named[one.name].float().numpy(), found[one.name]
        assert ours.shape == theirs.shape, "a graph gives what its model does"
        meters[one.name].add(*((ours[real], theirs[real]) if one.per_token else (ours, theirs)))


def _answers(
    subject: Subject, model: Model, runner: Runner, examples: Sequence[Example]
) -> tuple[ChangedAnswer, ...] | None:
    """Return the examples that the graph answers otherwise; None where answers are numbers."""
    assert model.tokenizer is not None, "a model with an encoder reads ids"
    before = model.predict_examples(examples)
    if all(_said(one) is None for one in before):
        return None
    engine = Engine(ExportedModule(runner, subject.head), model.tokenizer, model.task, model.task_config)
    after = model.task.decode(engine.reported_answers(examples), examples, model.task_config)
    return tuple(
        ChangedAnswer(text=_shown(example), before=str(_said(one)), after=str(_said(other)))
        for example, one, other in zip(examples, before, after, strict=True)
        if one.answer != other.answer
    )


def _said(prediction: Prediction) -> str | None:
    """Return an answer without its scores, in words; None for one that is a number."""
    if prediction.value is not None:
        return None
    parts = [] if prediction.label is None else [prediction.label]
    parts += prediction.labels or ()
    if prediction.text is not None:  # the best answer; those behind it are no answers
        return f"{prediction.text!r}"
    parts += [f"{one.label} {one.text!r} ({one.start}–{one.end})" for one in prediction.spans]
    return (", ".join(parts) or "nothing") + (", kept silent" if prediction.abstained else "")


def _shown(example: Example) -> str:
    text = " | ".join(part for part in (example.text, example.text_pair) if part is not None)
    return text if len(text) <= 60 else f"{text[:60]}…"
