"""Named things that plug-ins may add: tasks, baselines, explainers.

Built-in entries go through the same door as a plug-in's: a name and the place of the object, `module:attribute`,
imported when first asked for. A package adds its own with an entry point in the group `albertine.KIND`.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points

from albertine.errors import ConfigError, unknown_name

__all__ = ["Registry", "baselines", "explainers", "tasks"]


class Registry:
    """Names of one kind, each with the place of its object.

    Args:
        kind: what is registered, in the singular, for messages.
        group: the entry-point group in which other packages add theirs.
        builtin: the names that come with Albertine, each with `module:attribute`.
    """

    def __init__(self, kind: str, *, group: str, builtin: dict[str, str]) -> None:
        self.kind = kind
        self.group = group
        self.builtin = tuple(sorted(builtin))
        self._places = dict(builtin)
        self._plugins_read = False

    def add(self, name: str, place: str) -> None:
        """Register `place` (`module:attribute`) under `name`.

        Raises:
            ConfigError: the name is taken.
        """
        if self._places.get(name, place) != place:
            raise ConfigError(
                f"the {self.kind} {name!r} is registered twice", received=place, allowed="one place a name"
            )
        self._places[name] = place

    def names(self) -> tuple[str, ...]:
        """Return every name, sorted."""
        self._read_plugins()
        return tuple(sorted(self._places))

    def get(self, name: str) -> object:
        """Import and return the object behind `name`.

        Raises:
            ConfigError: no such name; the message lists those that exist.
        """
        self._read_plugins()
        if name not in self._places:
            raise unknown_name(self.kind, name, self._places)
        module, _, attribute = self._places[name].partition(":")
        found: object = getattr(importlib.import_module(module), attribute)
        return found

    def _read_plugins(self) -> None:
        if not self._plugins_read:
            self._plugins_read = True
            for entry in entry_points(group=self.group):
                self.add(entry.name, entry.value)


tasks = Registry(
    "task",
    group="albertine.tasks",
    builtin={
        "aspect-opinions": "albertine.tasks.aspect_opinions:TASK",
        "intent-slots": "albertine.tasks.intent_slots:TASK",
        "question-answering": "albertine.tasks.question_answering:TASK",
        "sentence-similarity": "albertine.tasks.sentence_similarity:TASK",
        "seq2seq": "albertine.tasks.seq2seq:TASK",
        "text-classification": "albertine.tasks.text_classification:TASK",
        "token-classification": "albertine.tasks.token_classification:TASK",
    },
)

baselines = Registry(
    "baseline",
    group="albertine.baselines",
    builtin={
        "bag-of-words": "albertine.models.bag_of_words:BASELINE",
        "bilstm": "albertine.models.recurrent:BASELINE",
        "overlap": "albertine.models.text_overlap:BASELINE",
        "word-vectors": "albertine.models.word_vectors:BASELINE",
    },
)

explainers = Registry("explainer", group="albertine.explainers", builtin={})
"""What the server asks to explain an answer; `albertine.serving.operations.Explainer` says what one looks like."""
