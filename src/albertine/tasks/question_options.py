"""What question answering can be asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from albertine.errors import ConfigError
from albertine.evaluation.answers import AnswerRule
from albertine.tasks.config import TaskOptions

__all__ = ["QuestionAnsweringOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionAnsweringOptions(TaskOptions):
    """What question answering alone remembers."""

    max_answer_tokens: int = 30
    """Tokens that an answer has at most; chosen from the training answers, where more are needed, and said aloud."""
    no_answer_threshold: float | None = None
    """No answer is given where the score of "no answer" exceeds the best answer's by more than this (Devlin et al.
    2018, section 4.3); fitted on the development split. None: there always is an answer, as the training questions
    all had one."""
    n_best: int = 20
    """Answers that a prediction lists at most."""
    answer_rule: AnswerRule = "squad"
    """How answers are compared: squad (words) or cmrc (Chinese characters); chosen from the data, and said aloud."""

    def __post_init__(self) -> None:
        for name in ("max_answer_tokens", "n_best"):
            if getattr(self, name) < 1:
                raise ConfigError("value out of range", where=name, received=getattr(self, name), allowed="1 or more")
        if self.no_answer_threshold is not None and not math.isfinite(self.no_answer_threshold):
            raise ConfigError("not a finite number", where="no_answer_threshold", received=self.no_answer_threshold)
