"""Writes data sets whose published files no reader takes as train, dev and test, for the commands in docs/results.md.

    python benchmarks/prepare_data.py {classical,headlines,titles,stsb} FOLDER OUT

FOLDER is the folder of the data sets. What divides them is fixed: nothing is drawn at random, so that everybody has the
same three files.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import json
import lzma
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

ROLES = ("train", "dev", "test")


def role_of(name: str) -> str:
    """Return the split of whatever has this name: a twentieth dev, a twentieth test, told from a hash of the name."""
    share = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32
    return "test" if share < 0.05 else "dev" if share < 0.1 else "train"


def classical(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Classical Chinese and its modern form, a sentence a row, divided by chapter.

    Rows without text on either side are left out, and a sentence that stood in an earlier chapter keeps that one's
    split, so that none is on two sides.
    """
    chapters: dict[str, dict[str, list[str]]] = {}
    with tarfile.open(folder / "translate/classical_modern_zh/classical_modern_15_books.tar.xz") as archive:
        for member in archive:
            chapter, _, name = member.name.rpartition("/")
            if name in ("source.txt", "target.txt") and (file := archive.extractfile(member)):
                lines = file.read().decode("utf-8").splitlines()
                chapters.setdefault(chapter, {})[name] = [line.strip() for line in lines]
    seen: dict[str, str] = {}
    for chapter in sorted(chapters):
        files = chapters[chapter]
        for source, target in zip(files["source.txt"], files["target.txt"], strict=True):
            if source and target:
                role = seen.setdefault(source, role_of(chapter))
                yield role, {"source": source, "target": target, "group": chapter}


def headlines(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Items of a daily news programme with their titles, divided by day: the lead of an item is its source."""
    with lzma.open(folder / "corpus/zh_xinwenlianbo.txt.xz", "rt", encoding="utf-8") as file:
        documents = re.findall(r'<doc id="[^"]*"[^>]*date="([^"]*)">(.*?)</doc>', file.read(), flags=re.DOTALL)
    seen: set[str] = set()
    for date, text in sorted(documents):
        for item in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
            title, _, body = item.partition("\n")
            title = re.sub(r"^【[^】]*】", "", html.unescape(title).strip())
            plain = html.unescape(re.sub(r"<[^>]+>", "", body))
            plain = re.sub(r"^央视网消息\s*(（[^）]*）)?[：:]?", "", " ".join(plain.split()))
            if len(title) >= 5 and len(plain) >= 40 and plain not in seen:
                seen.add(plain)
                yield role_of(date), {"source": plain[:400], "target": title, "group": date}


def titles(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Titles of Chinese papers from their abstracts: dev and test as published, no train."""
    for role in ("dev", "test"):
        for line in (folder / f"summarise/csl_titles/{role}.tsv").read_text(encoding="utf-8").splitlines():
            _, abstract, title = line.split("\t")
            yield role, {"source": abstract, "target": title}


def stsb(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Similarity of English sentences: three files as published, of which test has no header and columns of its own."""
    for role, name, places in (
        ("train", "train.tsv", (7, 8, 9)),
        ("dev", "dev.tsv", (7, 8, 9)),
        ("test", "sts-test.tsv", (5, 6, 4)),
    ):
        lines = (folder / "pair/stsb_en" / name).read_text(encoding="utf-8").splitlines()
        for line in lines if role == "test" else lines[1:]:
            cells = line.split("\t")
            first, second, score = (cells[place] for place in places)
            yield role, {"text_a": first, "text_b": second, "score": score}


SETS = {"classical": classical, "headlines": headlines, "titles": titles, "stsb": stsb}


def write(rows: Iterable[tuple[str, dict[str, str]]], out: Path) -> dict[str, int]:
    """Write a file a split that has rows, and return how many."""
    lines: dict[str, list[str]] = {}
    for role, row in rows:
        lines.setdefault(role, []).append(json.dumps(row, ensure_ascii=False))
    out.mkdir(parents=True, exist_ok=True)
    for role, own in lines.items():
        (out / f"{role}.jsonl").write_text("\n".join(own) + "\n", encoding="utf-8")
    return {role: len(lines[role]) for role in ROLES if role in lines}


def main() -> None:
    """Write one data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SETS)
    parser.add_argument("folder", type=Path, help="the folder of the data sets")
    parser.add_argument("out", type=Path, help="where the files are written")
    arguments = parser.parse_args()
    counts = write(SETS[arguments.name](arguments.folder), arguments.out)
    print(", ".join(f"{role} {count:,}" for role, count in counts.items()), f"in {arguments.out}")


if __name__ == "__main__":
    main()
