"""Tags as files write them: in which letters and scheme, and what about them is not in order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from albertine.evaluation.spans import OUTSIDE, Prefix, Tag, starts_chunk

__all__ = ["BARE_LABEL", "TagReport", "TagStyle", "looks_like_tags", "read_tag", "tag_style"]

TagStyle = Literal["prefixed", "letters", "labels"]
"""How a file writes its tags: B-PER or B_PER; B alone, where there is one type; PER alone (the IO scheme)."""

BARE_LABEL = "entity"
"""The label of spans whose file writes B and I alone."""

_OUTSIDE = "O"
_LETTERS: Mapping[str, Prefix] = {
    "B": "B",
    "I": "I",
    "M": "I",
    "E": "E",
    "L": "E",
    "S": "S",
    "U": "S",
    "W": "S",
}
"""The letters of BIO, BIOES, BILOU, BMES and BMEWO, as those of BIOES."""
_PREFIXED = re.compile(rf"([{''.join(_LETTERS)}])[-_](.+)", re.DOTALL)

_REPAIRS = {
    "inside": "I- that follows on nothing begins a span",
    "end": "E- that follows on nothing is a span of its own",
    "change": "I- or E- of another type than the tag before begins a span",
    "unfinished": "a span whose last tag is B- or I-, as in BIO, ends there",
}
"""What is done where tags are not in order; that is what conlleval makes of them."""


def looks_like_tags(values: Collection[str]) -> bool:
    """Say whether the distinct values of a column can be tags: one of them is O, or has a prefix."""
    return _OUTSIDE in values or any(_PREFIXED.fullmatch(value) for value in values)


def tag_style(values: Collection[str]) -> TagStyle:
    """Say how the distinct tags of a file are written."""
    named = [value for value in values if value != _OUTSIDE]
    if not named or any(_PREFIXED.fullmatch(value) for value in named):
        return "prefixed"
    return "letters" if all(value in _LETTERS for value in named) else "labels"


def read_tag(value: str, style: TagStyle) -> Tag | None:
    """Return a tag in the letters of BIOES; None where it is none in this style."""
    if value == _OUTSIDE:
        return OUTSIDE
    if style == "labels":
        return Tag("I", value) if value else None
    if style == "letters":
        return Tag(_LETTERS[value], BARE_LABEL) if value in _LETTERS else None
    match = _PREFIXED.fullmatch(value)
    return None if match is None else Tag(_LETTERS[match[1]], match[2])


@dataclass(slots=True)
class _Seen:
    """How often something was seen, and where first."""

    count: int = 0
    line: int = 0

    def at(self, line: int) -> None:
        if not self.count:
            self.line = line
        self.count += 1


@dataclass(slots=True)
class TagReport:
    """Goes through the sentences of a file and says at its end what was not in order.

    What is in order depends on the scheme, and the scheme shows in the whole file alone: an I- after O is right in IO
    and in IOB1, where B- stands between two spans of one type and nowhere else.
    """

    letters: Collection[str] = ()
    """The tags as the file writes them, each once."""
    _prefixes: Counter[Prefix] = field(default_factory=Counter)
    _faults: dict[str, _Seen] = field(default_factory=lambda: {kind: _Seen() for kind in _REPAIRS})
    _plain_begins: int = 0
    """B- that is not there to divide two spans of one type."""

    def add(self, tags: Sequence[Tag], line: int, *, step: int = 1) -> None:
        """Look at a sentence, the tag i of which stands on line `line + step * i`."""
        previous = OUTSIDE
        for place, tag in enumerate([*tags, OUTSIDE]):
            if tag is previous is OUTSIDE:
                continue
            starts = starts_chunk(previous, tag)
            self._prefixes[tag.prefix] += 1
            if tag.prefix == "B":
                self._plain_begins += previous.label != tag.label
            elif starts and tag.prefix in "IE":
                change = previous.prefix in "BI"
                kind = "change" if change else "inside" if tag.prefix == "I" else "end"
                self._faults[kind].at(line + step * place)
            if previous.prefix in "BI" and (starts or tag.prefix == "O"):
                self._faults["unfinished"].at(line + step * (place - 1))
            previous = tag

    @property
    def scheme(self) -> str:
        """Return the scheme's name."""
        used = {prefix for prefix in self._prefixes if prefix != "O"}
        if used <= {"I"}:
            return "IO"
        if "B" not in used and "S" not in used:
            return "IOE"
        if used <= {"B", "I"}:
            begun_inside = self._faults["inside"].count + self._faults["change"].count
            return "IOB1" if begun_inside and not self._plain_begins else "BIO"
        return "BIOES"

    def notes(self) -> list[str]:
        """Say the scheme, and what had to be repaired, how often and where first."""
        scheme = self.scheme
        kinds = {"BIO": ("inside", "change"), "BIOES": tuple(_REPAIRS)}.get(scheme, ())
        found = [f"the tags are {scheme}{self._spelling()}"]
        for kind in kinds:
            fault = self._faults[kind]
            if fault.count:
                found.append(f"tags repaired: {_REPAIRS[kind]}: {fault.count:,}, the first in line {fault.line}")
        return found

    def _spelling(self) -> str:
        """Say with which letters, where they are not those of the scheme's name."""
        used = {match[1] for value in self.letters if (match := _PREFIXED.fullmatch(value))}
        used = used or {value for value in self.letters if value in _LETTERS}
        return "" if used <= set("BIES") else f" (written with {', '.join(sorted(used))})"
