"""Rows of CLUE's sets that are no plain texts with labels, as its authors' own programs put them before a model.

CLUE: Xu et al. 2020, arXiv:2004.05986, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["KEYWORDS", "MARKED_TEXT", "keywords_in_one_text", "mentions_marked"]

KEYWORDS = "keywords"
"""The key that `keywords_in_one_text` adds."""
MARKED_TEXT = "marked text"
"""The key that `mentions_marked` adds."""

_MARKS = {"span1": ("_", "_"), "span2": ("[", "]")}
"""What stands around the noun, and around the pronoun that may mean it."""

Row = Mapping[str, object]


def keywords_in_one_text(row: Row) -> Row:
    """Return a row of CSL (`abst`, `keyword`, `label`) with its keywords in one text, blanks between them.

    What cannot be put together becomes a TypeError in its place, which makes a bad row.
    """
    words = row.get("keyword")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return {**row, KEYWORDS: TypeError("the keywords are no list of strings")}
    return {**row, KEYWORDS: " ".join(words)}


def mentions_marked(row: Row) -> Row:
    """Return a row of WSC2020 (`text`, `target`, `label`) with both mentions marked in its text.

    The noun (`span1`) stands between underscores, the pronoun (`span2`) in square brackets. Where a mention does not
    stand at its index, a TypeError takes the text's place, which makes a bad row.
    """
    text, target = row.get("text"), row.get("target")
    if not isinstance(text, str) or not isinstance(target, Mapping):
        return {**row, MARKED_TEXT: TypeError("there is no text with a target of two mentions")}
    inserted: list[tuple[int, str]] = []
    for name, (before, behind) in _MARKS.items():
        start, mention = target.get(f"{name}_index"), target.get(f"{name}_text")
        if type(start) is not int or not isinstance(mention, str) or not mention or start < 0:
            return {**row, MARKED_TEXT: TypeError(f"{name} has no text or no index")}
        if not text.startswith(mention, start):
            found = text[start : start + len(mention)]
            return {**row, MARKED_TEXT: TypeError(f"at index {start} stands {found!r:.60}, not {mention!r:.60}")}
        inserted += [(start + len(mention), behind), (start, before)]
    for place, mark in sorted(inserted, key=lambda one: -one[0]):
        text = text[:place] + mark + text[place:]
    return {**row, MARKED_TEXT: text}
