"""The module of question answering, and its loss: which token of a context begins the answer, and which one ends it.

Shapes: N windows, M acceptable answers of all windows, T positions of a padded row, S tokens of a packed batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from albertine.models.body import BodyConfig, body_output_size, build_body
from albertine.models.config import EncoderConfig
from albertine.models.encoder import EncoderOutput
from albertine.records import Batch
from albertine.tasks.config import TaskConfig
from albertine.tasks.task import LossPart

__all__ = ["SpanPredictor", "answer_places", "span_log_shares", "span_loss"]

_NO_SHARE = -1e4
"""The logarithm of a share that is 0 in float32."""


class SpanPredictor(nn.Module):
    """An encoder (or what stands in its place) and a linear layer over every token: is it the answer's start, its end.

    That is the question answering model of Devlin et al. (2018), sections 4.2 and 4.3.

    Args:
        config: of the body.
        task_config: not used; answers have no labels.
    """

    def __init__(self, config: BodyConfig, task_config: TaskConfig) -> None:
        super().__init__()
        del task_config
        self.body = build_body(config)
        self.qa_outputs = nn.Linear(body_output_size(config), 2)
        if isinstance(config, EncoderConfig):
            nn.init.normal_(self.qa_outputs.weight, std=config.initializer_range)
            nn.init.zeros_(self.qa_outputs.bias)

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits of start and end for every token, [S, 2] packed or [N, T, 2] padded."""
        output: EncoderOutput = self.body(
            batch.input_ids,
            attention_mask=batch.attention_mask,
            token_type_ids=batch.token_type_ids,
            sequence_starts=batch.sequence_starts,
            position_ids=batch.position_ids,
        )
        logits: Tensor = self.qa_outputs(output.last_hidden_state)
        return logits


def span_loss(module: nn.Module, batch: Batch) -> dict[str, LossPart]:
    """Return the mean cross-entropy of start and end, each among the context's tokens and [CLS] of its window.

    Where a window holds several acceptable answers, their probabilities are added up (the summed objective of Clark and
    Gardner 2018), so that any of them will do.
    """
    assert batch.labels is not None, "the loss needs labels"
    assert batch.label_starts is not None, "labels come with their starts"
    scores, begins = _log_probabilities(module(batch), batch)
    owner = torch.repeat_interleave(batch.label_starts.diff(), output_size=len(batch.labels))
    places = batch.labels + begins[owner][:, None]
    answers = scores[places[:, 0], 0] + scores[places[:, 1], 1]
    if len(answers) > len(batch):
        answers = _grouped_log_sum_exp(answers[:, None], owner, len(batch))[:, 0]
    return {"span": LossPart(total=-answers.sum() / 2, weight=answers.new_tensor(len(batch)))}


def span_log_shares(module: nn.Module, found: Tensor, batch: Batch) -> Tensor:
    """Return the log-probabilities of the starts and of the ends, [2N, T], of windows of at most T tokens.

    Args:
        module: not used.
        found: what it returned for the batch.
        batch: of N windows.
    """
    del module
    scores, begins = _log_probabilities(found, batch)
    allowed = answer_places(batch).flatten()
    # what no answer can start or end at has no share; -inf would make differences of such logarithms no numbers
    scores = scores.masked_fill(~allowed[:, None], _NO_SHARE)
    if batch.sequence_starts is not None:
        lengths = batch.sequence_starts.diff()
        window = torch.repeat_interleave(lengths, output_size=len(scores))
        place = torch.arange(len(scores), device=scores.device) - begins[window]
        rows = scores.new_full((len(batch), int(lengths.max()), 2), _NO_SHARE).index_put((window, place), scores)
    else:
        rows = scores.reshape(len(batch), -1, 2)
    return rows.transpose(1, 2).flatten(0, 1)


def _log_probabilities(found: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities of start and end for all tokens, rows one after another, and where each row begins.

    They are -inf outside of the context, but for [CLS].
    """
    masked = found.float().masked_fill(~answer_places(batch)[..., None], -math.inf)
    if batch.sequence_starts is None:
        begins = torch.arange(len(batch), device=found.device) * found.shape[1]
        return torch.log_softmax(masked, dim=1).flatten(0, 1), begins
    window = torch.repeat_interleave(batch.sequence_starts.diff(), output_size=len(found))
    return masked - _grouped_log_sum_exp(masked, window, len(batch))[window], batch.sequence_starts[:-1]


def answer_places(batch: Batch) -> Tensor:
    """Say which tokens an answer may start and end at: [CLS], for none, and the context's; as `Batch.input_ids`."""
    places = batch.token_type_ids > 0
    if batch.sequence_starts is not None:
        last, first = batch.sequence_starts[1:] - 1, batch.sequence_starts[:-1]
        return places.index_fill(0, last, False).index_fill(0, first, True)
    assert batch.attention_mask is not None, "a batch is packed or padded"
    last = batch.attention_mask.sum(dim=1, keepdim=True) - 1
    return places.scatter(1, last, False).index_fill(1, last.new_zeros(1), True)


def _grouped_log_sum_exp(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """Return the logarithm of the summed powers of every group, [G, C], of values [R, C] whose groups are [R]."""
    index = group[:, None].expand_as(values)
    highest = values.detach().new_full((groups, values.shape[1]), -math.inf)
    highest = highest.scatter_reduce(0, index, values.detach(), "amax")
    powers = (values - highest[group]).exp()
    return highest + powers.new_zeros(highest.shape).index_add(0, group, powers).log()
