"""Which distinct text goes where: by label and seed, the same whatever the order of the rows."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from albertine.data.formats import LABELLED_TEXTS, DataFormat
from albertine.records import Example

__all__ = ["TextGroup", "connected", "divide", "group_texts", "label_order", "sample"]

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextGroup:
    """The rows that hold one text."""

    key: bytes
    """The smallest of their marks, see `DataFormat.marks`; it does not depend on the order of the rows."""
    label: str
    """The label most of them have, among equals the one that comes first; "" where the splits are not stratified."""
    rows: tuple[int, ...]
    """Their indices, ascending."""
    kept: tuple[int, ...]
    """The rows that stand for the group where duplicates are dropped: the first that says what most of them say; all
    of them where rows of one text add to each other."""
    conflicting: bool
    """True where they do not all say the same."""


def group_texts(examples: Sequence[Example], format: DataFormat = LABELLED_TEXTS) -> list[TextGroup]:
    """Gather the rows of each distinct text, in order of first appearance."""
    rows: dict[bytes, list[int]] = defaultdict(list)
    for index, key in enumerate(connected([format.marks(example) for example in examples])):
        rows[key].append(index)
    groups = []
    for key, members in rows.items():
        answers = [format.answer(examples[row]) for row in members]
        counts = Counter(answers)
        # Counter keeps the order of first appearance, and max takes the first among equals.
        usual = max(counts, key=lambda name: counts[name])
        groups.append(
            TextGroup(
                key=key,
                label=usual if format.stratified else "",
                rows=tuple(members),
                kept=(members[answers.index(usual)],) if usual else tuple(members),
                conflicting=len(counts) > 1,
            )
        )
    return groups


def connected(marks: Sequence[tuple[bytes, ...]]) -> list[bytes]:
    """Return a key for every row that it shares with all rows it is connected to by marks, directly or through others.

    Args:
        marks: of every row, at least one.

    Returns:
        The smallest mark of those that are connected.
    """
    leads: dict[bytes, bytes] = {}

    def lead(mark: bytes) -> bytes:
        while (above := leads.setdefault(mark, mark)) != mark:
            leads[mark] = leads[above]  # halves the way, so that long chains stay cheap
            mark = above
        return mark

    for own in marks:
        first, *others = sorted(lead(mark) for mark in own)
        for other in others:
            leads[other] = first
    return [lead(own[0]) for own in marks]


def divide(groups: Sequence[TextGroup], *, shares: Sequence[float], seed: int) -> list[list[TextGroup]]:
    """Divide distinct texts into parts, each label in the same proportion, and at least one text a label and part.

    A group with more rows than a part is to have (texts that a long chain of pairs connects) goes into the last one.

    Args:
        groups: the distinct texts; each label needs at least one more than there are shares.
        shares: how much goes into each part; a last part takes what is left over.
        seed: another seed, another division. The order of `groups` changes nothing but the order within the parts.

    Returns:
        One list a share, and the rest; each in the order of `groups`.
    """
    place: dict[bytes, int] = {}
    for members in _by_label(groups, purpose=b"divide", seed=seed).values():
        fitting = _fitting(members, shares)
        start = 0
        for part, share in enumerate(shares):
            end = start + max(1, int(len(members) * share + 0.5))
            place.update((group.key, part) for group in fitting[start:end])
            start = end
        place.update((group.key, len(shares)) for group in members if group.key not in place)
    parts: list[list[TextGroup]] = [[] for _ in range(len(shares) + 1)]
    for group in groups:
        parts[place[group.key]].append(group)
    return parts


def _fitting(groups: Sequence[TextGroup], shares: Sequence[float]) -> Sequence[TextGroup]:
    """Leave out groups that are larger than any part should be, if there are enough without them."""
    most = max(shares, default=1.0) * sum(len(group.rows) for group in groups)
    small = [group for group in groups if len(group.rows) <= max(1.0, most)]
    return small if len(small) > sum(max(1, int(len(groups) * share + 0.5)) for share in shares) else groups


def sample(groups: Sequence[TextGroup], size: int, *, smallest: int, seed: int) -> list[TextGroup]:
    """Choose `size` distinct texts, each label in proportion (largest remainders) but at least `smallest` of each.

    Args:
        groups: the distinct texts.
        size: how many to keep, at least `smallest` a label; all, where there are no more.
        smallest: how many of each label at least, as far as there are as many.
        seed: another seed, another choice.
    """
    if size >= len(groups):
        return list(groups)
    by_label = _by_label(groups, purpose=b"sample", seed=seed)
    exact = {label: size * len(members) / len(groups) for label, members in by_label.items()}
    quota = {label: max(min(smallest, len(by_label[label])), int(share)) for label, share in exact.items()}
    while (missing := size - sum(quota.values())) != 0:
        step = 1 if missing > 0 else -1
        open_to = [
            label
            for label in quota
            if (quota[label] < len(by_label[label]) if step > 0 else quota[label] > min(smallest, len(by_label[label])))
        ]
        # The label that is furthest from its exact share; by name among equals, so that the choice is always the same.
        chosen = max(open_to, key=lambda label: (step * (exact[label] - quota[label]), label))
        quota[chosen] += step
    kept = {group.key for label, members in by_label.items() for group in members[: quota[label]]}
    return [group for group in groups if group.key in kept]


def label_order(label: str) -> tuple[int, float, str]:
    """Sort key: numbers by value before everything else by code point."""
    return (0, float(label), label) if _NUMBER.fullmatch(label) else (1, 0.0, label)


def _by_label(groups: Sequence[TextGroup], *, purpose: bytes, seed: int) -> dict[str, list[TextGroup]]:
    """Return each label's groups in an order that depends on their texts and the seed alone."""
    by_label: dict[str, list[TextGroup]] = defaultdict(list)
    for group in groups:
        by_label[group.label].append(group)

    def rank(group: TextGroup) -> bytes:
        return hashlib.blake2b(group.key, digest_size=16, key=str(seed).encode(), person=purpose).digest()

    return {label: sorted(by_label[label], key=rank) for label in sorted(by_label)}
