"""What a format has a place for: the same model put so that the format can hold it, and what it cannot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from albertine.checkpoints.adapting import with_identity_projection, with_tied_words, without_identity_projection
from albertine.checkpoints.google.config import google_layout
from albertine.checkpoints.huggingface import differences, model_type
from albertine.checkpoints.names import MASKED_WORD_HEAD, PAIR_HEAD, POOLER
from albertine.checkpoints.report import listed
from albertine.checkpoints.sharing import unshared
from albertine.checkpoints.state import HEAD_MODULES, ModelState, TaskHead
from albertine.errors import ConfigError, unknown_name
from albertine.models.pooling import SentencePooling

__all__ = ["Fitted", "TargetFormat", "fitted"]

TargetFormat = Literal["albertine", "huggingface", "tensorflow", "sentence-transformers"]

_POOLING = "pooling."
_TASK_HEADS = tuple({f"{module}." for module in HEAD_MODULES.values()})
_NO_POOLING = "the sentence pooling is left out: only sentence-transformers folders have a place for it"
_OURS = 'with format="albertine"'
_UNSHARE = "Convert it with --unshare, which gives every layer weights of its own and keeps what it computes,"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A model as a format holds it."""

    state: ModelState
    """Computes what the model given did, as far as it is there."""
    notes: tuple[str, ...]
    """What the format has no place for, and what is put differently, in sentences."""


def fitted(state: ModelState, format: TargetFormat) -> Fitted:
    """Put a model so that a format can hold it.

    Raises:
        ConfigError: an unknown format, or one that has no code that computes this configuration.
        CheckpointError: no original TensorFlow code computes this configuration.
    """
    if format not in get_args(TargetFormat):
        raise unknown_name("format", format, get_args(TargetFormat))
    if format == "albertine":
        return _for_model_folder(state)
    if format == "huggingface":
        return _for_transformers(state)
    if format == "tensorflow":
        return _for_tensorflow(state)
    return _for_sentence_transformers(state)


def _for_model_folder(state: ModelState) -> Fitted:
    notes: list[str] = []
    if state.head is not None:
        task = state.head.task
        state, dropped = _without(state, MASKED_WORD_HEAD, PAIR_HEAD)
        notes += [f"the pretraining heads are left out beside the head of {task}"] if dropped else []
    if state.pooling is not None:
        state, _ = _without(replace(state, pooling=None), _POOLING)
        notes.append(_NO_POOLING)
    return Fitted(state=state, notes=tuple(notes))


def _for_transformers(state: ModelState) -> Fitted:
    """Keep what one of transformers' classes has."""
    notes: list[str] = []
    if model_type(state.config) == "albertine":
        adapted = with_identity_projection(state)
        if model_type(adapted.config) == "albertine":
            config = state.config
            raise ConfigError(
                "transformers has no code that computes what this configuration says",
                where="format",
                received=f"as bert: {', '.join(differences(config, 'bert'))}; "
                f"as albert: {', '.join(differences(config, 'albert'))}",
                next_step=f"{_UNSHARE} or save it {_OURS}" if _fits_unshared(state) else f"Save it {_OURS}",
            )
        state = adapted
        notes.append("a projection that changes nothing was added, because transformers' ALBERT always has one")
    plain = _for_model_folder(state)
    state = plain.state
    if state.head is not None and state.head.task != "text-classification":
        task = state.head.task
        state, dropped = _without_pooler(state)
        notes += [f"the pooler is left out: transformers' class for {task} has none"] if dropped else []
    return Fitted(state=state, notes=(*notes, *plain.notes))


def _fits_unshared(state: ModelState) -> bool:
    """Say whether transformers has code for the model when every pass has a block of its own; reads no weight."""
    shapes = replace(state, tensors={name: tensor.to("meta") for name, tensor in state.tensors.items()})
    try:
        return model_type(with_identity_projection(unshared(shapes)).config) != "albertine"
    except ConfigError:  # there is nothing to unshare
        return False


def _for_tensorflow(state: ModelState) -> Fitted:
    notes: list[str] = []
    adapted = with_tied_words(without_identity_projection(state))
    if adapted.config.has_projection != state.config.has_projection:
        notes.append("a projection that changes nothing was taken out, because Google's code has none at equal widths")
    if adapted.pooling is not None:
        adapted, _ = _without(replace(adapted, pooling=None), _POOLING)
        notes.append(_NO_POOLING)
    head = adapted.head
    if head is not None and head.module == "classifier":
        notes.append(
            f"the labels are left out, a TensorFlow checkpoint has no place for them: {listed(head.labels, 8)}"
        )
        adapted = replace(adapted, head=_numbered(head))
    if head is not None and head.task == "token-classification":
        # Nothing else in such a checkpoint tells a classifier of tokens from one of texts.
        adapted, dropped = _without_pooler(adapted)
        notes += ["the pooler is left out, as a sign that the classifier scores tokens"] if dropped else []
    google_layout(adapted.config)  # raises where there is none
    other = sorted({str(one.dtype).removeprefix("torch.") for one in adapted.tensors.values()} - {"float32"})
    if other:
        adapted = replace(adapted, tensors={name: one.float() for name, one in adapted.tensors.items()})
        notes.append(f"{' and '.join(other)} became float32, the only type that Google's code takes")
    return Fitted(state=adapted, notes=tuple(notes))


def _for_sentence_transformers(state: ModelState) -> Fitted:
    notes: list[str] = []
    pooling = state.pooling
    if pooling is None:
        pooling = SentencePooling(modes=("mean",))
        notes.append("nothing says how a text's vector is made of its tokens' states: mean pooling was written")
    encoder, dropped = _without(replace(state, head=None), MASKED_WORD_HEAD, PAIR_HEAD, *_TASK_HEADS)
    if dropped:
        notes.append("the heads are left out: a sentence-transformers folder is an encoder and its pooling")
    dense = {name: tensor for name, tensor in encoder.tensors.items() if name.startswith(_POOLING)}
    plain = _for_transformers(_without(replace(encoder, pooling=None), _POOLING)[0])
    whole = replace(plain.state, pooling=pooling, tensors={**plain.state.tensors, **dense})
    return Fitted(state=whole, notes=(*notes, *plain.notes))


def _without(state: ModelState, *parts: str) -> tuple[ModelState, tuple[str, ...]]:
    """Return the state without some of its tensors, and the names of those."""
    dropped = tuple(name for name in state.tensors if name.startswith(parts))
    kept = {name: tensor for name, tensor in state.tensors.items() if not name.startswith(parts)}
    return replace(state, tensors=kept), dropped


def _without_pooler(state: ModelState) -> tuple[ModelState, tuple[str, ...]]:
    """Return the state without its pooler and what stands on that, and the names of those tensors."""
    without, dropped = _without(state, POOLER, PAIR_HEAD)
    return replace(without, config=replace(state.config, add_pooler=False)), dropped


def _numbered(head: TaskHead) -> TaskHead:
    """Return the head with the labels under which it will be read back."""
    return replace(head, labels=tuple(f"LABEL_{index}" for index in range(len(head.labels))))
