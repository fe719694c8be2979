"""Train, dev and test of a data set, with no text on two sides."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from albertine.data.columns import Columns
from albertine.data.formats import LABELLED_TEXTS, DataFormat
from albertine.data.results import BadRow, ReadResult
from albertine.data.split_checks import enough_rows, enough_texts, learns_from_texts_alone, pairs_alike
from albertine.data.split_files import SplitFiles
from albertine.data.splitting import TextGroup, divide, group_texts, label_order, sample
from albertine.errors import ConfigError, DataError
from albertine.files import sha256
from albertine.records import Example, example_to_dict

__all__ = ["SplitCounts", "Splits", "load_splits"]

_logger = logging.getLogger("albertine")

_TENTH = 0.1
# The label that published test files carry where theirs are kept secret.
_SECRET_LABEL = "-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitCounts:
    """What became of the rows."""

    rows: int
    """Rows of the training file (the only file, where there is one), without bad ones and overlaps."""
    distinct: int
    """Distinct texts among them."""
    sampled: int
    """Distinct texts that were taken; all of them where no sample was asked for."""
    conflicting: int
    """Distinct texts among them that stand under several labels."""
    duplicates_removed: int
    """Rows removed because their text was there already; 0 with duplicates="group"."""
    overlaps_removed: int
    """Rows removed because their text is in a split that is measured on."""
    outside_sample: int
    """Rows left out because only a sample was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """A data set ready to train on, to choose on and to report on."""

    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    labels: tuple[str, ...]
    """Every label, numbers by value, then the rest by code point; all of them occur in train. Empty where the data
    have no labels."""
    notes: tuple[str, ...]
    """What was guessed, removed or moved, one sentence each without its full stop."""
    sha256: Mapping[str, str]
    """The hash of every file in use, by its name."""
    source: str
    """The names of the files in use, without their folders."""
    bad_rows: tuple[BadRow, ...]
    """Rows left out; always empty with on_error="stop"."""
    columns: Columns
    """The columns that were read from the training file."""
    counts: SplitCounts
    halved: bool = False
    """True where one file of pairs is dev and test, half each, as the training texts have no scores."""
    out_of_scope: tuple[Example, ...] = ()
    """Rows of labels that were held out, see `hold_out_labels`: no label of the others is right for them."""

    def content_hash(self) -> str:
        """Return a hash of the rows of all three splits, in their order; sampling and seeds change it too."""
        digest = hashlib.sha256()
        for part in (self.train, self.dev, self.test):
            for one in part:
                row = example_to_dict(one)
                where = {"file", "line", "identifier"}
                digest.update(json.dumps({name: row[name] for name in sorted(row) if name not in where}).encode())
            digest.update(b"\n")
        return digest.hexdigest()


def load_splits(
    path: str | Path,
    *,
    format: DataFormat = LABELLED_TEXTS,
    dev: str | Path | None = None,
    test: str | Path | None = None,
    columns: Columns = Columns(),  # noqa: B008  a frozen record
    seed: int = 0,
    duplicates: str = "group",
    encoding: str = "utf-8",
    on_error: str = "stop",
    quoting: str = "auto",
    limit: int | None = None,
) -> Splits:
    """Read a data set and see to it that no text is on two sides.

    One file is split 80/10/10, each label in proportion, all rows of one text on one side. With files for dev or test,
    those stay as they are, except that dev loses the texts of test; train loses the texts of both. Without a test file
    that has labels, dev serves as test, and a tenth of train as dev; where train has texts alone, which cannot be
    measured on, dev and test are the halves of whichever file there is. Which text goes where depends on the texts and
    the seed alone, not on the order of the rows.

    Two texts are the same when they differ only in case, width (NFKC), white space or invisible characters.

    Args:
        path: a file, or a folder with train, dev (valid, validation) and test.
        format: what the files look like.
        dev: a development file.
        test: a test file.
        columns: as in `read_examples`.
        seed: chooses the split, and the sample.
        duplicates: "group" keeps every row; "drop" keeps one row of each distinct text, with the label most of its rows
            have. Files given for dev and test keep all their rows.
        encoding: as in `read_examples`.
        on_error: as in `read_examples`; a label of dev or test that train does not have makes a bad row too.
        quoting: as in `read_examples`.
        limit: take a sample of so many distinct texts, each label in proportion, before splitting; of train alone
            where the others are given.

    Raises:
        ConfigError: an option is not one of those that exist, or the limit is too small.
        DataError: a file is not usable, all rows have one label, or a label has too few distinct texts.
    """
    if duplicates not in ("group", "drop"):
        raise ConfigError("unknown value of duplicates", received=repr(duplicates), allowed="group, drop")
    files = format.files(
        Path(path), dev=None if dev is None else Path(dev), test=None if test is None else Path(test), columns=columns
    )

    def read(file: Path, *, columns: Columns = columns, labelled: bool = True) -> ReadResult:
        return format.read(
            file, columns=columns, encoding=encoding, on_error=on_error, labelled=labelled, quoting=quoting
        )

    notes: list[str] = []
    results = {"train": read(files.train)}
    if files.test is not None:
        # Where the label's column was found by being the only one left, only train's answer can tell test's.
        if _answered(read(files.test, labelled=False), format) or _reads_like(results["train"], files.test, read):
            results["test"] = read(files.test)
        else:
            notes.append(f"{files.test.name} has no labels, so it is not used")
            files = SplitFiles(train=files.train, dev=files.dev)
    if files.dev is not None:
        results["dev"] = read(files.dev)
    halved = learns_from_texts_alone(results["train"].examples, format) and len(results) == 2
    if "dev" in results and "test" not in results and not halved:
        notes.append(f"{files.dev.name if files.dev else 'dev'} serves as test, and a tenth of train as dev")
        results["test"] = results.pop("dev")
    splits = _made(
        {name: result.examples for name, result in results.items()},
        _Plan(format=format, seed=seed, drop=duplicates == "drop", skip=on_error == "skip", limit=limit),
        _Tally(notes=notes, bad_rows=[row for result in results.values() for row in result.bad_rows]),
    )
    for note in notes:
        _logger.info(note)
    used = [file for _, file in files.named()]
    hashes = {file.name if _unique(file, used) else str(file): sha256(file) for file in used}
    return Splits(
        train=splits.train,
        dev=splits.dev,
        test=splits.test,
        labels=splits.labels,
        notes=(*(note for result in results.values() for note in result.notes), *notes),
        sha256=hashes,
        source=", ".join(hashes),
        bad_rows=splits.bad_rows,
        columns=results["train"].columns,
        counts=splits.counts,
        halved=halved,
    )


def _reads_like(train: ReadResult, test: Path, read: Callable[..., ReadResult]) -> bool:
    """Say whether the test file has the training file's label column, filled."""
    if train.columns.label is None:
        return False
    try:
        return _answered(read(test, columns=train.columns, labelled=False), LABELLED_TEXTS)
    except DataError:
        return False


def _answered(result: ReadResult, format: DataFormat) -> bool:
    """Say whether a file tells the answers, other than the one that hides them."""
    answered = [example for example in result.examples if format.answered(example)]
    return any(example.label != _SECRET_LABEL for example in answered)


def _unique(file: Path, files: Sequence[Path]) -> bool:
    return sum(other.name == file.name for other in files) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What was asked for."""

    format: DataFormat
    seed: int
    drop: bool
    skip: bool
    limit: int | None


@dataclass(slots=True, kw_only=True)
class _Tally:
    """What happened on the way."""

    notes: list[str]
    bad_rows: list[BadRow]
    overlaps: int = 0
    duplicates: int = 0
    outside: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """The splits before their files are named."""

    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    labels: tuple[str, ...]
    bad_rows: tuple[BadRow, ...]
    counts: SplitCounts


def _made(examples: dict[str, tuple[Example, ...]], plan: _Plan, tally: _Tally) -> _Made:
    """Make three splits of one, two (train, test) or three that were read."""
    pairs_alike(examples, plan.format)
    given: list[str] = [name for name in ("dev", "test") if name in examples]
    if len(given) == 1 and learns_from_texts_alone(examples["train"], plan.format):
        _halve(examples, given[0], plan, tally)
        given = ["dev", "test"]
    if len(given) == 2:
        examples["dev"] = _without(examples["dev"], [examples["test"]], "dev", "test", plan, tally)
    if given:
        measured = [examples[name] for name in given]
        examples["train"] = _without(examples["train"], measured, "train", " or ".join(given), plan, tally)
    train = examples["train"]
    groups = group_texts(train, plan.format)
    if plan.format.stratified:
        enough_texts(train, groups, needed=3 - len(given))
        found = {group.label for group in groups}
    else:
        enough_rows(train, groups, needed=3 - len(given), units=plan.format.units)
        found = {label for one in train for label in plan.format.labels(one)}
    labels = tuple(sorted(found, key=label_order))
    for name in given:
        examples[name] = _with_known_labels(examples[name], labels, name, plan, tally)
    _say_duplicates(train, groups, plan, tally)
    strata = len({group.label for group in groups})
    chosen = _sampled(groups, plan, strata, 3 - len(given), tally)
    carved = {"test", "dev"}.difference(given)
    parts = divide(chosen, shares=[_TENTH] * len(carved), seed=plan.seed)
    for name, part in zip([*sorted(carved), "train"], parts, strict=True):
        examples[name] = _rows(train, part, plan, tally)
    return _Made(
        train=examples["train"],
        dev=examples["dev"],
        test=examples["test"],
        labels=labels,
        bad_rows=tuple(tally.bad_rows),
        counts=SplitCounts(
            rows=len(train),
            distinct=len(groups),
            sampled=len(chosen),
            conflicting=sum(group.conflicting for group in groups),
            duplicates_removed=tally.duplicates,
            overlaps_removed=tally.overlaps,
            outside_sample=tally.outside,
        ),
    )


def _halve(examples: dict[str, tuple[Example, ...]], name: str, plan: _Plan, tally: _Tally) -> None:
    """Make dev and test of one of them: texts alone can be neither."""
    rows = examples[name]
    groups = group_texts(rows, plan.format)
    enough_rows(rows, groups, needed=2, units=plan.format.units, parts="dev and test")
    halves = divide(groups, shares=[0.5], seed=plan.seed)
    for part, members in zip(("dev", "test"), halves, strict=True):
        examples[part] = tuple(rows[row] for row in sorted(row for group in members for row in group.rows))
    tally.notes.append(f"train has texts alone: one half of {name} is what is chosen by, the other is tested on")


def _without(
    rows: tuple[Example, ...],
    others: Sequence[tuple[Example, ...]],
    name: str,
    place: str,
    plan: _Plan,
    tally: _Tally,
) -> tuple[Example, ...]:
    """Remove the rows whose text occurs in one of `others`."""
    marks = plan.format.marks
    seen = {mark for other in others for example in other for mark in marks(example)}
    kept = tuple(example for example in rows if seen.isdisjoint(marks(example)))
    removed = len(rows) - len(kept)
    if removed:
        tally.overlaps += removed
        shared = plan.format.shared
        tally.notes.append(f"{removed} of {len(rows)} rows of {name} were removed because {shared} is in {place} too")
    if not kept:
        raise DataError(
            f"no row of {name} is left: of each, {plan.format.shared.replace('their', 'its')} is in {place} too",
            next_step="Pass different files, or one file to be split",
        )
    return kept


def _with_known_labels(
    rows: tuple[Example, ...], labels: Sequence[str], name: str, plan: _Plan, tally: _Tally
) -> tuple[Example, ...]:
    """Treat rows whose label train does not have as bad rows, or count them where the format leaves them in."""
    known = set(labels)

    def strange(example: Example) -> list[str]:
        return [label for label in plan.format.labels(example) if label not in known]

    unknown = [example for example in rows if strange(example)]
    if not unknown:
        return rows
    first = unknown[0]
    if not plan.format.closed:
        tally.notes.append(
            f"{len(unknown)} of {len(rows)} rows of {name} have a label that train does not have: they stay, and no "
            f"answer to them is right; the first stands in {Path(first.file).name}:{first.line}"
        )
        return rows
    if not plan.skip:
        names = sorted({label for example in unknown for label in strange(example)}, key=label_order)
        raise DataError(
            f"{len(unknown)} of {len(rows)} rows of {name} have a label that train does not have",
            where=f"{first.file}:{first.line}",
            received=", ".join(map(repr, names[:10])),
            allowed=", ".join(map(repr, labels[:20])) + (", …" if len(labels) > 20 else ""),
            next_step="Mend the labels, or leave such rows out with --on-error skip",
        )
    for example in unknown:
        reason = f"the label {strange(example)[0]!r} does not occur in train"
        tally.bad_rows.append(BadRow(file=example.file, line=example.line, kind="unknown-label", reason=reason))
    tally.notes.append(f"{len(unknown)} of {len(rows)} rows of {name} have a label that train does not have: left out")
    kept = tuple(example for example in rows if not strange(example))
    if not kept:
        raise DataError(f"no label of {name} occurs in train", where=first.file, next_step="Check the label columns")
    return kept


def _say_duplicates(examples: tuple[Example, ...], groups: Sequence[TextGroup], plan: _Plan, tally: _Tally) -> None:
    repeated = len(examples) - len(groups)
    if repeated:
        dropped = plan.drop and any(len(group.kept) < len(group.rows) for group in groups)
        kept = "one row of each was kept" if dropped else "rows that belong together stay on one side of the split"
        tally.notes.append(f"{len(examples)} rows hold {len(groups)} {plan.format.units}: {kept}")
    conflicting = sum(group.conflicting for group in groups)
    if conflicting:
        kept = "what most of their rows say was kept" if plan.drop else "all rows kept"
        tally.notes.append(f"{conflicting} texts {plan.format.contradiction} ({kept})")


def _sampled(groups: list[TextGroup], plan: _Plan, labels: int, needed: int, tally: _Tally) -> list[TextGroup]:
    if plan.limit is None or plan.limit >= len(groups):
        return groups
    if plan.limit < needed * labels:
        raise ConfigError(
            "the sample is too small",
            received=f"{plan.limit} {plan.format.units}",
            allowed=f"at least {needed * labels}" + (f": {needed} for each of {labels} labels" if labels > 1 else ""),
            next_step="Raise --limit",
        )
    chosen = sample(groups, plan.limit, smallest=needed, seed=plan.seed)
    tally.outside = sum(len(group.rows) for group in groups) - sum(len(group.rows) for group in chosen)
    units = plan.format.units
    tally.notes.append(f"a sample of {len(chosen)} of {len(groups)} {units} was taken (seed {plan.seed})")
    return chosen


def _rows(
    examples: tuple[Example, ...], groups: Sequence[TextGroup], plan: _Plan, tally: _Tally
) -> tuple[Example, ...]:
    """Return the rows of the groups in the order of the file; with `drop` one of each."""
    if plan.drop:
        tally.duplicates += sum(len(group.rows) - len(group.kept) for group in groups)
        indices = [row for group in groups for row in group.kept]
    else:
        indices = [row for group in groups for row in group.rows]
    return tuple(examples[row] for row in sorted(indices))
