"""What a model is worth on labelled examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from albertine.evaluation.metrics import confusion_matrix
from albertine.inference.model import Model
from albertine.records import Example
from albertine.tasks.text_classification import label_indices

__all__ = ["EVALUATION_SCHEMA", "EvaluationResult"]

EVALUATION_SCHEMA = 1

_CELLS_SHOWN = 20
"""Labels up to which the confusion matrix is printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """A model held against labelled examples."""

    task: str
    labels: tuple[str, ...]
    examples: int
    main_metric: str
    metrics: dict[str, float]
    """Every metric of the task, by name."""
    confusion: tuple[tuple[int, ...], ...]
    """[C, C] counts; row: the label in the file, column: the model's."""
    notes: tuple[str, ...] = ()
    """What was guessed or skipped while reading."""
    schema_version: int = EVALUATION_SCHEMA

    @classmethod
    def of(cls, model: Model, examples: Sequence[Example], *, notes: tuple[str, ...] = ()) -> EvaluationResult:
        """Measure `model` on `examples`.

        Raises:
            DataError: no examples, one without a label, or with a label that the model does not know.
        """
        gold = label_indices(examples, model.labels)
        probabilities = model.score_examples(examples)
        metrics = model.task.score(examples, probabilities, model.task_config)
        confusion = confusion_matrix(gold, probabilities.argmax(axis=1), len(model.labels))
        return cls(
            task=model.task.name,
            labels=model.labels,
            examples=len(examples),
            main_metric=model.task_config.main_metric or model.task.main_metric,
            metrics=metrics,
            confusion=tuple(tuple(row) for row in confusion.tolist()),
            notes=notes,
        )

    def to_dict(self) -> dict[str, object]:
        """Return every field under its name, ready for JSON."""
        return dataclasses.asdict(self)

    def render(self) -> str:
        """Return the result as lines for a terminal: the metrics, and the confusion matrix where it is small."""
        width = max(len(name) for name in self.metrics)
        lines = [f"{self.examples:,} examples, {len(self.labels)} labels"]
        lines += [f"{name:<{width}}  {value:.4f}" for name, value in self.metrics.items()]
        if len(self.labels) <= _CELLS_SHOWN:
            lines += ["", "rows: label in the file; columns, in the same order: label of the model"]
            cell = max(len(str(count)) for row in self.confusion for count in row)
            for label, row in zip(self.labels, self.confusion, strict=True):
                lines.append("  ".join(f"{count:>{cell}}" for count in row) + f"   {label}")
        return "\n".join(lines)
