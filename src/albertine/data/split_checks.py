"""What data must have before they can be split: errors that say what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from albertine.data.formats import DataFormat
from albertine.data.splitting import TextGroup
from albertine.errors import DataError
from albertine.records import Example

__all__ = ["enough_rows", "enough_texts", "learns_from_texts_alone", "pairs_alike"]


def learns_from_texts_alone(train: Sequence[Example], format: DataFormat) -> bool:
    """Say whether the training file has single texts and nothing to measure by."""
    return format.texts_alone and train[0].text_pair is None


def pairs_alike(examples: Mapping[str, tuple[Example, ...]], format: DataFormat) -> None:
    """Refuse files of pairs beside files of single texts, but for training texts that are learnt from alone."""
    paired = {name: rows[0].text_pair is not None for name, rows in examples.items()}
    if learns_from_texts_alone(examples["train"], format):
        single = next((name for name, value in reversed(paired.items()) if not value), "train")
        if single != "train" or len(paired) == 1:
            raise DataError(
                "texts alone can be learnt from, but no model can be measured on them",
                where=examples[single][0].file or None,
                next_step="Give pairs of texts with a score, with --dev or with --dev and --test",
            )
        return
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


def enough_rows(
    examples: tuple[Example, ...], groups: Sequence[TextGroup], *, needed: int, units: str, parts: str | None = None
) -> None:
    """Refuse files whose rows cannot be divided, because too many belong together.

    Args:
        examples: the rows.
        groups: what must stay together.
        needed: how many splits are to be made.
        units: what groups are, for the message.
        parts: which splits; None for train and as many of dev and test.
    """
    if len(groups) < needed:
        parts = parts or {1: "train", 2: "train and dev", 3: "train, dev and test"}[needed]
        raise DataError(
            f"there are too few {units}",
            where=examples[0].file or None,
            received=len(groups),
            allowed=f"at least {needed}, for {parts}",
            next_step="Add examples",
        )
