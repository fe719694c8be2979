"""Answers given as soon as they are certain: a text leaves the stack after the first pass whose exit is sure enough.

Texts at different depths stay in one batch where all passes run the same weights: the next text enters when one leaves,
so that the matrix products keep their size. Published methods run a text at a time instead (Zhou et al. 2020,
arXiv:2006.04152, section 5). Where every pass has weights of its own, a batch shrinks as its texts leave.

N texts that are in the stack, S tokens of all of them, H hidden width.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from albertine.batching.packing import packed
from albertine.errors import ConfigError
from albertine.inference.engine import Engine, EngineSettings
from albertine.inference.fused import FusedEncoder
from albertine.inference.precision import Precision
from albertine.models.attention import packed_layout
from albertine.models.outputs import EncoderOutput
from albertine.records import Batch, Encoded, EncodedExamples
from albertine.tasks.config import TaskConfig
from albertine.tasks.task import AnyTask
from albertine.tokenization.tokenizer import Tokenizer

__all__ = ["ExitingEngine", "Trace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What every exit says of every encoded text."""

    outputs: list[list[Any]]
    """By depth from 1, then by text: the task's raw outputs."""
    certainty: npt.NDArray[np.float32]
    """[depths, texts], from 0 to 1."""


class _Ready(nn.Module):
    """Stands in a module for its encoder and gives what was computed before."""

    output: EncoderOutput

    def forward(self, *_: object, **__: object) -> EncoderOutput:
        """Return the prepared output, whatever is asked."""
        return self.output


@dataclass(slots=True)
class _Inside:
    """The texts in the stack, in the order of their tokens."""

    places: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    said: list[Any] = field(default_factory=list)
    """What the last exit said of each; None before the first."""
    ids: Tensor | None = None
    types: Tensor | None = None
    hidden: Tensor | None = None
    """[S, H]."""

    def join(self, places: Sequence[int], batch: Batch, lengths: Sequence[int], hidden: Tensor) -> None:
        """Let texts in."""
        self.places += places
        self.depths += [0] * len(places)
        self.lengths += lengths
        self.said += [None] * len(places)
        self.ids = batch.input_ids if self.ids is None else torch.cat([self.ids, batch.input_ids])
        self.types = batch.token_type_ids if self.types is None else torch.cat([self.types, batch.token_type_ids])
        self.hidden = hidden if self.hidden is None else torch.cat([self.hidden, hidden])

    def keep(self, staying: Sequence[bool]) -> None:
        """Let the others out."""
        if all(staying):
            return
        chosen = [index for index, stays in enumerate(staying) if stays]
        tokens = torch.repeat_interleave(torch.tensor(staying), torch.tensor(self.lengths)).nonzero().squeeze(1)
        for name in ("places", "depths", "lengths", "said"):
            values = getattr(self, name)
            setattr(self, name, [values[index] for index in chosen])
        for name in ("ids", "types", "hidden"):
            rows: Tensor = getattr(self, name)
            setattr(self, name, rows.index_select(0, tokens) if chosen else None)


class ExitingEngine(Engine):
    """Runs a task's module on examples, each as deep as it needs.

    Args:
        module: with a fused encoder as its `body`, trained for its exits.
        tokenizer: the module's own.
        task: a task that says how sure its outputs are.
        task_config: what the task remembers.
        threshold: certainty from which on an exit's answer is given, from 0 to 1; above 1 every text takes all passes.
        precision: of the matrix products.
        settings: how the work is cut.

    Raises:
        ConfigError: the task or the module has no exits.
    """

    def __init__(
        self,
        module: nn.Module,
        tokenizer: Tokenizer,
        task: AnyTask,
        task_config: TaskConfig,
        *,
        threshold: float,
        precision: Precision = "fp32",
        settings: EngineSettings | None = None,
    ) -> None:
        super().__init__(module, tokenizer, task, task_config, precision=precision, settings=settings)
        body = getattr(module, "body", None)
        if not isinstance(body, FusedEncoder) or task.certainty is None:
            raise ConfigError(
                "this model has no exits",
                received=task.name,
                next_step="Use it at its full depth, or train it with --elastic",
            )
        self.body = body
        self.threshold = threshold
        self._certainty = task.certainty
        self._ready = _Ready()
        # the same heads over another body
        self._heads = copy.deepcopy(
            module, {id(one): one for one in (*module.parameters(), *module.buffers())} | {id(body): self._ready}
        )

    def trace(self, encoded: EncodedExamples) -> Trace:
        """Return what every exit says of every text, each run through all passes."""
        depth = self.body.config.num_passes
        outputs: list[list[Any]] = [[None] * len(encoded) for _ in range(depth)]
        trace = Trace(outputs=outputs, certainty=np.zeros((depth, len(encoded)), dtype=np.float32))
        with self._evaluating():
            self._said(encoded, trace)
        return trace

    def _said(self, encoded: Sequence[Encoded], trace: Trace | None = None) -> tuple[list[Any], list[int]]:
        """Return the outputs of every text and its depth; with a trace, nobody leaves before the end."""
        outputs: list[Any] = [None] * len(encoded)
        depths = [0] * len(encoded)
        lengths = [len(one) for one in encoded]
        waiting = deque(sorted(range(len(encoded)), key=lambda place: -lengths[place]))
        inside = _Inside()
        while waiting or inside.places:
            if waiting and (self.body.uniform or not inside.places):
                self._let_in(waiting, inside, encoded, lengths)
            rows, certain = self._one_pass(inside)
            staying = []
            for index, (place, row) in enumerate(zip(inside.places, rows, strict=True)):
                depth = inside.depths[index]
                if trace is not None:
                    trace.outputs[depth - 1][place] = row
                    trace.certainty[depth - 1, place] = certain[index]
                leaves = depth == self.body.config.num_passes or (trace is None and certain[index] >= self.threshold)
                if leaves:
                    outputs[place], depths[place] = row, depth
                staying.append(not leaves)
            inside.said = list(rows)
            inside.keep(staying)
        return outputs, depths

    def _let_in(self, waiting: deque[int], inside: _Inside, encoded: Sequence[Encoded], lengths: Sequence[int]) -> None:
        """Fill the stack up to the token budget; a single long text may exceed it."""
        tokens, texts = sum(inside.lengths), len(inside.places)
        places: list[int] = []
        while waiting and texts < self.settings.max_texts:
            length = lengths[waiting[0]]
            if texts and tokens + length > self.settings.max_tokens:
                break
            places.append(waiting.popleft())
            tokens, texts = tokens + length, texts + 1
        if not places:
            return
        batch = packed([encoded[place] for place in places]).to(self.device)
        layout = self.body.layout(batch.input_ids, sequence_starts=batch.sequence_starts)
        hidden = self.body.embed(batch.input_ids, layout=layout, token_type_ids=batch.token_type_ids)
        inside.join(places, batch, [lengths[place] for place in places], hidden.to(self.body.states))

    def _one_pass(self, inside: _Inside) -> tuple[Sequence[Any], npt.NDArray[np.float32]]:
        """Take every text a pass further; return what its exit says, and how sure that is."""
        assert inside.hidden is not None, "there are texts"
        assert inside.ids is not None, "there are texts"
        assert inside.types is not None, "there are texts"
        starts = torch.zeros(len(inside.lengths) + 1, dtype=torch.int64)
        torch.cumsum(torch.tensor(inside.lengths), dim=0, out=starts[1:])
        layout = packed_layout(starts, len(inside.hidden), self.device)
        # where passes differ all texts are at one depth
        inside.hidden = self.body.run_pass(inside.depths[0], inside.hidden, layout).hidden
        inside.depths = [depth + 1 for depth in inside.depths]
        left = self.body.leave(inside.hidden)
        self._ready.output = EncoderOutput(last_hidden_state=left, pooler_output=self.body.pool(left, layout))
        batch = Batch(input_ids=inside.ids, token_type_ids=inside.types, sequence_starts=starts.to(self.device))
        rows = self.task.outputs(self._heads, batch, self.task_config)
        return rows, self._certainty(inside.said, rows, self.task_config)
