"""The examples of every pretraining step, from the token stream, the seed and the step alone.

Shapes: K slots, N texts, S tokens of all texts one after another, M masked tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from albertine.batching.masking import MaskedTokens, MaskingChoices, TokenFacts, mask_batch
from albertine.batching.pretraining_batch import ExampleCounts, PretrainingBatch
from albertine.batching.sentence_pairs import (
    UNLABELLED,
    PairObjective,
    Segments,
    choose_pair,
    divided,
    exchanged,
    swapped,
    trimmed,
)
from albertine.batching.slots import SlotOrder, Texts, texts_of_slots
from albertine.batching.step_plan import Phase, StepPlan
from albertine.batching.token_stream import TokenStream
from albertine.errors import ConfigError
from albertine.records import Batch
from albertine.tokenization.pieces import ragged_arange

__all__ = ["CorpusCounts", "ExampleChoices", "PretrainingBatches"]

BoolArray = npt.NDArray[np.bool_]
Int64Array = npt.NDArray[np.int64]

# What random numbers are drawn for, the second number of every key.
_ORDER, _STEP, _HELD_OUT = 0, 1, 2
_SHORTEST_TARGET = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleChoices:
    """Everything that decides the examples of a run, but for the corpus and the number of steps."""

    pair: PairObjective = "sop"
    """What a second segment is for; see `choose_pair`."""
    masking: MaskingChoices = field(default_factory=MaskingChoices)
    phases: tuple[Phase, ...] = (Phase(length=128, share=0.9), Phase(length=512, share=0.1))
    """Lengths of rows, in their order."""
    tokens_per_step: int = 16_384
    """Tokens of an optimizer step, counted in full rows; the real number differs a little from step to step."""
    first_tokens_per_step: int | None = None
    """Tokens of the first step where the batch grows; None where it does not."""
    ramp: float = 0.0
    """Share of the steps in which the batch grows."""
    short_share: float = 0.1
    """Share of the slots that are cut into shorter texts, so that the model meets them too."""
    seed: int = 0
    """Of everything random."""

    def __post_init__(self) -> None:
        if not self.phases:
            raise ConfigError("a run needs a phase", where="phases", received="none", allowed="1 or more")
        if not 0.0 <= self.short_share <= 1.0:
            raise ConfigError("share out of range", where="short_share", received=self.short_share, allowed="0 to 1")
        if self.seed < 0:
            raise ConfigError("value out of range", where="seed", received=self.seed, allowed="0 or more")
        if (self.first_tokens_per_step is None) != (self.ramp == 0.0):
            raise ConfigError(
                "a batch that grows needs both its first size and the share of steps in which it does",
                where="first_tokens_per_step and ramp",
                received=f"{self.first_tokens_per_step} and {self.ramp:g}",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusCounts:
    """What an epoch has."""

    tokens: int
    """Tokens that examples are made of."""
    documents: int
    """Documents that examples are made of."""
    skipped_documents: int
    """Documents of one sentence, skipped as no pair can be made of them; 0 without a pair objective."""
    skipped_tokens: int
    """Tokens of those."""
    slots_per_epoch: tuple[int, ...]
    """For every phase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """The tokens of some texts, one text behind the other, before any framing."""

    ids: Int64Array
    words: BoolArray
    sentence_starts: Int64Array
    """[sentences + 1]."""


class PretrainingBatches:
    """Makes the batch of any step; what it gives is a function of its arguments and the step alone.

    So a run can be resumed anywhere, on any number of processes and micro-batches, and meets the examples it would have
    met; epochs differ in where texts begin, in their pairs and in their masks. An object keeps no state and may be used
    from several threads.

    An epoch is every sentence of the corpus once: the stream is cut into slots of about a row's length (see
    `SlotOrder`), slots into texts at the borders of documents, texts of two sentences or more into two segments. For
    sop and nsp, documents of one sentence are skipped; other texts of one sentence, at the ends of documents and out of
    long sentences, are used for masked words alone and have no pair label.

    Args:
        stream: the tokens.
        facts: of the vocabulary they are of.
        choices: everything else.
        total_steps: of the run; lengths, the batch's growth and the share of masks go by it. More steps may be asked
            for, and are like the last one.

    Raises:
        ConfigError: a value out of range.
        DataError: no example can be made of the corpus, or no pair where a pair objective was chosen.
    """

    def __init__(self, stream: TokenStream, facts: TokenFacts, choices: ExampleChoices, *, total_steps: int) -> None:
        self.stream = stream
        self.facts = facts
        self.choices = choices
        self.plan = StepPlan(
            choices.phases,
            tokens_per_step=choices.tokens_per_step,
            first_tokens_per_step=choices.first_tokens_per_step,
            ramp=choices.ramp,
            total_steps=total_steps,
        )
        self._pairs = choices.pair != "none"
        found = choose_pair(stream, choices.pair)
        self._orders = [
            SlotOrder(stream.num_tokens, self._width(phase.length), (choices.seed, _ORDER, number))
            for number, phase in enumerate(choices.phases)
        ]
        skipped = found.single_sentence_documents if self._pairs else 0
        skipped_tokens = found.single_sentence_tokens if self._pairs else 0
        self.counts = CorpusCounts(
            tokens=stream.num_tokens - skipped_tokens,
            documents=found.documents - skipped,
            skipped_documents=skipped,
            skipped_tokens=skipped_tokens,
            slots_per_epoch=tuple(order.slots_per_epoch for order in self._orders),
        )

    def batch(self, step: int) -> PretrainingBatch:
        """Make the batch of step `step`, counted from 0.

        Raises:
            ConfigError: a step below 0.
        """
        slots = self.plan.at(step)
        order = self._orders[slots.phase]
        share = self.choices.masking.share.at(self.plan.progress(step))
        first = slots.first
        while True:
            generator = np.random.default_rng([self.choices.seed, _STEP, step])
            windows = order.window_starts(first, slots.count)
            made = self._made(windows, slots.length, self.choices.short_share, share, generator)
            if made is not None:
                return made
            # All slots of the step lie inside of long sentences or in skipped documents: a tiny batch. Take the next.
            first += slots.count

    def held_out(self, count: int, *, tokens: int = 16_384, length: int | None = None) -> list[PretrainingBatch]:
        """Make batches to evaluate with: always the same ones, whatever the run's seed.

        They are not cut into shorter texts, and the share of masks is that at the end of the schedule.

        Args:
            count: how many; fewer come back where the stream ends before.
            tokens: of a batch, counted in full rows.
            length: of the rows; None for that of the first phase.
        """
        length = self.choices.phases[0].length if length is None else length
        width = self._width(length)
        order = SlotOrder(self.stream.num_tokens, width, (0, _HELD_OUT))
        each = max(1, tokens // length)
        batches: list[PretrainingBatch] = []
        for first in range(0, order.slots_per_epoch, each):
            if len(batches) == count:
                break
            windows = order.window_starts(first, min(each, order.slots_per_epoch - first))
            generator = np.random.default_rng([0, _HELD_OUT, first])
            made = self._made(windows, length, 0.0, self.choices.masking.share.at(1.0), generator)
            if made is not None:
                batches.append(made)
        return batches

    def _width(self, length: int) -> int:
        """Return the tokens of text in a full row."""
        return length - (3 if self._pairs else 2)

    def _made(
        self, windows: Int64Array, length: int, short_share: float, share: float, generator: np.random.Generator
    ) -> PretrainingBatch | None:
        """Make a batch of the slots at `windows`; None where they hold nothing to learn from."""
        width = self._width(length)
        short = generator.random(len(windows)) < short_share
        targets = np.where(short, generator.integers(_SHORTEST_TARGET, width, size=len(windows)), 0)
        texts = texts_of_slots(self.stream, windows, width, targets=targets, skip_single=self._pairs)
        if not len(texts):
            return None
        content = _read(self.stream, texts)
        segments = divided(content.sentence_starts, texts.num_sentences, pairs=self._pairs, generator=generator)
        if self.choices.pair == "sop":
            segments = swapped(segments, generator)
        elif self.choices.pair == "nsp":
            segments = exchanged(segments, texts.document, generator)
        kept = trimmed(segments, length - np.where(segments.second_length > 0, 3, 2), content.words, generator)
        framed = _framed(content, kept, self.facts)
        masked = mask_batch(
            framed.ids,
            sequence_starts=framed.starts,
            word_starts=framed.words,
            facts=self.facts,
            choices=self.choices.masking,
            share=share,
            generator=generator,
        )
        counts = ExampleCounts(
            slots=len(windows),
            short_slots=int(short.sum()),
            texts=len(texts),
            tokens=len(framed.ids),
            masked=len(masked.positions),
            trimmed=int(segments.lengths.sum() - kept.lengths.sum()),
            unlabelled=int((kept.labels == UNLABELLED).sum()) if self._pairs else 0,
        )
        return _batch(framed, masked, kept.labels if self._pairs else None, counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Framed:
    """Texts as the model sees them, before masking."""

    ids: Int64Array
    """[S]."""
    types: Int64Array
    """[S] 0 up to the first [SEP], 1 behind it."""
    words: BoolArray
    """[S] True where a token begins a word."""
    starts: Int64Array
    """[N+1]."""


def _read(stream: TokenStream, texts: Texts) -> _Content:
    """Fetch the tokens of the texts."""
    last = texts.first_sentence + texts.num_sentences
    starts = stream.sentence_starts
    ranges = list(zip(starts[texts.first_sentence].tolist(), starts[last].tolist(), strict=True))
    sentences = ragged_arange(texts.first_sentence, texts.num_sentences)
    lengths = starts[sentences + 1] - starts[sentences]
    return _Content(
        ids=np.concatenate([stream.tokens(start, stop) for start, stop in ranges]).astype(np.int64, copy=False),
        words=np.concatenate([stream.word_starts(start, stop) for start, stop in ranges]),
        sentence_starts=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
    )


def _framed(content: _Content, segments: Segments, facts: TokenFacts) -> _Framed:
    """Put [CLS] A [SEP] B [SEP], or [CLS] A [SEP], one behind the other."""
    first, second = segments.first_length, segments.second_length
    has_second = second > 0
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(first + second + 2 + has_second)])
    begin, middle = starts[:-1], starts[:-1] + first + 1
    ids = np.empty(starts[-1], dtype=np.int64)
    words = np.ones(starts[-1], dtype=np.bool_)
    types = np.zeros(starts[-1], dtype=np.int64)
    ids[begin] = facts.cls_id
    ids[middle] = facts.sep_id
    ids[starts[1:] - 1] = facts.sep_id
    types[ragged_arange(middle + 1, second + has_second)] = 1
    for source, length, target in (
        (segments.first_start, first, begin + 1),
        (segments.second_start, second, middle + 1),
    ):
        taken, placed = ragged_arange(source, length), ragged_arange(target, length)
        ids[placed] = content.ids[taken]
        words[placed] = content.words[taken]
    return _Framed(ids=ids, types=types, words=words, starts=starts)


def _batch(framed: _Framed, masked: MaskedTokens, labels: Int64Array | None, counts: ExampleCounts) -> PretrainingBatch:
    return PretrainingBatch(
        batch=Batch(
            input_ids=torch.from_numpy(masked.input_ids),
            token_type_ids=torch.from_numpy(framed.types),
            sequence_starts=torch.from_numpy(framed.starts),
        ),
        positions=torch.from_numpy(masked.positions),
        targets=torch.from_numpy(masked.targets),
        pair_labels=None if labels is None else torch.from_numpy(labels),
        counts=counts,
    )
