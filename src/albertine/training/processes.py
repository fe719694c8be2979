"""What the processes of one run say to each other: sums, the first one's word, and what happens when one dies.

A run of one process goes through the same calls, which then do nothing. `torchrun` starts the processes; each of them
opens the group by `open_processes`. Numbers on a GPU go by nccl; everything that the host knows goes by gloo, so that
agreeing on it never waits for a GPU.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed

from albertine.errors import AlbertineError, ConfigError, FailureError

__all__ = ["SINGLE", "ProcessGroup", "Processes", "launched", "open_processes"]

T = TypeVar("T")

BUCKET_BYTES = 32 << 20
"""Tensors are summed in joined pieces of about this size: few messages, and no second copy of all of them at once."""
SECONDS_TO_WAIT = 1800.0
"""How long a process waits for another that is alive and does not answer (the first one may be evaluating)."""

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Processes:
    """The processes of a run that has one: every call is trivial."""

    rank: int = 0
    """The number of this process."""
    world: int = 1
    """How many there are."""

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files, logs and evaluates."""
        return self.rank == 0

    def device(self, base: torch.device) -> torch.device:
        """Return the device of this process among those of one kind."""
        return base

    def all_sum(self, tensors: Sequence[Tensor]) -> None:
        """Put into every tensor, in place, the sum of what all processes have in theirs.

        Raises:
            FailureError: another process ended or does not answer; so in every method.
        """

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes in the order of their numbers; JSON values."""
        return [value]

    def broadcast(self, value: T) -> T:
        """Return the first process's value; a JSON value."""
        return value

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite every tensor with that of the first process, of the same shape."""

    def tensors_of_first(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the named tensors of the first process; the others need none of the names and give anything."""
        return tensors

    def on_first(self, action: Callable[[], T]) -> T:
        """Run `action` on the first process alone and return, everywhere, what it returned; a JSON value.

        Raises:
            FailureError: it failed there; the first process raises the error itself.
            KeyboardInterrupt: it was interrupted there.
        """
        return action()

    def barrier(self) -> None:
        """Wait until every process is here."""


SINGLE = Processes()


class ProcessGroup(Processes):
    """The default process group of torch.distributed, which must have been opened.

    Args:
        local_rank: the number of this process among those on its machine.
    """

    def __init__(self, local_rank: int = 0) -> None:
        self.rank = distributed.get_rank()
        self.world = distributed.get_world_size()
        self._local_rank = local_rank

    def device(self, base: torch.device) -> torch.device:
        """Return `cuda:LOCAL_RANK` for `cuda`; any other device as it is."""
        return torch.device("cuda", self._local_rank) if base.type == "cuda" and base.index is None else base

    def all_sum(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all processes into every tensor, bucket by bucket."""
        with _others():
            for bucket in _buckets(tensors):
                if len(bucket) == 1 and bucket[0].is_contiguous():
                    distributed.all_reduce(bucket[0])
                    continue
                joined = torch.cat([one.detach().reshape(-1) for one in bucket])
                distributed.all_reduce(joined)
                parts = torch.split(joined, [one.numel() for one in bucket])
                for one, part in zip(bucket, parts, strict=True):
                    one.detach().copy_(part.view(one.shape))

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes in the order of their numbers."""
        own = _encoded(value)
        with _others():
            sizes = torch.zeros(self.world, dtype=torch.int64)
            sizes[self.rank] = own.numel()
            distributed.all_reduce(sizes)
            padded = [torch.zeros(int(sizes.max()), dtype=torch.uint8) for _ in range(self.world)]
            mine = torch.zeros_like(padded[0])
            mine[: own.numel()] = own
            distributed.all_gather(padded, mine)
        return [cast(T, _decoded(one[:size])) for one, size in zip(padded, sizes.tolist(), strict=True)]

    def broadcast(self, value: T) -> T:
        """Return the first process's value."""
        own = _encoded(value) if self.first else torch.zeros(0, dtype=torch.uint8)
        with _others():
            size = torch.tensor([own.numel()])
            distributed.broadcast(size, 0)
            told = own if self.first else torch.zeros(int(size), dtype=torch.uint8)
            distributed.broadcast(told, 0)
        return cast(T, _decoded(told))

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite every tensor with that of the first process."""
        with _others():
            for one in tensors:
                told = one.detach().contiguous()
                distributed.broadcast(told, 0)
                if told.data_ptr() != one.data_ptr():
                    one.detach().copy_(told)

    def tensors_of_first(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the named tensors of the first process, on the processor."""
        own = {name: value.detach().cpu().contiguous() for name, value in tensors.items()} if self.first else {}
        shapes = self.broadcast([[name, str(one.dtype), list(one.shape)] for name, one in own.items()])
        found: dict[str, Tensor] = {}
        for name, dtype, shape in cast("list[tuple[str, str, list[int]]]", shapes):
            kind = cast(torch.dtype, getattr(torch, dtype.removeprefix("torch.")))
            found[name] = own[name] if self.first else torch.empty(shape, dtype=kind)
        self.copy_from_first(list(found.values()))
        return found

    def on_first(self, action: Callable[[], T]) -> T:
        """Run `action` on the first process and tell the others what came of it."""
        told: dict[str, object] = {}
        if not self.first:
            told = self.broadcast(told)
            if told["kind"] == "interrupted":
                raise KeyboardInterrupt
            if told["kind"] == "failed":
                raise FailureError("the first process of this run failed", received=told["value"])
            return cast(T, told["value"])
        try:
            value = action()
        except KeyboardInterrupt:
            self.broadcast({"kind": "interrupted"})
            raise
        except Exception as error:
            said = str(error) if isinstance(error, AlbertineError) else f"{type(error).__name__}: {error}"
            self.broadcast({"kind": "failed", "value": said})
            raise
        self.broadcast({"kind": "done", "value": value})
        return value

    def barrier(self) -> None:
        """Wait until every process is here."""
        with _others():
            distributed.all_reduce(torch.zeros(1))


def launched() -> bool:
    """Say whether this is one of several processes that torchrun started."""
    return all(name in os.environ for name in _VARIABLES) and os.environ["WORLD_SIZE"] != "1"


@contextmanager
def open_processes(device: torch.device, *, seconds_to_wait: float = SECONDS_TO_WAIT) -> Iterator[Processes]:
    """Open the group of this run for the time of the block; without torchrun it is this process alone.

    Args:
        device: the kind of device that is computed on; each process on a machine takes a GPU of its own.
        seconds_to_wait: how long a process waits for one that is alive and does not answer. One that has ended is
            noticed at once.

    Raises:
        ConfigError: there are more processes on this machine than GPUs.
        FailureError: the others cannot be reached.
    """
    if not launched():
        yield SINGLE
        return
    local_rank = int(os.environ.get("LOCAL_RANK", os.environ["RANK"]))
    on_gpu = device.type == "cuda"
    if on_gpu:
        if local_rank >= torch.cuda.device_count():
            raise ConfigError(
                "more processes than GPUs on this machine",
                where="torchrun --nproc-per-node",
                received=f"process {local_rank + 1}",
                allowed=f"{torch.cuda.device_count()} processes",
            )
        torch.cuda.set_device(local_rank)
    # Its functions hold on, as defaults, to the group that is open when it is first imported, as by an optimizer. A
    # group that is held ends with the interpreter, whose end its threads then sometimes do not survive.
    importlib.import_module("torch.distributed.nn")
    with _others():
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=timedelta(seconds=seconds_to_wait)
        )
    try:
        yield ProcessGroup(local_rank)
    finally:
        # closes the connections, so that processes that still wait for this one hear of it at once
        distributed.destroy_process_group()


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield the tensors in groups of one kind and of about BUCKET_BYTES."""
    kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for one in tensors:
        bucket = kinds.setdefault((one.device, one.dtype), [])
        bucket.append(one)
        if sum(each.nbytes for each in bucket) >= BUCKET_BYTES:
            yield kinds.pop((one.device, one.dtype))
    yield from kinds.values()


@contextmanager
def _others() -> Iterator[None]:
    """Say that another process is gone, instead of what the network library says of it."""
    try:
        yield
    except RuntimeError as error:
        raise FailureError(
            "another process of this run ended or does not answer",
            received=str(error).splitlines()[0],
            next_step="Look for the message of the process that ended first; the same command continues from the last "
            "checkpoint",
        ) from error


def _encoded(value: object) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


def _decoded(data: Tensor) -> object:
    return json.loads(data.numpy().tobytes())
