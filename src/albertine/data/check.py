"""`data check`: what is wrong with data, before any training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from albertine import registry
from albertine.data.columns import Columns
from albertine.data.findings import (
    NEEDED_TEXTS,
    Finding,
    Place,
    Severity,
    bad_rows,
    between_files,
    labels,
    place,
    repeated_texts,
    texts,
)
from albertine.data.formats import DataFormat
from albertine.data.results import ReadResult
from albertine.data.splitting import TextGroup, group_texts, label_order
from albertine.errors import ConfigError, DataError
from albertine.files import members, sha256
from albertine.records import Example, IntArray, Tokens

__all__ = ["DataCheck", "FileCheck", "Finding", "Place", "TextTokenizer", "check_data"]

SCHEMA_VERSION = 1
"""Of the JSON document."""

_SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
_BATCH = 2000
_SHOWN_LABELS = 12


class TextTokenizer(Protocol):
    """What is needed of a tokenizer."""

    @property
    def unk_id(self) -> int:
        """Return the id of the unknown token."""

    def tokenize(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int | None = None,
        special_tokens: bool = True,
        offsets: bool = True,
    ) -> Tokens:
        """Return the tokens of the texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheck:
    """One file, summed up."""

    name: str
    """train, dev or test in a folder, else the file's name."""
    file: str
    sha256: str
    examples: int
    """Usable rows."""
    bad_rows: int
    distinct: int
    """Rows that belong together counted once."""
    units: str
    """What that is the number of, such as distinct texts."""
    columns: Columns
    label_counts: Mapping[str, int]
    """Rows of every label; empty where the file has none."""
    notes: tuple[str, ...]
    """What was guessed or noticed while reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataCheck:
    """What was found."""

    files: tuple[FileCheck, ...]
    findings: tuple[Finding, ...]
    """Errors first, then warnings, then what is good to know."""

    @property
    def worst(self) -> str:
        """Return the gravest severity, "ok" where there is no finding."""
        return self.findings[0].severity if self.findings else "ok"

    def to_dict(self) -> dict[str, object]:
        """Return everything as it goes into JSON."""
        return {
            "schema_version": SCHEMA_VERSION,
            "worst": self.worst,
            "files": [{**asdict(file), "notes": list(file.notes)} for file in self.files],
            "findings": [
                {**asdict(finding), "examples": [asdict(example) for example in finding.examples]}
                for finding in self.findings
            ],
        }

    def render(self) -> str:
        """Return everything as lines for a terminal."""
        lines = []
        for file in self.files:
            lines.append(f"{file.name}: {file.examples:,} examples, {file.distinct:,} {file.units} ({file.file})")
            lines.extend(f"  {note}" for note in file.notes)
            if file.label_counts:
                total = sum(file.label_counts.values())
                shown = list(file.label_counts.items())[:_SHOWN_LABELS]
                counts = ", ".join(f"{label} {count:,} ({count / total:.1%})" for label, count in shown)
                more = len(file.label_counts) - len(shown)
                lines.append(f"  {len(file.label_counts)} labels: {counts}" + (f" and {more} more" if more else ""))
        for finding in self.findings:
            lines.append(f"{finding.severity.upper():7}  {finding.kind}: {finding.message}")
            lines.extend(f"         {Path(e.file).name}:{e.line}  {e.text}" for e in finding.examples)
        found = [finding.severity for finding in self.findings]
        lines.append(", ".join(_counted(found.count(name), name) for name in _SEVERITIES))
        return "\n".join(lines)


def _counted(number: int, severity: Severity) -> str:
    noun = "remark" if severity == "info" else severity
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def check_data(
    paths: str | Path | Sequence[str | Path],
    *,
    task: str = "text-classification",
    columns: Columns = Columns(),  # noqa: B008  a frozen record
    encoding: str = "utf-8",
    quoting: str = "auto",
    tokenizer: TextTokenizer | None = None,
    max_length: int | None = None,
    near: bool = True,
) -> DataCheck:
    """Look data over: rows that cannot be read, labels, repeated and contradicting texts, leaks, encodings, lengths.

    Args:
        paths: files, each a split of its own, or a folder with train, dev and test.
        task: what the data are for, which says what they look like.
        columns: as in `read_examples`.
        encoding: as in `read_examples`.
        quoting: as in `read_examples`.
        tokenizer: the tokenizer of the encoder that is to be trained; without one the share that is cut off and the
            rate of unknown tokens are not measured, and a finding says so.
        max_length: tokens a text would be cut to, special tokens included; None to report lengths alone.
        near: look for texts that are nearly the same.

    Raises:
        ConfigError: an option is not one of those that exist.
        DataError: a file does not exist, or no file could be read.
    """
    if max_length is not None and max_length < 1:
        raise ConfigError("the maximum length is too small", received=max_length, allowed="at least 1")
    format = _format(task)
    files: list[FileCheck] = []
    findings: list[Finding] = []
    read: dict[str, tuple[Sequence[Example], Sequence[TextGroup]]] = {}
    failure: DataError | None = None
    named = _named(format, paths, columns)
    # The first file is trained on; every other one that is there takes a part of the splitting off it.
    needed = {name: 0 if place else max(1, NEEDED_TEXTS + 1 - len(named)) for place, (name, _) in enumerate(named)}
    for name, path in named:
        try:
            result, remark = _read(format, path, name, columns, encoding, quoting)
        except DataError as error:
            failure = failure or error
            findings.append(Finding(kind="unreadable", severity="error", message=str(error), count=1))
            continue
        findings.extend(remark)
        groups = group_texts(result.examples, format)
        read[name] = result.examples, groups
        counts = Counter(label for example in result.examples for label in format.labels(example))
        files.append(
            FileCheck(
                name=name,
                file=str(path),
                sha256=sha256(path),
                examples=len(result.examples),
                bad_rows=len(result.bad_rows),
                distinct=len(groups),
                units=format.units,
                columns=result.columns,
                label_counts={label: counts[label] for label in sorted(counts, key=label_order)},
                notes=result.notes,
            )
        )
        findings.extend(bad_rows(result.bad_rows))
        if counts and format.stratified:
            findings.extend(labels(name, result.examples, groups, needed=needed[name]))
        findings.extend(repeated_texts(name, result.examples, groups, format))
        findings.extend(texts(name, result.examples))
        if tokenizer is not None:
            findings.extend(_tokens(name, result.examples, tokenizer, max_length))
    if failure is not None and not files:
        raise failure
    findings.extend(_strange_labels(files, closed=format.closed))
    findings.extend(between_files(read, near=near))
    if tokenizer is None:
        message = "how much is cut off and how many tokens are unknown was not measured: that takes a tokenizer"
        findings.append(Finding(kind="not-measured", severity="info", message=message, count=0))
    findings.sort(key=lambda finding: _SEVERITIES.index(finding.severity))
    return DataCheck(files=tuple(files), findings=tuple(findings))


def _named(format: DataFormat, paths: str | Path | Sequence[str | Path], columns: Columns) -> list[tuple[str, Path]]:
    """Return every file with its name: its part in a folder, else its file name, or its path where names repeat."""
    given = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    if not given:
        raise DataError("no file to check", next_step="Name a file or a folder")
    named: list[tuple[str, Path]] = []
    for path in given:
        if path.is_dir():
            found = format.files(path, columns=columns)
            named.extend((name if len(given) == 1 else str(file), file) for name, file in found.named())
        else:
            repeated = sum(other.name == path.name for other in given) > 1
            named.append((str(path) if repeated else path.name, path))
    missing = [path for _, path in named if not members(path)[0].exists()]
    if missing:
        raise DataError("there is no such file", where=str(missing[0]), next_step="Check the path")
    return list(dict(named).items())


class _Task(Protocol):
    """What is needed here of a task's record, which this folder knows nothing of."""

    options: Callable[[], object]
    format: Callable[[object], DataFormat]


def _format(task: str) -> DataFormat:
    """Return what the files of a task look like."""
    record = cast("_Task", registry.tasks.get(task))
    return record.format(record.options())


def _read(
    format: DataFormat, path: Path, name: str, columns: Columns, encoding: str, quoting: str
) -> tuple[ReadResult, Iterator[Finding]]:
    """Read a file with its labels, or without where it has none."""
    try:
        result = format.read(path, columns=columns, encoding=encoding, on_error="skip", quoting=quoting)
        return result, iter(())
    except DataError as error:
        try:
            result = format.read(
                path, columns=columns, encoding=encoding, on_error="skip", labelled=False, quoting=quoting
            )
        except DataError:
            raise error from None
        count = len(result.examples)
        finding = Finding(
            kind="no-labels",
            severity="info" if name.startswith("test") else "error",
            message=f"{name}: read without labels: {error.what}. {error.next_step or ''}".rstrip(". "),
            count=count,
        )
        return result, iter((finding,))


def _strange_labels(files: Sequence[FileCheck], *, closed: bool) -> Iterator[Finding]:
    """Labels of another file that the first one (train) does not have, which not every format takes for errors."""
    known = set(files[0].label_counts)
    for file in files[1:]:
        strange = [label for label in file.label_counts if label not in known]
        if known and strange:
            yield Finding(
                kind="unknown-label",
                severity="error" if closed else "warning",
                message=f"{file.name}: {len(strange)} labels are not in {files[0].name}: {', '.join(strange[:10])}",
                count=sum(file.label_counts[label] for label in strange),
            )


def _tokens(
    name: str, examples: Sequence[Example], tokenizer: TextTokenizer, max_length: int | None
) -> Iterator[Finding]:
    """Lengths in tokens, the share that is cut off, and the rate of unknown tokens."""
    lengths, unknown = _measured(examples, tokenizer)
    half, most = (int(np.percentile(lengths, share)) for share in (50, 95))
    longest = int(np.argmax(lengths))
    yield Finding(
        kind="length",
        severity="info",
        message=f"{name}: half of the texts have at most {half} tokens, 95 % at most {most}, "
        f"the longest {lengths[longest]}",
        count=len(examples),
        examples=(place(examples[longest]),),
    )
    if max_length is not None and (cut := np.flatnonzero(lengths > max_length)).size:
        share = cut.size / len(examples)
        lost = int((lengths[cut] - max_length).sum()) / int(lengths.sum())
        yield Finding(
            kind="truncated",
            severity="warning" if share >= 0.01 else "info",
            message=f"{name}: {cut.size} texts ({share:.1%}) are longer than {max_length} tokens and would be cut; "
            f"{lost:.1%} of all tokens would not be seen",
            count=int(cut.size),
            examples=tuple(place(examples[row], remark=f" ({lengths[row]} tokens)") for row in cut[:5].tolist()),
        )
    rate = int(unknown.sum()) / max(1, int(lengths.sum()))
    if rate:
        worst = np.argsort(-unknown, kind="stable")[:5].tolist()
        hint = ": this may be the wrong tokenizer for this language" if rate >= 0.05 else ""
        yield Finding(
            kind="unknown-tokens",
            severity="warning" if rate >= 0.01 else "info",
            message=f"{name}: {rate:.2%} of the tokens are unknown to the tokenizer{hint}",
            count=int(unknown.sum()),
            examples=tuple(place(examples[row], remark=f" ({unknown[row]} unknown)") for row in worst if unknown[row]),
        )


def _measured(examples: Sequence[Example], tokenizer: TextTokenizer) -> tuple[IntArray, IntArray]:
    """Return [N] tokens of every text, special ones included, and [N] unknown ones."""
    lengths, unknown = [], []
    for start in range(0, len(examples), _BATCH):
        part = examples[start : start + _BATCH]
        pairs = [example.text_pair or "" for example in part] if part[0].text_pair is not None else None
        tokens = tokenizer.tokenize([example.text for example in part], pairs, offsets=False)
        lengths.append(tokens.lengths)
        counted = np.concatenate([[0], np.cumsum(tokens.ids == tokenizer.unk_id)])
        unknown.append(np.diff(counted[tokens.starts]))
    return np.concatenate(lengths), np.concatenate(unknown)
