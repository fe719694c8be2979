"""A name that begins with an underscore stays in the module that it is defined in."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "albertine"


def foreign_private_names(tree: ast.Module) -> Iterator[str]:
    """Yield what a module imports of another one of the package, or looks up in it, that is private there."""
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("albertine"):
            imported |= {alias.asname or alias.name for alias in node.names}
            yield from (f"{node.module}.{alias.name}" for alias in node.names if private(alias.name))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and private(node.attr):
            module = node.value.id in imported and node.value.id.islower()
            yield from [f"{node.value.id}.{node.attr}"] if module else []


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_private_names_are_used_in_their_own_module_alone() -> None:
    found = {
        str(path.relative_to(PACKAGE)): names
        for path in PACKAGE.rglob("*.py")
        if (names := sorted(set(foreign_private_names(ast.parse(path.read_text(encoding="utf-8"))))))
    }
    assert not found


def test_the_check_sees_both_ways_of_reaching_in() -> None:
    tree = ast.parse("from albertine.models import layers\nfrom albertine.data.answers import _read\nlayers._drop()\n")
    assert list(foreign_private_names(tree)) == ["albertine.data.answers._read", "layers._drop"]
