"""What opinions in texts can be asked for, and what follows from it for the parts of the model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from albertine.data.opinion_files import ASPECT, EXPRESSION
from albertine.evaluation.opinions import OpinionKind, opinion_kinds
from albertine.tasks.config import TaskConfig, TaskOptions
from albertine.tasks.tagger import TaggingOptions
from albertine.tasks.tagging_alignment import Scheme

__all__ = ["OpinionOptions", "columns", "kinds_of", "options_of", "tagging_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpinionOptions(TaskOptions):
    """What opinions in texts alone remember."""

    scheme: Scheme = "bioes"
    """The tags of the tokens of aspects and expressions inside of the model."""
    crf: bool = False
    """Learn how tags follow on each other."""
    whole_words: bool | None = None
    """Aspects and expressions begin and end between words only; None to do as the training data do."""
    expressions: bool | None = None
    """Find the words that say what is thought; None to do so where the training data mark them."""
    implied_aspects: bool | None = None
    """An opinion may be about nothing that the text names; None to do as the training data do."""
    implied_expressions: bool | None = None
    """An opinion may have no words of its own; None to do as the training data do."""
    categories: tuple[str, ...] = ()
    """What kinds of aspects there are; taken from the training data. Empty where aspects have none."""

    @property
    def presence(self) -> bool:
        """Return whether it has to be learnt if there is an opinion; else every aspect that is found has one."""
        return bool(self.expressions or self.categories or self.implied_aspects)


def options_of(task_config: TaskConfig) -> OpinionOptions:
    """Return the options of a model."""
    return task_config.own(OpinionOptions)


def columns(options: OpinionOptions) -> int:
    """Return how many categories the model tells apart; 1 where there are none."""
    return len(options.categories) or 1


def kinds_of(task_config: TaskConfig) -> tuple[OpinionKind, ...]:
    """Return what is counted in the answers of a model."""
    options = options_of(task_config)
    return opinion_kinds(expressions=bool(options.expressions), categories=bool(options.categories))


@lru_cache(maxsize=16)
def tagging_of(task_config: TaskConfig) -> TaskConfig:
    """Return the configuration of the part that finds spans, which is token classification's."""
    options = options_of(task_config)
    return TaskConfig(
        task=task_config.task,
        labels=(ASPECT, EXPRESSION) if options.expressions else (ASPECT,),
        max_length=task_config.max_length,
        overlap=task_config.overlap,
        options=TaggingOptions(scheme=options.scheme, crf=options.crf, whole_words=options.whole_words),
    )
