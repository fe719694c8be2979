"""Weights that an index spreads over several files, seen as one source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from albertine.checkpoints.reading import AGAIN_STEP, INDEX_LIMIT, read_json
from albertine.checkpoints.report import listed
from albertine.checkpoints.source import StoredTensor, TensorSource
from albertine.errors import CheckpointError

__all__ = ["ShardedSource", "open_shards"]

_Source = TypeVar("_Source", bound=TensorSource)


class ShardedSource:
    """The tensors of several files that belong together.

    Args:
        path: what stands for them all, for messages.
        places: the source that holds each tensor, by name.
    """

    def __init__(self, path: Path, places: Mapping[str, TensorSource]) -> None:
        self.path = path
        self._places = dict(places)
        self.entries: Mapping[str, StoredTensor] = {name: source.entries[name] for name, source in self._places.items()}

    def copy(self, name: str, into: Tensor) -> None:
        """Do what `TensorSource.copy` says."""
        self._places[name].copy(name, into)


def open_shards(index: Path, open_file: Callable[[Path], _Source]) -> dict[str, _Source]:
    """Open every file that an index names.

    Args:
        index: a JSON file whose `weight_map` names the file of every tensor, as transformers writes it.
        open_file: opens one of the files.

    Returns:
        The source of each tensor by its name: the file that the index says, also where others have a tensor of that
        name. What a file holds and the index does not name is there too, from the first file that has it.

    Raises:
        CheckpointError: no index, a file that is missing, lies elsewhere or lacks what the index says; as `open_file`.
    """
    weight_map = _weight_map(index)
    shards = sorted(set(weight_map.values()))
    absent = [shard for shard in shards if not (index.parent / shard).is_file()]
    if absent:
        raise CheckpointError(
            f"{len(absent)} of {len(shards)} shards are missing: {listed(absent)}",
            where=str(index.parent),
            next_step="Copy the missing files into the folder",
        )
    sources = {shard: open_file(index.parent / shard) for shard in shards}
    for shard, source in sources.items():
        lacking = [name for name, place in weight_map.items() if place == shard and name not in source.entries]
        if lacking:
            raise CheckpointError(
                f"this shard lacks tensors that the index promises: {listed(sorted(lacking))}",
                where=str(index.parent / shard),
                next_step=AGAIN_STEP,
            )
    places = {name: sources[shard] for name, shard in weight_map.items()}
    for source in sources.values():
        for name in source.entries:
            places.setdefault(name, source)
    return places


def _weight_map(index: Path) -> dict[str, str]:
    """Read which file holds which tensor; the files lie in the folder of the index."""
    weight_map = read_json(index, INDEX_LIMIT).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(
            "this index has no weight_map from tensor names to file names", where=str(index), next_step=AGAIN_STEP
        )
    for shard in weight_map.values():
        # A name that cannot be shown is no file's either, and would not be seen in a message.
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.isprintable():
            raise CheckpointError("a shard must lie in the folder of its index", where=str(index), received=repr(shard))
    return weight_map
