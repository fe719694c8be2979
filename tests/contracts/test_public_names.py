from __future__ import annotations

import subprocess
import sys

import pytest

import albertine as al


def test_the_list_of_public_names_is_sorted_and_has_no_doubles() -> None:
    names = [name for name in al.__all__ if not name.startswith("__")]
    assert names == sorted(set(names))


@pytest.mark.parametrize("name", al.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(al, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = al.nothing


def test_importing_the_package_imports_no_heavy_library() -> None:
    code = "import sys, albertine; print(sorted({'torch', 'sklearn', 'pyarrow', 'tokenizers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
