"""What a model is worth on labelled examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from albertine.evaluation.calibration import Reliability, reliability
from albertine.evaluation.metrics import confusion_matrix
from albertine.inference.model import Model
from albertine.records import Example

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
    confusion: tuple[tuple[int, ...], ...] = ()
    """[C, C] counts; row: the label in the file, column: the model's. Empty where an example has no one label."""
    reliability: Reliability | None = None
    """How often the answers are right at every level of confidence; None where an answer has no probability."""
    notes: tuple[str, ...] = ()
    """What was guessed or skipped while reading."""
    schema_version: int = EVALUATION_SCHEMA

    @classmethod
    def of(cls, model: Model, examples: Sequence[Example], *, notes: tuple[str, ...] = ()) -> EvaluationResult:
        """Measure `model` on `examples`.

        Raises:
            DataError: no examples, one without a label, or with a label that the model does not know.
        """
        task, config = model.task, model.task_config
        answers = model.answer_examples(examples)
        metrics = task.score(answers, examples, config)
        columns = task.evidence_columns(config)
        confusion: tuple[tuple[int, ...], ...] = ()
        found: Reliability | None = None
        if "gold_label" in columns and "predicted_label" in columns:
            evidence = task.evidence(answers, examples, config)
            gold, predicted = (
                evidence[:, columns.index(name)].astype(np.int64) for name in ("gold_label", "predicted_label")
            )
            if "confidence" in columns:
                found = reliability(evidence[:, columns.index("confidence")], (gold == predicted).astype(np.int64))
            confusion = tuple(tuple(row) for row in confusion_matrix(gold, predicted, len(model.labels)).tolist())
        return cls(
            task=task.name,
            labels=model.labels,
            examples=len(examples),
            main_metric=config.main_metric or task.main_metric,
            metrics=metrics,
            confusion=confusion,
            reliability=found,
            notes=notes,
        )

    def to_dict(self) -> dict[str, object]:
        """Return every field under its name, ready for JSON."""
        return dataclasses.asdict(self)

    def render(self) -> str:
        """Return the result as lines for a terminal: the metrics, and the confusion matrix where it is small."""
        width = max(len(name) for name in self.metrics)
        lines = [f"{self.examples:,} examples" + (f", {len(self.labels)} labels" if self.labels else "")]
        lines += [f"{name:<{width}}  {value:.4f}" for name, value in self.metrics.items()]
        if self.confusion and len(self.labels) <= _CELLS_SHOWN:
            lines += ["", "rows: label in the file; columns, in the same order: label of the model"]
            cell = max(len(str(count)) for row in self.confusion for count in row)
            for label, row in zip(self.labels, self.confusion, strict=True):
                lines.append("  ".join(f"{count:>{cell}}" for count in row) + f"   {label}")
        if self.reliability is not None:
            lines += ["", "confidence, share of right answers and examples, by level of confidence"]
            filled = zip(self.reliability.confidence, self.reliability.accuracy, self.reliability.counts, strict=True)
            lines += [f"{level:.3f}  {right:.3f}  {count:,}" for level, right, count in filled if count]
        return "\n".join(lines)
