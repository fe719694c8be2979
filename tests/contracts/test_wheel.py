"""One run against the built wheel: `make wheel-test` installs it into a folder and copies this file beside that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(not os.environ.get("ALBERTINE_WHEEL"), reason="runs in make wheel-test, beside the built wheel"),
]

REVIEWS = {
    "good": ["很好吃", "味道不错", "非常满意", "质量很好", "物流很快"],
    "bad": ["太难吃了", "味道很差", "非常失望", "质量太差", "物流太慢"],
}


def albertine(*arguments: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(Path("site").resolve()), "ALBERTINE_LANG": "en"}
    done = subprocess.run(
        [sys.executable, "-m", "albertine", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_under_test_is_the_wheel() -> None:
    import albertine

    assert Path(albertine.__file__).is_relative_to(Path("site").resolve())


def test_the_wheel_carries_its_texts_template_and_type_marker() -> None:
    package = Path("site/albertine").resolve()
    for name in (
        "py.typed",
        "texts/en.json",
        "texts/zh.json",
        "comparison/report.html.jinja",
        "encoders/README.md",
        "serving/page/index.html",
        "serving/page/page.js",
    ):
        assert (package / name).is_file(), name


def test_the_wheel_carries_both_licences() -> None:
    (about,) = Path("site").glob("albertine-*.dist-info")
    notice = (about / "licenses" / "NOTICE").read_text(encoding="utf-8")
    assert "Attribution-ShareAlike 4.0" in notice
    assert "Apache License" in (about / "licenses" / "LICENSE").read_text(encoding="utf-8")


def test_every_encoder_of_the_wheel_opens_by_its_name(tmp_path: Path) -> None:
    sources = Path("../../src").resolve() / "albertine" / "encoders"
    told = json.loads(albertine("info", "--shipped", "--json", folder=tmp_path))["encoders"]
    assert {one["name"] for one in told} == {path.parent.name for path in sources.glob("*/model.safetensors")}
    for one in told:
        shown = json.loads(albertine("info", one["name"], "--json", folder=tmp_path))
        assert shown["parameters"]["unique"] == one["parameters"]
        for name in ("README.md", "manifest.json", "tokenizer.json"):
            assert (Path(one["folder"]) / name).is_file()


def test_a_model_is_trained_saved_and_used_from_the_wheel(tmp_path: Path) -> None:
    rows = [
        {"text": f"{text}，第{i}次", "label": label}
        for label, texts in REVIEWS.items()
        for text in texts
        for i in range(8)
    ]
    data = tmp_path / "reviews.jsonl"
    data.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    albertine(
        "compare", str(data), "--encoders", "none", "--baselines", "bag-of-words,word-vectors",
        "--seeds", "2", "--epochs", "3", "--out", "compared", folder=tmp_path,
    )  # fmt: skip
    assert (tmp_path / "compared" / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    albertine("finetune", "text-classification", str(data), "--encoder", "bag-of-words", "--out", "m", folder=tmp_path)
    lines = albertine("predict", "m", str(data), "--json", folder=tmp_path).splitlines()
    assert len(lines) == len(rows)
    assert {json.loads(line)["label"] for line in lines} == {"good", "bad"}
