"""What may be wrong with examples: one function a kind of trouble, each giving findings with the places to look at."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from albertine.data.formats import DataFormat
from albertine.data.identity import normalised
from albertine.data.near_duplicates import near_duplicates
from albertine.data.results import BadRow
from albertine.data.splitting import TextGroup, label_order
from albertine.records import Example

__all__ = ["Finding", "Place", "Severity", "bad_rows", "between_files", "labels", "repeated_texts", "texts"]

Severity = Literal["error", "warning", "info"]
"""error: it has to be mended, or rows are lost; warning: results will be worse or wrong; info: good to know."""

Files = Mapping[str, tuple[Sequence[Example], Sequence[TextGroup]]]
"""The examples of every file and their distinct texts, by the file's name."""

_SHOWN = 5
_SNIPPET = 60
# Ratio of the largest to the smallest label from which on accuracy misleads.
_IMBALANCED, _STRONGLY_IMBALANCED = 3, 10
NEEDED_TEXTS = 3
"""Distinct texts that a label needs in a file that is split in three: to train on, to choose on, to report on."""
_LONG_FACTOR, _LONG_CHARACTERS = 20, 1000

_BAD_ROW_KINDS = {
    "fields": "rows with a wrong number of fields",
    "quotes": "rows with quotes that are not in order",
    "empty-text": "rows with an empty text",
    "no-label": "rows without a label",
    "encoding": "rows with bytes that cannot be decoded",
    "json": "lines that are no JSON objects",
    "type": "rows with a value of the wrong type",
    "tag": "rows with a tag that is none",
    "spans": "rows with spans that are outside, empty or overlapping",
    "answer": "questions whose answers do not stand in their context",
    "duplicate-id": "questions whose id another one has",
}

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# UTF-8 read as a western encoding (é as Ã©, ’ as â€™, Chinese as å, æ, ç … and two signs), and what is left of Chinese
# after two wrong readings.
_MOJIBAKE = re.compile(
    "[ÂÃ][\u0080-\u00bf]|â€[\u0080-\u009f™œžŸ¢£¤¥¦]|ï»¿|[ä-é][\u0080-\u00bf]{2}|锟斤拷|烫烫烫|屯屯屯"
)
_MARKUP = re.compile(
    r"</?(?:a|b|br|div|em|font|h[1-6]|i|img|li|p|script|span|strong|style|table|td|tr|ul)\b[^<>]*>|&(?:nbsp|amp|lt|gt|quot|#\d+);",
    re.IGNORECASE,
)
_FEWEST_FOR_GBK = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a finding can be seen."""

    file: str
    line: int
    text: str
    """The beginning of the text, or what else helps; unprintable characters are escaped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One kind of trouble, with how much of it there is."""

    kind: str
    severity: Severity
    message: str
    """A sentence without its full stop."""
    count: int
    """Rows or texts concerned."""
    examples: tuple[Place, ...] = ()
    """The first few."""


def snippet(text: str, at: int = 0) -> str:
    """Return the text's beginning (or what surrounds character `at`), with unprintable characters escaped."""
    start = max(0, at - _SNIPPET // 2) if at > _SNIPPET // 2 else 0
    part = text[start : start + _SNIPPET]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in part)
    return f"{'…' if start else ''}{shown}{'…' if start + _SNIPPET < len(text) else ''}"


def place(example: Example, *, at: int = 0, remark: str = "") -> Place:
    """Return where an example stands."""
    return Place(file=example.file, line=example.line, text=_shown(example, at) + remark)


def _shown(example: Example, at: int = 0) -> str:
    if example.text_pair is None or at:
        return snippet(_whole(example), at)
    return f"{snippet(example.text)} / {snippet(example.text_pair)}"


def bad_rows(rows: Sequence[BadRow]) -> Iterator[Finding]:
    """Rows that give no example."""
    by_kind: dict[str, list[BadRow]] = defaultdict(list)
    for row in rows:
        by_kind[row.kind].append(row)
    for kind, members in by_kind.items():
        what = _BAD_ROW_KINDS.get(kind, f"rows that cannot be used ({kind})")
        yield Finding(
            kind=kind,
            severity="error",
            message=f"{what}: {len(members):,}; --on-error skip leaves them out",
            count=len(members),
            examples=tuple(Place(file=row.file, line=row.line, text=row.reason) for row in members[:_SHOWN]),
        )


def labels(
    name: str, examples: Sequence[Example], groups: Sequence[TextGroup], *, needed: int = NEEDED_TEXTS
) -> Iterator[Finding]:
    """Single classes, rare labels, labels written in two ways, imbalance.

    Args:
        name: of the file.
        examples: its rows.
        groups: its distinct texts.
        needed: distinct texts that every label must have; 0 for a file that nothing is trained on.
    """
    counts = Counter(example.label for example in examples if example.label is not None)
    first: dict[str, Example] = {}
    for example in examples:
        if example.label is not None:
            first.setdefault(example.label, example)
    if len(counts) == 1 and needed:
        label = next(iter(counts))
        yield Finding(
            kind="one-label",
            severity="error",
            message=f"{name}: every row has the label {label!r}: nothing can be learnt from that",
            count=len(examples),
            examples=(place(first[label]),),
        )
        return
    distinct = Counter(group.label for group in groups)
    rare = [label for label in sorted(counts, key=label_order) if distinct[label] < needed]
    if rare:
        yield Finding(
            kind="rare-label",
            severity="error",
            message=f"{name}: {_listed(rare)} on fewer than {needed} different texts: "
            "too few to train on, choose on and report on",
            count=sum(counts[label] for label in rare),
            examples=tuple(place(first[label], remark=f" (label {label})") for label in rare[:_SHOWN]),
        )
    yield from _labels_alike(name, counts, first)
    (largest, most), (smallest, fewest) = counts.most_common()[0], counts.most_common()[-1]
    if most >= _IMBALANCED * fewest:
        yield Finding(
            kind="imbalance",
            severity="warning" if most >= _STRONGLY_IMBALANCED * fewest else "info",
            message=f"{name}: {largest!r} has {most:,} rows, {smallest!r} {fewest:,}; always answering {largest!r} "
            f"is right in {most / counts.total():.1%}, so go by macro-F1, and weigh the labels in training "
            "(class weights)",
            count=most,
        )


def _labels_alike(name: str, counts: Counter[str], first: Mapping[str, Example]) -> Iterator[Finding]:
    spellings: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        spellings[normalised(label)].append(label)
    alike = [group for group in spellings.values() if len(group) > 1]
    if alike:
        shown = "; ".join(" and ".join(map(repr, group)) for group in alike[:_SHOWN])
        yield Finding(
            kind="labels-alike",
            severity="warning",
            message=f"{name}: labels that differ only in case, width or blanks: {shown}",
            count=sum(counts[label] for group in alike for label in group),
            examples=tuple(place(first[group[1]]) for group in alike[:_SHOWN]),
        )


def _listed(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"the label {names[0]!r} stands"
    shown = ", ".join(map(repr, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")
    return f"{len(names)} labels ({shown}) stand"


def repeated_texts(
    name: str, examples: Sequence[Example], groups: Sequence[TextGroup], format: DataFormat
) -> Iterator[Finding]:
    """Texts that occur several times in one file, or what else rows have in common, and those that disagree."""
    repeats = len(examples) - len(groups)
    if repeats:
        several = [group for group in groups if len(group.rows) > 1]
        several.sort(key=lambda group: -len(group.rows))
        repeated = any(len(group.kept) < len(group.rows) for group in groups)  # else they add to each other
        yield Finding(
            kind="duplicates" if repeated else "rows-together",
            severity="warning" if repeated and repeats >= 0.01 * len(examples) else "info",
            message=f"{name}: {len(examples):,} rows hold {len(groups):,} {format.units}; rows that belong together "
            "are kept on one side of a split" + ", or only one of them is kept (as a comparison does)" * repeated,
            count=repeats,
            examples=tuple(
                place(examples[group.rows[0]], remark=f" ({len(group.rows)} times)") for group in several[:_SHOWN]
            ),
        )
    conflicting = [group for group in groups if group.conflicting]
    if conflicting:
        yield Finding(
            kind="conflicting-labels",
            severity="warning",
            message=f"{name}: texts that {format.contradiction}: {len(conflicting):,}",
            count=len(conflicting),
            examples=tuple(_conflict(examples, group, format) for group in conflicting[:_SHOWN]),
        )


def _conflict(examples: Sequence[Example], group: TextGroup, format: DataFormat) -> Place:
    one = examples[group.rows[0]]
    said, *others = ((format.answer(examples[row]).replace("\n", ", "), row) for row in group.rows)
    different, row = next(other for other in others if other[0] != said[0])
    label = "label " if one.label is not None else ""
    return place(one, remark=f" ({label}{said[0]}; line {examples[row].line}: {different})")


def texts(name: str, examples: Sequence[Example]) -> Iterator[Finding]:
    """Characters that tell of a lost or wrong encoding, leftover markup, very long texts."""
    kinds: list[tuple[str, Severity, str, Callable[[str], int]]] = [
        ("replacement-character", "warning", "characters were lost before (U+FFFD)", lambda text: text.find("\ufffd")),
        ("byte-order-mark", "warning", "a byte order mark (U+FEFF) stands inside", lambda text: text.find("\ufeff")),
        ("control-character", "warning", "there are control characters", lambda text: _found(_CONTROL, text)),
        ("mojibake", "warning", "the text looks as if read in a wrong encoding before", _mojibake),
        ("markup", "info", "there is HTML left", lambda text: _found(_MARKUP, text)),
    ]
    for kind, severity, what, find in kinds:
        hits = [(example, at) for example in examples if (at := find(_whole(example))) >= 0]
        if hits:
            yield Finding(
                kind=kind,
                severity=severity,
                message=f"{name}: {what} in {len(hits):,} of {len(examples):,} texts",
                count=len(hits),
                examples=tuple(place(example, at=at) for example, at in hits[:_SHOWN]),
            )
    sizes = sorted(len(_whole(example)) for example in examples)
    bound = max(_LONG_CHARACTERS, _LONG_FACTOR * sizes[len(sizes) // 2])
    long = [example for example in examples if len(_whole(example)) > bound]
    if long:
        long.sort(key=lambda example: -len(_whole(example)))
        yield Finding(
            kind="very-long-text",
            severity="info",
            message=f"{name}: texts of more than {bound:,} characters: {len(long):,} (half of all have at most "
            f"{sizes[len(sizes) // 2]:,})",
            count=len(long),
            examples=tuple(place(e, remark=f" ({len(_whole(e)):,} characters)") for e in long[:_SHOWN]),
        )


def _whole(example: Example) -> str:
    return example.text if example.text_pair is None else f"{example.text} / {example.text_pair}"


def _found(pattern: re.Pattern[str], text: str) -> int:
    match = pattern.search(text)
    return match.start() if match else -1


def _mojibake(text: str) -> int:
    if text.isascii():
        return -1
    if (at := _found(_MOJIBAKE, text)) >= 0:
        return at
    # UTF-8 read as GBK gives characters whose GBK bytes are UTF-8 for Chinese, but for a byte lost here and there.
    decoded = text.encode("gb18030", errors="replace").decode("utf-8", errors="replace")
    lost = decoded.count("\ufffd")
    chinese = [character for character in decoded if character > "\u0800" and character != "\ufffd"]
    return 0 if len(set(chinese)) >= _FEWEST_FOR_GBK and lost <= 0.25 * len(chinese) else -1


def between_files(files: Files, *, near: bool) -> Iterator[Finding]:
    """Texts that are in two files, and texts that are nearly the same, within a file and between two."""
    first: dict[str, dict[bytes, Example]] = {}
    for name, (examples, groups) in files.items():
        first[name] = {group.key: examples[group.rows[0]] for group in groups}
    for one, other in combinations(first, 2):
        shared = [key for key in first[one] if key in first[other]]
        if shared:
            yield Finding(
                kind="split-overlap",
                severity="warning",
                message=f"texts that are in {one} and in {other}: {len(shared):,}; they are removed from the one that "
                "is learnt from",
                count=len(shared),
                examples=tuple(
                    place(first[one][key], remark=f" ({other}: line {first[other][key].line})")
                    for key in shared[:_SHOWN]
                ),
            )
    if near:
        yield from _near(first)


def _near(first: Mapping[str, Mapping[bytes, Example]]) -> Iterator[Finding]:
    distinct: dict[bytes, tuple[str, Example]] = {}
    for name, seen in first.items():
        for key, example in seen.items():
            distinct.setdefault(key, (name, example))
    items = list(distinct.values())
    found = near_duplicates([_whole(example) for _, example in items])
    across = tuple((a, b) for a, b in found.pairs if items[a][0] != items[b][0])
    alike = "80 % of all their three-character pieces are shared"
    if found.pairs:
        yield Finding(
            kind="near-duplicates",
            severity="warning" if found.texts >= 0.01 * len(items) else "info",
            message=f"texts nearly the same as another: {found.texts:,}, in {found.groups:,} groups ({alike}); a split "
            "may put them on two sides, so results may flatter",
            count=found.texts,
            examples=_pairs(items, found.pairs),
        )
    if across:
        yield Finding(
            kind="near-duplicates-across",
            severity="warning",
            message=f"pairs of nearly the same text in two files: {len(across):,} ({alike}), so results may flatter",
            count=len(across),
            examples=_pairs(items, across),
        )


def _pairs(items: Sequence[tuple[str, Example]], pairs: Sequence[tuple[int, int]]) -> tuple[Place, ...]:
    places = []
    for one, other in pairs[:_SHOWN]:
        (name, example), (other_name, second) = items[one], items[other]
        of = "" if name == other_name else f" of {other_name}"
        places.append(place(example, remark=f" | line {second.line}{of}: {_shown(second)}"))
    return tuple(places)
