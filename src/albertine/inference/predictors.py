"""What turns examples into the answers of a task, where it is not the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from albertine.inference.engine import Answers
from albertine.models.solved import SolvedModel
from albertine.records import Example
from albertine.tasks.config import TaskConfig
from albertine.tasks.task import AnyTask

__all__ = ["Predictor", "SolvedPredictor"]


class Predictor(Protocol):
    """Whatever turns examples into the answers of a task."""

    def answers(self, items: Sequence[Example]) -> Answers[Any]:
        """Return one answer an example, in their order."""


class SolvedPredictor:
    """A model that a solver fitted, called like the engine.

    Args:
        solved: the model.
        task: a task that says how its outputs become answers.
        task_config: what the task remembers.
    """

    def __init__(self, solved: SolvedModel, task: AnyTask, task_config: TaskConfig) -> None:
        assert task.solving is not None, "a solver's baseline does tasks that say what its outputs are"
        self.solved = solved
        self._answers = task.solving.answers
        self._task_config = task_config

    def answers(self, items: Sequence[Example]) -> Answers[Any]:
        """Return the task's answers, one an example, in their order."""
        outputs = self.solved.outputs([one.text for one in items], [one.text_pair for one in items])
        return Answers(rows=self._answers(outputs, self._task_config), tokens=[0] * len(items))
