"""Imports point one way, files stay short, and the README's tree is the disk's."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "albertine"

# The rank of every top-level part: a part may import from lower ranks and from itself.
RANKS = [
    {"errors"},
    {"records", "settings", "registry", "files"},
    {"catalogue", "progress", "shipped"},
    {"evaluation"},
    {"data"},
    {"tokenization"},
    {"batching"},
    {"models"},
    {"checkpoints"},
    {"tasks"},
    {"inference"},
    {"training"},
    {"comparison"},
    {"compression"},
    {"serving"},
    {"cli"},
    {"__main__"},
]
RANK = {part: rank for rank, parts in enumerate(RANKS) for part in parts}
# Packages that cost more than a tenth of a second to import may be imported inside the function that needs them.
HEAVY = {"matplotlib", "pyarrow", "sklearn", "scipy", "torch", "sentencepiece", "tokenizers", "jinja2", "rich"}
# What only an extra installs is imported where it is needed.
OPTIONAL = {
    "ftfy",
    "h5py",
    "huggingface_hub",
    "mlflow",
    "onnx",
    "onnxruntime",
    "opencc",
    "openvino",
    "optuna",
    "rjieba",
    "sacrebleu",
}

FILES = sorted(PACKAGE.rglob("*.py"))
IDS = [str(path.relative_to(PACKAGE)) for path in FILES]


def part_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> list[tuple[ast.stmt, str]]:
    found: list[tuple[ast.stmt, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            if node.module == "albertine":
                found += [(node, f"albertine.{alias.name}") for alias in node.names]
            else:
                found.append((node, node.module or ""))
    return found


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_imports_point_towards_the_foundation(path: Path) -> None:
    own = part_of(path)
    if own == "__init__":
        return
    for _, name in imports(ast.parse(path.read_text(encoding="utf-8"))):
        if name.startswith("albertine.") and name != "albertine.__version__":
            part = name.split(".")[1]
            assert part == own or RANK[part] < RANK[own], f"{own} must not import {name}"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_only_heavy_libraries_are_imported_inside_functions(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for _, name in imports(function):
                assert name.split(".")[0] in HEAVY | OPTIONAL, f"{function.name} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_files_stay_under_four_hundred_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_an_import_against_the_direction_would_be_seen() -> None:
    found = imports(ast.parse("def f():\n    from albertine.cli.main import main\n"))
    assert [name for _, name in found] == ["albertine.cli.main"]
    assert RANK["cli"] > RANK["models"]


def tree_files(readme: Path) -> set[str]:
    """Read the indented tree in the README: folders end in a slash, everything after `#` is a comment."""
    block = re.search(r"```text\n(src/albertine/.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    assert block, "no tree found"
    found: set[str] = set()
    folders: list[tuple[int, str]] = []
    for line in block[1].splitlines():
        name = line.split("#")[0].rstrip()
        if not name.strip():
            continue
        depth = len(name) - len(name.lstrip())
        while folders and folders[-1][0] >= depth:
            folders.pop()
        name = name.strip()
        if name.endswith("/"):
            folders.append((depth, name))
        else:
            assert "#" in line, f"{name} has no comment"
            assert "TODO" not in line
            found.add("".join(folder for _, folder in folders) + name)
    return found


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_the_tree_in_the_readme_is_the_one_on_disk(name: str) -> None:
    on_disk = {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.is_file()
        and path.suffix in {".py", ".json", ".jinja", ".css", ".js", ".html", ".svg"}
        and path.name != "__init__.py"
        and not path.is_relative_to(PACKAGE / "encoders")
    }
    assert tree_files(ROOT / name) == on_disk


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
