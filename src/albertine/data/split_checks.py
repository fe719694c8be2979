"""What data must have before they can be split: errors that say what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from albertine.data.splitting import TextGroup
from albertine.errors import DataError
from albertine.records import Example

__all__ = ["enough_rows", "enough_texts", "pairs_alike"]


def pairs_alike(examples: Mapping[str, tuple[Example, ...]]) -> None:
    """Refuse files of pairs beside files of single texts."""
    paired = {name: rows[0].text_pair is not None for name, rows in examples.items()}
    if len(set(paired.values())) > 1:
        raise DataError(
            "one file has pairs of texts, another has single texts",
            received=", ".join(f"{name}: {'pairs' if value else 'single texts'}" for name, value in paired.items()),
            next_step="Name the columns with --text-column and --text-pair-column",
        )


def enough_texts(examples: tuple[Example, ...], groups: Sequence[TextGroup], *, needed: int) -> None:
    """Refuse a single class, and labels with too few texts for the splits that are to be made."""
    first: dict[str, Example] = {}
    for example in examples:
        first.setdefault(example.label or "", example)
    counts = Counter(group.label for group in groups)
    if len(first) == 1:
        label, example = next(iter(first.items()))
        raise DataError(
            f"every row has the label {label!r}",
            where=example.file,
            allowed="at least two labels",
            next_step="Check that --label-column names the right column",
        )
    rare = sorted((label for label in first if counts[label] < needed), key=lambda label: (counts[label], label))
    if rare:
        label, example, count = rare[0], first[rare[0]], counts[rare[0]]
        seen = "is seen once" if count == 1 else f"has {count} different texts"
        seen = "stands only on texts that have another label more often" if count == 0 else seen
        others = f" ({len(rare) - 1} other labels are as rare)" if len(rare) > 1 else ""
        parts = {1: "train", 2: "train and dev", 3: "train, dev and test"}[needed]
        header = " If line 1 is a header, name the columns instead of numbering them." if example.line == 1 else ""
        raise DataError(
            f"the label {label!r} {seen}{others}",
            where=f"{example.file}:{example.line}",
            allowed=f"at least {needed} different texts a label, for {parts}",
            next_step=f"Add examples of it, give those rows another label, or remove them.{header}".removesuffix("."),
        )


def enough_rows(examples: tuple[Example, ...], groups: Sequence[TextGroup], *, needed: int) -> None:
    """Refuse files with too few distinct texts for the splits that are to be made."""
    if len(groups) < needed:
        parts = {1: "train", 2: "train and dev", 3: "train, dev and test"}[needed]
        raise DataError(
            "there are too few different texts",
            where=examples[0].file or None,
            received=len(groups),
            allowed=f"at least {needed}, for {parts}",
            next_step="Add examples",
        )
