from __future__ import annotations

import platform
import resource
import subprocess
import sys

import pytest

from albertine.training.allocator import keep_freed_memory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")

FAULTS = """
import resource, sys
import torch
from albertine.training.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def work():
    several = [torch.empty(40 << 20, dtype=torch.uint8).fill_(1) for _ in range(3)]
for _ in range(16):  # until the heap has holes of the right sizes
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@glibc
def test_memory_is_not_handed_out_anew_in_every_step() -> None:
    pages = 3 * 3 * (40 << 20) // resource.getpagesize()
    assert page_faults("keep") < pages / 4
    assert page_faults("leave") > pages / 2


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_"])
def test_the_users_own_setting_stays(name: str) -> None:
    assert keep_freed_memory({name: "1"}) is False
