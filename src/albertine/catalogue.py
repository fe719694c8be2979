"""Every text of reports and model cards, in English and Chinese, from one file a language (`texts/`).

A key is `part.name`. Texts hold `{placeholders}`; a text about a number of things has the keys `part.name.one` and
`part.name.other`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources

from albertine.settings import Language

__all__ = ["Catalogue", "catalogue"]


class Catalogue:
    """The texts of one language; call it with a key and the values of the text's placeholders.

    Args:
        language: en or zh.
        texts: text by key.
    """

    def __init__(self, language: Language, texts: Mapping[str, str]) -> None:
        self.language = language
        self._texts = texts

    def __call__(self, key: str, **values: object) -> str:
        """Return the text of `key` with its placeholders filled in."""
        return self._texts[key].format(**values)

    def __contains__(self, key: str) -> bool:
        return key in self._texts

    def counted(self, key: str, count: int, **values: object) -> str:
        """Return the text of `key` about `count` things; the text finds the number as `{count}`."""
        form = "one" if count == 1 else "other"
        return self(f"{key}.{form}", count=f"{count:,}", **values)


@functools.cache
def catalogue(language: Language) -> Catalogue:
    """Return the texts of a language."""
    text = (resources.files("albertine") / "texts" / f"{language}.json").read_text(encoding="utf-8")
    return Catalogue(language, json.loads(text))
