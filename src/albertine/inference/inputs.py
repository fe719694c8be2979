"""What a model is asked about, as Python code passes it."""

from __future__ import annotations

from collections.abc import Sequence

from albertine.errors import UserError
from albertine.records import Example

__all__ = ["Input", "examples_of"]

Input = str | tuple[str, str]
"""A text or a pair of texts."""


def examples_of(texts: Sequence[Input]) -> list[Example]:
    """Return texts, or pairs of them, as examples.

    Raises:
        UserError: a single text instead of a list, or something that is not a text.
    """
    if isinstance(texts, str):
        raise UserError(
            "a list of texts is expected", received="one text", next_step="Put it into a list: predict([text])"
        )
    examples = []
    for place, text in enumerate(texts):
        if isinstance(text, str):
            examples.append(Example(text=text))
        elif isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str) for part in text):
            examples.append(Example(text=text[0], text_pair=text[1]))
        else:
            raise UserError(
                "this is not a text",
                where=f"item {place}",
                received=f"{type(text).__name__} {text!r}"[:120],
                allowed="a text, or a tuple of two texts",
            )
    return examples
