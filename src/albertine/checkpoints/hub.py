"""Names on the Hugging Face hub > a local folder, and only for names that begin with hub:."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from albertine.checkpoints.report import listed
from albertine.errors import AlbertineError, CheckpointError, ConfigError, MissingDependencyError
from albertine.files import disk_errors

__all__ = ["HUB_PREFIX", "HubName", "fetch", "parse_hub_name"]

HUB_PREFIX = "hub:"

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_REPOSITORY = re.compile(rf"(?:{_PART}/)?{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+-]{0,254}")
_EXAMPLE = f"{HUB_PREFIX}google-bert/bert-base-chinese, {HUB_PREFIX}ORGANISATION/NAME@REVISION"

_MODULE = "[0-9]*_*/"
"""The folder of a module of sentence-transformers; the first may be the encoder, with its tokenizer."""
_MODEL_FILES = ("config.json", "model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "spiece.model",
)
_SENTENCE_FILES = ("modules.json", "sentence_*_config.json", "config_sentence_transformers.json")
_OWN_FILES = ("task.json", "manifest.json")
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin")
_LAYER_PICKLES = "[1-9]*_Dense/pytorch_model.bin"
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_LISTED = 20
_LOCAL_STEP = "Without a network, give a local folder; nothing is downloaded unless a name begins with hub:"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubName:
    """A model on the hub."""

    repository: str
    """ORGANISATION/NAME, or the bare name of the few models that have no organisation."""
    revision: str | None
    """A branch, tag or commit; None for the newest of the main branch."""


def parse_hub_name(name: str) -> HubName:
    """Take `hub:ORGANISATION/NAME[@REVISION]` apart.

    Raises:
        ConfigError: another form, or characters that no name on the hub has.
    """
    repository, separator, revision = name.removeprefix(HUB_PREFIX).partition("@")
    fits = _REPOSITORY.fullmatch(repository) is not None and "--" not in repository and ".." not in repository
    if separator:
        fits = fits and _REVISION.fullmatch(revision) is not None and ".." not in revision
    if not name.startswith(HUB_PREFIX) or not fits:
        raise ConfigError(
            "this is not the name of a model on the hub",
            received=repr(name),
            allowed=_EXAMPLE,
            next_step="A local folder is given by its path, without hub:",
        )
    return HubName(repository=repository, revision=revision or None)


def fetch(name: str, *, allow_pickle: bool = False) -> Path:
    """Download a model from the hub, or find it among those downloaded before.

    Only configuration, tokenizer, safetensors and the module files of sentence-transformers are downloaded: no code,
    no other formats. HF_HUB_OFFLINE=1 allows only what is there already.

    Args:
        name: `hub:ORGANISATION/NAME`, with `@REVISION` for a branch, tag or commit.
        allow_pickle: download pickled weights too, where there are no safetensors.

    Returns:
        The local folder, which belongs to huggingface_hub's cache and is not to be changed.

    Raises:
        ConfigError: a name of another form.
        MissingDependencyError: the package huggingface-hub is not installed.
        CheckpointError: no such model or revision, one that asks for permission, no network, or no weights that are
            opened here.
        FailureError: the disk is full or the cache cannot be written to.
    """
    wanted = parse_hub_name(name)
    try:
        import huggingface_hub.constants  # lazy: optional
        import huggingface_hub.errors  # lazy: optional
    except ImportError as error:
        raise MissingDependencyError("huggingface-hub", extra="hub", feature=f"the name {name}") from error
    patterns = _everywhere(*_MODEL_FILES, *_TOKENIZER_FILES, *_SENTENCE_FILES, *_OWN_FILES)
    folder = _download(huggingface_hub, name, wanted, patterns)
    if _has_weights(folder):
        if allow_pickle and _lacks_layers(folder):
            folder = _download(huggingface_hub, name, wanted, [*patterns, _LAYER_PICKLES])
        return folder
    if allow_pickle:
        folder = _download(huggingface_hub, name, wanted, [*patterns, *_everywhere(*_PICKLES)])
        if _has_weights(folder, *_PICKLES):
            return folder
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    raise CheckpointError(
        "this model has no safetensors" + (" and no pickled weights" if allow_pickle else ""),
        where=name,
        received=listed(found, _LISTED) or "none of the files that are looked for",
        allowed=", ".join((*_MODEL_FILES, *_PICKLES) if allow_pickle else _MODEL_FILES),
        next_step="Give the revision of a converted copy (many models have one under @refs/pr/NUMBER), or download the "
        "files yourself and convert the folder"
        + ("" if allow_pickle else "; pickled weights are downloaded only with --allow-pickle"),
    )


def _everywhere(*patterns: str) -> list[str]:
    """Look for files beside each other, and in the folders of modules."""
    return [*patterns, *(f"{_MODULE}{pattern}" for pattern in patterns)]


def _lacks_layers(folder: Path) -> bool:
    """Say whether a dense layer after the encoder has no safetensors, where the encoder has."""
    return any(not (layer / "model.safetensors").is_file() for layer in folder.glob("[1-9]*_Dense"))


def _has_weights(folder: Path, *patterns: str) -> bool:
    # Old folders of sentence-transformers keep the encoder, their first module, in a folder of its own.
    places = (folder, *(path for path in folder.glob("0_*") if path.is_dir()))
    return any(next(place.glob(pattern), None) for place in places for pattern in (patterns or _WEIGHTS))


def _download(hub: ModuleType, name: str, wanted: HubName, patterns: list[str]) -> Path:
    with _hub_errors(hub, name, wanted):
        folder = hub.snapshot_download(wanted.repository, revision=wanted.revision, allow_patterns=patterns)
    return Path(folder)


@contextlib.contextmanager
def _hub_errors(hub: ModuleType, name: str, wanted: HubName) -> Iterator[None]:
    """Turn the package's errors into one clear line each."""
    errors = hub.errors
    cache = Path(hub.constants.HF_HUB_CACHE)
    try:
        with disk_errors(cache):
            yield
    except AlbertineError:
        raise
    except errors.GatedRepoError as error:
        raise CheckpointError(
            "this model asks for its owner's permission before it is downloaded",
            where=name,
            next_step=f"Ask for it on the page of {wanted.repository}, then log in with: hf auth login",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            "the hub has no such model, or it is private",
            where=name,
            received=wanted.repository,
            next_step=f"Check the name ({_EXAMPLE}); for a private model log in with: hf auth login",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(
            "this model has no such revision",
            where=name,
            received=wanted.revision,
            allowed="a branch, a tag or a commit",
        ) from error
    except errors.HFValidationError as error:
        raise ConfigError(
            "this is not the name of a model on the hub", received=repr(name), allowed=_EXAMPLE
        ) from error
    except errors.LocalEntryNotFoundError as error:  # raised offline, and where no connection can be made
        offline = bool(hub.constants.HF_HUB_OFFLINE)
        raise CheckpointError(
            "this model was not downloaded before, and HF_HUB_OFFLINE forbids it now"
            if offline
            else "this model was not downloaded before, and the hub cannot be reached",
            where=name,
            next_step=f"Unset HF_HUB_OFFLINE to download it. {_LOCAL_STEP}" if offline else _LOCAL_STEP,
        ) from error
    except Exception as error:  # the network fails in the types of whichever library it goes through
        first = next(iter(str(error).strip().splitlines()), "no message")
        raise CheckpointError(
            f"the download failed ({type(error).__name__}: {first})",
            where=name,
            next_step=f"Run the same command again. {_LOCAL_STEP}",
        ) from error
