"""Whose names a file has: one record a layout, for what reads and writes them all alike."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from albertine.checkpoints.google.names import canonical_google, google_places, is_google_extra
from albertine.checkpoints.huggingface import LayoutName, ModelType
from albertine.checkpoints.names import Place, canonical, file_names, is_known_extra
from albertine.models.config import EncoderConfig

__all__ = ["LAYOUTS", "Layout"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How the names of a file are to be understood."""

    places: Callable[[Iterable[str], EncoderConfig], Mapping[str, Place]]
    """Where every tensor of ours lies."""
    canonical: Callable[[str], str]
    """A name of a file of any age, as the newest code of that layout writes it."""
    is_known_extra: Callable[[str], bool]
    """Whether a canonical name is a task's head or a buffer, which may come along unused."""
    body: re.Pattern[str]
    """What the canonical names of an encoder's own tensors begin with, the pooler aside."""
    decoder: str | None
    """The canonical name of the masked-word head's decoder, which repeats the word table where the two are tied; None
    where the layout never writes one."""


def _huggingface_places(kind: ModelType, ours: Iterable[str], config: EncoderConfig) -> Mapping[str, Place]:
    return {name: Place(name=in_file) for name, in_file in file_names(ours, config, kind).items()}


_GOOGLE_BODY = re.compile(r"bert/(?:embeddings|encoder)/")


def _huggingface(kind: ModelType, decoder: str | None) -> Layout:
    return Layout(
        places=functools.partial(_huggingface_places, kind),
        canonical=functools.partial(canonical, kind=kind),
        is_known_extra=is_known_extra,
        body=re.compile(r"encoder\.(?!pooler\.)" if kind == "albertine" else rf"{kind}\.(?:embeddings|encoder)\."),
        decoder=decoder,
    )


LAYOUTS: Mapping[LayoutName, Layout] = {
    "bert": _huggingface("bert", "cls.predictions.decoder"),
    "albert": _huggingface("albert", "predictions.decoder"),
    "albertine": _huggingface("albertine", None),
    "google-bert": Layout(
        places=functools.partial(google_places, layout="google-bert"),
        canonical=canonical_google,
        is_known_extra=is_google_extra,
        body=_GOOGLE_BODY,
        decoder=None,
    ),
    "google-albert": Layout(
        places=functools.partial(google_places, layout="google-albert"),
        canonical=canonical_google,
        is_known_extra=is_google_extra,
        body=_GOOGLE_BODY,
        decoder=None,
    ),
    "brightmart-albert": Layout(
        places=functools.partial(google_places, layout="brightmart-albert"),
        canonical=canonical_google,
        is_known_extra=is_google_extra,
        body=_GOOGLE_BODY,
        decoder=None,
    ),
}
