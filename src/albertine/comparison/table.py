"""The columns of the comparison's table, written once for the page and the terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from albertine.catalogue import Catalogue, catalogue
from albertine.comparison.costs import Costs, costs_of
from albertine.comparison.formats import (
    NONE,
    byte_size,
    compact,
    duration,
    interval,
    metric_name,
    milliseconds,
    p_value,
    percent,
    points,
    rate,
)
from albertine.comparison.results import CandidateSummary, ComparisonReport
from albertine.settings import language

__all__ = ["COLUMNS", "Column", "terminal_table", "wrapped"]

_UNLIMITED = 10_000
_WIDE = "\u2e80-\u9fff\uf900-\ufaff"
_CLOSING = "，。；：！？、）》」”’"
_PIECES = re.compile(f"(?:[{_WIDE}（《「]|[^ {_WIDE}{_CLOSING}]+)[{_CLOSING}]*[ ]*|[{_CLOSING} ]+")
"""Pieces between which a line may break: a Chinese character, or a word, with the marks and spaces after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column; its heading is the text `column.KEY`, its explanation `explain.KEY`."""

    key: str
    group: str
    """quality, size, training or prediction."""
    cell: Callable[[CandidateSummary, Costs, Catalogue], str]
    in_terminal: bool = False


def _quality(candidate: CandidateSummary, costs: Costs, texts: Catalogue) -> str:
    return percent(candidate.quality.value) if candidate.quality else NONE


def _interval(candidate: CandidateSummary, costs: Costs, texts: Catalogue) -> str:
    return interval(candidate.quality) if candidate.quality else NONE


def _difference(candidate: CandidateSummary, costs: Costs, texts: Catalogue) -> str:
    return points(candidate.difference_to_best.value) if candidate.difference_to_best else NONE


def _p_value(candidate: CandidateSummary, costs: Costs, texts: Catalogue) -> str:
    if candidate.quality is None:
        return NONE
    return texts("table.best") if candidate.p_value is None else p_value(candidate.p_value)


def _failed(candidate: CandidateSummary, costs: Costs, texts: Catalogue) -> str:
    return texts("table.failed_of", failed=candidate.failed, runs=len(candidate.seeds))


def _number(value: float | None, write: Callable[[float], str]) -> str:
    return NONE if value is None else write(value)


COLUMNS: tuple[Column, ...] = (
    Column(key="quality", group="quality", cell=_quality, in_terminal=True),
    Column(key="interval", group="quality", cell=_interval, in_terminal=True),
    Column(key="difference", group="quality", cell=_difference),
    Column(key="p_value", group="quality", cell=_p_value, in_terminal=True),
    Column(key="failed", group="quality", cell=_failed),
    Column(
        key="unique",
        group="size",
        cell=lambda one, costs, texts: _number(costs.parameters_unique, compact),
        in_terminal=True,
    ),
    Column(
        key="executed",
        group="size",
        cell=lambda one, costs, texts: _number(costs.parameters_executed, compact),
        in_terminal=True,
    ),
    Column(key="flops", group="size", cell=lambda one, costs, texts: _number(costs.flops_per_token, compact)),
    Column(
        key="disk",
        group="size",
        cell=lambda one, costs, texts: _number(costs.bytes_on_disk, byte_size),
        in_terminal=True,
    ),
    Column(
        key="training_time",
        group="training",
        cell=lambda one, costs, texts: _number(costs.training_seconds, lambda value: duration(value, texts)),
        in_terminal=True,
    ),
    Column(
        key="training_tokens",
        group="training",
        cell=lambda one, costs, texts: _number(costs.training_tokens_per_second, rate),
    ),
    Column(
        key="training_memory",
        group="training",
        cell=lambda one, costs, texts: _number(costs.training_memory_bytes, byte_size),
    ),
    Column(
        key="latency_p50",
        group="prediction",
        cell=lambda one, costs, texts: _number(costs.latency_ms_p50, milliseconds),
        in_terminal=True,
    ),
    Column(
        key="latency_p95",
        group="prediction",
        cell=lambda one, costs, texts: _number(costs.latency_ms_p95, milliseconds),
    ),
    Column(
        key="latency_p99",
        group="prediction",
        cell=lambda one, costs, texts: _number(costs.latency_ms_p99, milliseconds),
    ),
    Column(
        key="throughput",
        group="prediction",
        cell=lambda one, costs, texts: _number(costs.texts_per_second, rate),
        in_terminal=True,
    ),
    Column(
        key="prediction_memory",
        group="prediction",
        cell=lambda one, costs, texts: _number(costs.prediction_memory_bytes, byte_size),
    ),
)
"""In the order of the page."""


def terminal_table(report: ComparisonReport, *, width: int | None = None, colour: bool | None = None) -> str:
    """Return the short table and the recommendation, for a terminal.

    Where the table is wider than the terminal it becomes two, quality and size above, time below.

    Args:
        report: what was measured.
        width: columns of the terminal; None asks it (120 where stdout is no terminal).
        colour: whether to use colours; None asks whether stdout is a terminal.
    """
    texts = catalogue(language(report.language))
    piped = not sys.stdout.isatty()
    console = Console(
        width=width or (120 if piped else None), force_terminal=colour, no_color=colour is False, highlight=False
    )
    shown = [column for column in COLUMNS if column.in_terminal]
    table = _table(report, shown, texts)
    halves = [
        [one for one in shown if one.group in ("quality", "size")],
        [one for one in shown if one.group not in ("quality", "size")],
    ]
    natural = console.measure(table, options=console.options.update(width=_UNLIMITED)).maximum
    with console.capture() as capture:
        for part in [_table(report, half, texts) for half in halves] if natural > console.width else [table]:
            console.print(part)
        if report.recommended:
            console.print(Text(texts("terminal.recommended", name=report.recommended), style="bold"))
        for reason in report.reasons:
            for line in wrapped(reason, console.width - 4):
                console.print(Text(f"  {line}"))
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines of at most `width` terminal cells, at spaces and between Chinese characters.

    A Chinese mark that closes something never begins a line; what cannot be broken stays whole.
    """
    lines, line = [], ""
    for piece in _PIECES.findall(text):
        if line and cell_len(line + piece.rstrip(" ")) > width:
            lines.append(line.rstrip(" "))
            line = ""
        line += piece
    return [*lines, line.rstrip(" ")]


def _table(report: ComparisonReport, columns: Sequence[Column], texts: Catalogue) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(texts("table.candidate"), overflow="fold")
    for column in columns:
        metric = metric_name(report.main_metric, texts)
        table.add_column(texts(f"short.{column.key}", metric=metric), justify="right", no_wrap=True)
    for candidate in report.candidates:
        costs = costs_of(candidate)
        chosen = candidate.name == report.recommended
        cells = [f"* {candidate.name}" if chosen else candidate.name]
        cells += [column.cell(candidate, costs, texts) for column in columns]
        table.add_row(*map(Text, cells), style="bold" if chosen else None)
    return table
