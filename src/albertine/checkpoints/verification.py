"""What a comparison of two models found: a row an output, the weights, and everything that was assumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from albertine.checkpoints.report import listed

__all__ = ["OutputComparison", "Verification", "WeightComparison"]

Sides = Literal["both", "a", "b"]

_NAMES_SHOWN = 4
_HEADINGS = ("output", "largest difference", "scale", "within")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputComparison:
    """How far two models are apart in one output."""

    name: str
    sides: Sides
    """Which of the two have this output; with one side there is nothing to compare."""
    largest: float | None
    """The largest absolute difference over all real tokens or texts; None where there is none, because only one side
    has the output, the shapes differ, or a value is not a finite number."""
    scale: float | None
    """The largest magnitude on either side; None where a value is not a finite number."""
    within: bool
    """Whether the difference is at most the tolerance; for an output of one side, whether it is finite."""
    detail: str = ""
    """Where the largest difference lies, or why there is none."""

    def to_dict(self) -> dict[str, object]:
        """Return every field as a plain value."""
        return {
            "name": self.name,
            "sides": self.sides,
            "largest": self.largest,
            "scale": self.scale,
            "within": self.within,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightComparison:
    """Which tensors of two models are the same numbers; tensors of one type are compared bit for bit."""

    equal: int
    """Tensors of one name and shape that are equal."""
    different: tuple[str, ...]
    """Tensors of one name and shape that are not equal."""
    other_shape: tuple[str, ...]
    """Tensors of one name that have two shapes."""
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]

    @property
    def compared(self) -> int:
        """Tensors whose name and shape agree."""
        return self.equal + len(self.different)

    def to_dict(self) -> dict[str, object]:
        """Return every field as a plain value."""
        return {
            "compared": self.compared,
            "equal": self.equal,
            "different": list(self.different),
            "other_shape": list(self.other_shape),
            "only_in_a": list(self.only_in_a),
            "only_in_b": list(self.only_in_b),
        }

    def lines(self) -> list[str]:
        """Return the comparison in words, one line a kind."""
        first = f"weights: {self.equal} of {self.compared} tensors of the same name and shape are equal bit for bit"
        kinds = (
            ("other values", self.different),
            ("other shapes", self.other_shape),
            ("only in a", self.only_in_a),
            ("only in b", self.only_in_b),
        )
        return [first, *(f"  {title}: {listed(names, _NAMES_SHOWN)}" for title, names in kinds if names)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The comparison of two models on the same input."""

    a: str
    """The first model, as it was named."""
    b: str
    """The second model, as it was named."""
    tolerance: float
    """The largest absolute difference that counts as equal."""
    inputs: str
    """On what they were run."""
    outputs: tuple[OutputComparison, ...]
    weights: WeightComparison
    """For information: outputs decide, because one model may be written in several ways."""
    tokenizer_difference: str | None
    """The first text and token at which the two tokenizers part; None where they agree or were not compared."""
    notes: tuple[str, ...] = ()
    """What was assumed, and differences of the two that outputs do not show."""

    @property
    def passed(self) -> bool:
        """Say whether tokenizers and all outputs that both sides have agree, and every output is finite.

        An output that one side lacks is no disagreement; `only_in_a` and `only_in_b` name such.
        """
        return self.tokenizer_difference is None and all(output.within for output in self.outputs)

    @property
    def only_in_a(self) -> tuple[str, ...]:
        """Outputs that the second model lacks."""
        return tuple(output.name for output in self.outputs if output.sides == "a")

    @property
    def only_in_b(self) -> tuple[str, ...]:
        """Outputs that the first model lacks."""
        return tuple(output.name for output in self.outputs if output.sides == "b")

    def to_dict(self) -> dict[str, object]:
        """Return everything as plain values for JSON."""
        return {
            "schema_version": 1,
            "a": self.a,
            "b": self.b,
            "passed": self.passed,
            "tolerance": self.tolerance,
            "inputs": self.inputs,
            "outputs": [output.to_dict() for output in self.outputs],
            "weights": self.weights.to_dict(),
            "tokenizer_difference": self.tokenizer_difference,
            "notes": list(self.notes),
        }

    def render(self) -> str:
        """Return a short table for the terminal."""
        rows = [_HEADINGS, *(_row(output) for output in self.outputs)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        tokenizers = [] if self.tokenizer_difference is None else [f"tokenizers differ: {self.tokenizer_difference}"]
        verdict = "equal" if self.passed else "NOT equal"
        lacking = [
            f", but only {side} has {', '.join(names)}"
            for side, names in (("a", self.only_in_a), ("b", self.only_in_b))
            if names and self.passed
        ]
        return "\n".join(
            [
                f"a: {self.a}",
                f"b: {self.b}",
                f"run on {self.inputs}",
                "",
                *table,
                "",
                *self.weights.lines(),
                *tokenizers,
                *(f"note: {note}" for note in self.notes),
                f"{verdict} within {self.tolerance:g}" + "".join(lacking),
            ]
        )


def _row(output: OutputComparison) -> tuple[str, str, str, str]:
    if output.sides != "both":
        said = f"only in {output.sides}" + (f": {output.detail}" if output.detail else "")
    else:
        number = "" if output.largest is None else f"{output.largest:.2g}"
        said = f"{number} ({output.detail})" if number and output.detail else number or output.detail
    scale = "" if output.scale is None else f"{output.scale:.3g}"
    compared = output.sides == "both" or not output.within
    return output.name, said, scale, ("yes" if output.within else "NO") if compared else ""
