"""The model of text classification: an encoder and one linear layer.

Shapes: N texts, C outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from albertine.models.body import BodyConfig, body_output_size, build_body
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder, EncoderOutput
from albertine.models.pooling import first_tokens
from albertine.records import Batch
from albertine.tasks.classification_options import ClassificationOptions
from albertine.tasks.config import TaskConfig

__all__ = ["Classifier"]


class Classifier(nn.Module):
    """An encoder (or what stands in its place), dropout, and a linear layer over the pooled vector.

    An encoder without a pooler gives the last hidden state of the first token instead. That is the classifier of
    Devlin et al. (2018), section 4.1, and of Lan et al. (2019).

    Args:
        config: of the body.
        task_config: for the labels, and for what the loss makes of them.
    """

    def __init__(self, config: BodyConfig, task_config: TaskConfig) -> None:
        super().__init__()
        self.body = build_body(config)
        self.dropout = nn.Dropout(config.classifier_dropout_prob)
        self.classifier = nn.Linear(body_output_size(config), len(task_config.labels) or 1)
        if isinstance(config, EncoderConfig):
            nn.init.normal_(self.classifier.weight, std=config.initializer_range)
            nn.init.zeros_(self.classifier.bias)
        self.options = task_config.own(ClassificationOptions)

    def forward(self, batch: Batch) -> Tensor:
        """Return the outputs of every text, or window of one, [N, C]: logits, or the number."""
        # The pooler looks at first tokens alone, so that no other state of the last pass is wanted.
        nowhere = torch.empty(0, dtype=torch.int64, device=batch.input_ids.device)
        pools = isinstance(self.body, Encoder) and self.body.pooler is not None
        output: EncoderOutput = self.body(
            batch.input_ids,
            attention_mask=batch.attention_mask,
            token_type_ids=batch.token_type_ids,
            sequence_starts=batch.sequence_starts,
            position_ids=batch.position_ids,
            **({"positions": nowhere} if pools else {}),
        )
        pooled = output.pooler_output
        if pooled is None:
            pooled = first_tokens(output.last_hidden_state, batch.sequence_starts)
        outputs: Tensor = self.classifier(self.dropout(pooled))
        return outputs
