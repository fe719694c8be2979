"""A list of n-grams as a tensor, so that a file of weights holds it: UTF-8, one a line."""

from __future__ import annotations

from collections.abc import Iterable

import torch

__all__ = ["listed", "unlisted"]


def listed(ngrams: Iterable[str]) -> torch.Tensor:
    """Return n-grams, none of which is empty or has a line feed, as [B] uint8; half surrogates are kept."""
    spelled = "\n".join(ngrams).encode("utf-8", "surrogatepass")
    return torch.frombuffer(bytearray(spelled or b"\n"), dtype=torch.uint8)


def unlisted(spelled: torch.Tensor) -> list[str]:
    """Return the n-grams of `listed`, in their order."""
    return [ngram for ngram in spelled.numpy().tobytes().decode("utf-8", "surrogatepass").split("\n") if ngram]
