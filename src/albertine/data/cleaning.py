"""Text made clean for pretraining, in named and counted steps.

The steps run in the order of `STEPS`. Each looks first, with a fast search, whether there is anything for it to do,
so that clean text costs little.
"""

from __future__ import annotations

import functools
import html
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

import numpy as np

from albertine.data.markup import has_html, has_markdown, without_html, without_markdown
from albertine.errors import ConfigError, MissingDependencyError

__all__ = ["STEPS", "Cleaner", "CleaningChoices", "CleaningReport", "LineCounter", "StepCount", "clean", "simplifier"]

Markup = Literal["auto", "always", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningChoices:
    """Which steps run."""

    mojibake: bool = True
    """Mend UTF-8 that was read as another encoding ("schÃ¶n"), by the ftfy package."""
    entities: bool = True
    """Turn &amp; and its like into characters."""
    markup: Markup = "auto"
    """Remove HTML and Markdown: where a text is seen to hold some, always, or never."""
    unicode: bool = True
    """Bring characters into Unicode's composed form (NFC). Full-width punctuation, right in Chinese, is kept."""
    controls: bool = True
    """Remove control characters and those without width; other line ends become line feeds."""
    spaces: bool = True
    """Every kind of blank becomes one space; blank lines go."""
    holes: bool = True
    """Close what extractors leave behind: "(; born 1942)", "（）"."""
    punctuation: bool = True
    """Shorten the same mark more than three times in a row."""
    repeated_lines: bool = True
    """Remove a line that stood in the same document before (short ones: right before)."""
    simplified: bool = False
    """Turn traditional characters into simplified ones, by the opencc package."""
    minimum: int = 50
    """Characters; what is shorter after all other steps is removed as a whole."""

    def __post_init__(self) -> None:
        if self.markup not in get_args(Markup):
            allowed = ", ".join(get_args(Markup))
            raise ConfigError("unknown value of markup", received=repr(self.markup), allowed=allowed)
        if self.minimum < 0:
            raise ConfigError("the minimum length is negative", received=self.minimum, allowed="0 or more")


@dataclass(slots=True, kw_only=True)
class StepCount:
    """What one step has done."""

    documents: int = 0
    """Documents that it changed."""
    characters: int = 0
    """By how many characters they became shorter (or longer), or, at equal length, how many differ."""


@dataclass(slots=True, kw_only=True)
class CleaningReport:
    """What a `Cleaner` has done so far."""

    documents: int = 0
    characters_before: int = 0
    characters_after: int = 0
    removed: int = 0
    """Documents of which nothing was left, or less than the minimum."""
    steps: dict[str, StepCount] = field(default_factory=dict)
    """By name, in the order of `STEPS`; those that changed nothing are absent."""

    def count(self, step: str, before: str, after: str) -> None:
        """Count a change."""
        counted = self.steps.setdefault(step, StepCount())
        counted.documents += 1
        counted.characters += _differing(before, after)

    def add(self, other: CleaningReport) -> None:
        """Add what another cleaner has done."""
        for name in ("documents", "characters_before", "characters_after", "removed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for step in STEPS:
            if step in other.steps:
                mine = self.steps.setdefault(step, StepCount())
                mine.documents += other.steps[step].documents
                mine.characters += other.steps[step].characters
        self.steps = {step: self.steps[step] for step in STEPS if step in self.steps}


def clean(text: str, choices: CleaningChoices | None = None) -> str:
    """Clean one text; empty where it is too short to be kept.

    Raises:
        MissingDependencyError: a step needs a package that is not installed.
    """
    return Cleaner(choices)(text)


class Cleaner:
    """Cleans texts and counts what it does.

    Args:
        choices: which steps run; all but the turn to simplified characters where not given.
        boilerplate: lines to leave out, as `LineCounter` finds them.
    """

    def __init__(self, choices: CleaningChoices | None = None, *, boilerplate: Collection[str] = ()) -> None:
        self.choices = choices or CleaningChoices()
        self.report = CleaningReport()
        self._boilerplate = frozenset(boilerplate)
        wanted: Mapping[str, Callable[[str], str] | None] = {
            "mojibake": _mojibake if self.choices.mojibake else None,
            "entities": _entities if self.choices.entities else None,
            "markup": None if self.choices.markup == "never" else functools.partial(_markup, how=self.choices.markup),
            "controls": _controls if self.choices.controls else None,
            "spaces": _spaces if self.choices.spaces else None,
            "holes": _holes if self.choices.holes else None,
            "unicode": functools.partial(unicodedata.normalize, "NFC") if self.choices.unicode else None,
            "simplified": simplifier() if self.choices.simplified else None,
            "punctuation": _punctuation if self.choices.punctuation else None,
            "repeated-lines": _repeated_lines if self.choices.repeated_lines else None,
            "boilerplate": self._without_boilerplate if self._boilerplate else None,
            "too-short": self._long_enough if self.choices.minimum else None,
        }
        self._steps = [(name, step) for name in STEPS if (step := wanted[name]) is not None]

    def __call__(self, text: str) -> str:
        """Return the text cleaned; empty where too little is left."""
        report = self.report
        report.documents += 1
        report.characters_before += len(text)
        for name, step in self._steps:
            after = step(text)
            if after != text:
                report.count(name, text, after)
                text = after
        text = text.strip()
        report.characters_after += len(text)
        report.removed += not text
        return text

    def _without_boilerplate(self, text: str) -> str:
        lines = text.split("\n")
        if self._boilerplate.isdisjoint(lines):
            return text
        return "\n".join(line for line in lines if line not in self._boilerplate)

    def _long_enough(self, text: str) -> str:
        return text if len(text) >= self.choices.minimum else ""


# Composing comes after everything that takes characters out: what is left may then stand beside a combining mark.
STEPS = (
    "mojibake",
    "entities",
    "markup",
    "controls",
    "spaces",
    "holes",
    "unicode",
    "simplified",
    "punctuation",
    "repeated-lines",
    "boilerplate",
    "too-short",
)
"""Every step, in the order in which they run."""


def _differing(before: str, after: str) -> int:
    if len(before) != len(after):
        return abs(len(before) - len(after))
    one, other = (
        np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), np.uint32) for text in (before, after)
    )
    return int(np.count_nonzero(one != other))


# A first byte of UTF-8 seen as a letter, followed by a further byte seen as a letter or sign, in the code pages that
# such accidents happen with. ftfy then judges the line; it would take ten times as long to ask it about every line.
_SEEN_BYTES = (
    "\x80-\xbf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u2026\u2030\u2039\u203a\u20ac\u2122"
)
_SUSPECT = re.compile(
    "[\xc2-\xf4\u0102-\u0159РС╨╤├┬](?:"
    f"(?<=[\xc2-\xf4\u0102-\u0159])[{_SEEN_BYTES}\u0104-\u017e\u02c7\u02d8\u02d9\u02db\u02dd]"
    f"|(?<=[РС])[{_SEEN_BYTES}]"
    r"|(?<=[╨╤├┬])[^\s\w])"
)


def _mojibake(text: str) -> str:
    if text.isascii() or not _SUSPECT.search(text):
        return text
    mend = _ftfy()
    return "\n".join(mend(line) if _SUSPECT.search(line) else line for line in text.split("\n"))


@functools.cache
def _ftfy() -> Callable[[str], str]:
    try:
        import ftfy  # lazy: optional
    except ImportError as error:
        raise MissingDependencyError("ftfy", extra="corpus", feature="mending wrongly decoded text") from error
    # fix_encoding alone: the other repairs would make full-width punctuation narrow.
    mend: Callable[[str], str] = ftfy.fix_encoding
    return mend


class _Converter(Protocol):
    def convert(self, text: str) -> str: ...


def simplifier() -> Callable[[str], str]:
    """Return what turns traditional characters into simplified ones, by phrases where one has several.

    Raises:
        MissingDependencyError: the package opencc is not installed.
    """
    try:
        import opencc  # lazy: optional
    except ImportError as error:
        raise MissingDependencyError("opencc", extra="zh", feature="the turn to simplified characters") from error
    converter: _Converter = opencc.OpenCC("t2s")
    return converter.convert


_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")


def _entities(text: str) -> str:
    if "&" not in text:
        return text
    # Twice, for what was escaped twice: &amp;lt;
    for _ in range(2):
        text = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
    return text


def _markup(text: str, *, how: Markup) -> str:
    if has_html(text):
        text = without_html(text)
    if how == "always" or has_markdown(text):
        text = without_markdown(text)
    return text


_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffc"
    "\ufffe\uffff\ud800-\udfff]"
)


def _controls(text: str) -> str:
    # Line feeds do not count as printable.
    if text.replace("\n", " ").isprintable():
        return text
    return _INVISIBLE.sub("", _LINE_ENDS.sub("\n", text))


_BLANK = re.compile("[\t\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_BLANKS = re.compile("  +")
_AROUND_LINE_END = re.compile(r" *\n[ \n]*")


def _spaces(text: str) -> str:
    if text.isascii():
        text = text.replace("\t", " ")
    elif _BLANK.search(text):
        text = _BLANK.sub(" ", text)
    if "  " in text:
        text = _BLANKS.sub(" ", text)
    if "\n\n" in text or "\n " in text or " \n" in text:
        text = _AROUND_LINE_END.sub("\n", text)
    return text.strip()


_HOLE = re.compile(r"[(（「『【《“\[][\s,，;；、:：.)）」』】》”\]]")
_HOLES_AT_END = tuple(mark + closer for mark in ",，;；、 " for closer in ")）")
_EMPTY = re.compile(r" ?(?:[(（][\s,，;；、:：.]*[)）]|「」|『』|【】|《》|“”|\[\])")
_OPEN_HOLE = re.compile(r"([(（])(?:\s*[,，;；、])+\s*")
_CLOSE_HOLE = re.compile(r"\s*(?:[,，;；、]\s*)+([)）])")


def _holes(text: str) -> str:
    closed = text
    if _HOLE.search(closed):
        closed = _EMPTY.sub("", _OPEN_HOLE.sub(r"\1", closed))
    if any(hole in closed for hole in _HOLES_AT_END):
        closed = _EMPTY.sub("", _CLOSE_HOLE.sub(r"\1", closed))
    # A hole that goes can leave the blanks around it side by side, or at the edge of a line.
    return text if closed == text else _spaces(closed)


# Spelt out, because that is much faster to search than everything that is neither letter, digit nor blank.
_RUN = re.compile(
    "([!-/:-@\\[-`{-~\xa1-\xbf\u2010-\u205e\u2190-\u27bf\u3001-\u3003\u3008-\u3030\uff01-\uff0f\uff1a-\uff65])\\1{3,}"
)
_SHORTENED = {"…": "……", "—": "——", "-": "---"}


def _punctuation(text: str) -> str:
    return _RUN.sub(lambda found: _SHORTENED.get(found[1], found[1] * 3), text)


_LONG_LINE = 20


def _repeated_lines(text: str) -> str:
    lines = text.split("\n")
    if len(set(lines)) == len(lines):
        return text
    kept: list[str] = []
    seen: set[str] = set()
    for line in lines:
        if line in seen and (len(line) >= _LONG_LINE or (kept and line == kept[-1])):
            continue
        seen.add(line)
        kept.append(line)
    return "\n".join(kept)


class LineCounter:
    """Counts in how many documents short lines stand, to find boilerplate; memory is bounded (lossy counting).

    Manku and Motwani 2002: when the table is full, lines that were rare so far leave it. A line's count can then be too
    low by the number of times that happened, never too high; the outcome depends on the order of documents alone.

    Args:
        longest: characters of the lines that are counted.
        capacity: lines in the table.
    """

    def __init__(self, *, longest: int = 80, capacity: int = 1 << 18) -> None:
        self.longest = longest
        self.capacity = capacity
        self.documents = 0
        self.passes = 0
        """How often rare lines were dropped, which is how much a count can be too low."""
        self._counts: dict[str, int] = {}

    def add(self, text: str) -> None:
        """Count the lines of one cleaned document, each once."""
        self.documents += 1
        counts, longest = self._counts, self.longest
        for line in dict.fromkeys(text.split("\n")):
            if 0 < len(line) <= longest:
                counts[line] = counts.get(line, self.passes) + 1
        self._drop_rare()

    def merge(self, other: LineCounter) -> None:
        """Take in the counts of documents that were counted apart; the order of merging decides between equals."""
        self.documents += other.documents
        for line in self._counts:
            self._counts[line] += other._counts.get(line, other.passes)
        for line, count in other._counts.items():
            self._counts.setdefault(line, self.passes + count)
        self.passes += other.passes
        self._drop_rare()

    def _drop_rare(self) -> None:
        while len(self._counts) > self.capacity:
            self.passes += 1
            self._counts = {line: count for line, count in self._counts.items() if count > self.passes}

    def frequent(self, *, documents: int = 50, share: float = 0.001) -> dict[str, int]:
        """Return the lines that stand in many documents, with their counts, the most frequent first.

        Args:
            documents: at least in so many.
            share: and at least in this share of all.
        """
        least = max(documents, share * self.documents)
        # The table holds the most that a line can have been met; what it may have gained by being dropped comes off.
        certain = ((line, count - self.passes) for line, count in self._counts.items())
        found = [(line, count) for line, count in certain if count >= least]
        return dict(sorted(found, key=lambda pair: (-pair[1], pair[0])))
