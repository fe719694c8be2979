"""Runs the comparisons of docs/results.md one after another and prints their tables.

    python benchmarks/quality.py --out FOLDER [--only NAME…] [--list]

ALBERTINE_DATA names the folder of the data sets. Every comparison goes on where it stopped, finished ones cost nothing,
and one that fails does not hold up the others. The tables go to FOLDER/results.md; where two folders of data would
stand in a command, it says $ALBERTINE_DATA and prepared.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from albertine.comparison.report import read_report
from albertine.settings import data_folder

sys.path.insert(0, str(Path(__file__).parent))  # its neighbours

from prepare_data import SETS, write
from results_tables import markdown

ENCODERS = {
    "zh": "bert-zh-tiny,albert-zh-tiny,preset:bert-chinese-tiny",
    "en": "bert-en-tiny,albert-en-tiny,preset:bert-chinese-tiny",
}
"""The pair that ships, and the same shape with random weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One comparison."""

    name: str
    title: str
    language: Literal["zh", "en"]
    data: str
    """Below the folder of the data sets; "prepared/NAME" is what prepare_data.py writes."""
    dev: str | None = None
    test: str | None = None
    words: str
    """Options beside files, encoders, title and folder."""


STUDIES = (
    Study(
        name="thucnews",
        title="THUCNews titles, trained on dev",
        language="zh",
        data="classify/thucnews_titles/dev.txt",
        test="classify/thucnews_titles/test.txt",
        words="--text-column 1 --label-column 2 --epochs 6",
    ),
    Study(
        name="lcqmc",
        title="LCQMC, trained on dev",
        language="zh",
        data="pair/lcqmc/dev.txt",
        test="pair/lcqmc/test.txt",
        words="--text-column 1 --text-pair-column 2 --label-column 3 --epochs 6",
    ),
    Study(
        name="hotel",
        title="ChnSentiCorp, hotel reviews",
        language="zh",
        data="classify/chnsenticorp_hotel/ChnSentiCorp_htl_all.csv.xz",
        words="--text-column review --label-column label --on-error skip --max-length 192 --epochs 4",
    ),
    Study(
        name="shopping",
        title="Online shopping, sentiment",
        language="zh",
        data="classify/online_shopping_10_cats/online_shopping_10_cats.zip",
        words="--text-column review --label-column label --on-error skip --max-length 128 --epochs 2",
    ),
    Study(
        name="categories",
        title="Online shopping, ten categories",
        language="zh",
        data="classify/online_shopping_10_cats/online_shopping_10_cats.zip",
        words="--text-column review --label-column cat --on-error skip --max-length 64 --epochs 2",
    ),
    Study(
        name="cluener",
        title="CLUENER2020, with a CRF",
        language="zh",
        data="tag/cluener",
        words="--task token-classification --on-error skip --epochs 6 --set crf=true",
    ),
    Study(
        name="cluener-plain",
        title="CLUENER2020, without a CRF",
        language="zh",
        data="tag/cluener",
        words="--task token-classification --on-error skip --epochs 6",
    ),
    Study(
        name="msra",
        title="MSRA, entities",
        language="zh",
        data="tag/dh_msra/dh_msra.zip",
        words="--task token-classification --on-error skip --epochs 1 --set crf=true",
    ),
    Study(
        name="cmrc",
        title="CMRC 2018, trained on dev, measured on trial",
        language="zh",
        data="answer/cmrc2018/cmrc2018_dev.json.xz",
        test="answer/cmrc2018/cmrc2018_trial.json",
        words="--task question-answering --on-error skip --epochs 3",
    ),
    Study(
        name="stsb-zh",
        title="STS-B in Chinese, cross-encoder",
        language="zh",
        data="pair/stsb_zh",
        words="--task sentence-similarity --set architecture=cross-encoder --text-column 1 --text-pair-column 2 "
        "--label-column 3 --epochs 6",
    ),
    Study(
        name="cais",
        title="CAIS, intent and slots",
        language="zh",
        data="intent/cais",
        words="--task intent-slots --epochs 10",
    ),
    Study(
        name="camera",
        title="Camera reviews, aspects and polarity",
        language="zh",
        data="opinion/camera_zh/camera.train.txt",
        test="opinion/camera_zh/camera.test.txt",
        words="--task aspect-opinions --epochs 12",
    ),
    Study(
        name="sst2",
        title="SST-2, measured on GLUE's dev",
        language="en",
        data="classify/sst2/train.tsv.xz",
        test="classify/sst2/dev.tsv",
        words="--text-column sentence --label-column label --quoting off --epochs 3",
    ),
    Study(
        name="cola",
        title="CoLA, measured on GLUE's dev",
        language="en",
        data="classify/cola/train.tsv",
        test="classify/cola/dev.tsv",
        words="--text-column 4 --label-column 2 --quoting off --epochs 6",
    ),
    Study(
        name="mrpc",
        title="MRPC",
        language="en",
        data="pair/mrpc/train.tsv",
        dev="pair/mrpc/dev.tsv",
        test="pair/mrpc/msr_paraphrase_test.txt",
        words="--text-column '#1 String' --text-pair-column '#2 String' --label-column Quality --quoting off "
        "--epochs 6",
    ),
    Study(
        name="stsb",
        title="STS-B, cross-encoder",
        language="en",
        data="prepared/stsb",
        words="--task sentence-similarity --set architecture=cross-encoder --epochs 6",
    ),
    Study(
        name="banking",
        title="BANKING77, intents",
        language="en",
        data="intent/banking77/train.csv",
        test="intent/banking77/test.csv",
        words="--text-column text --label-column category --epochs 15",
    ),
    Study(
        name="snips",
        title="SNIPS, intent and slots",
        language="en",
        data="intent/snips",
        words="--task intent-slots --epochs 5",
    ),
    Study(
        name="atis",
        title="ATIS, intent and slots",
        language="en",
        data="intent/atis",
        words="--task intent-slots --epochs 10",
    ),
    Study(
        name="sms",
        title="SMS spam",
        language="en",
        data="classify/sms_spam/SMSSpamCollection",
        words="--text-column 2 --label-column 1 --quoting off --epochs 5",
    ),
    Study(
        name="wnut",
        title="WNUT-17, with a CRF",
        language="en",
        data="tag/wnut17/wnut17train.conll",
        dev="tag/wnut17/emerging.dev.conll",
        test="tag/wnut17/emerging.test.annotated",
        words="--task token-classification --on-error skip --epochs 8 --set crf=true",
    ),
    Study(
        name="squad",
        title="SQuAD 2.0, half of dev",
        language="en",
        data="answer/squad2_dev_half/dev-v2.0.json.xz",
        words="--task question-answering --epochs 3",
    ),
    Study(
        name="laptops",
        title="Laptop reviews, triplets (ASTE 14lap)",
        language="en",
        data="opinion/aste_14lap/train_triplets.txt",
        dev="opinion/aste_14lap/dev_triplets.txt",
        test="opinion/aste_14lap/test_triplets.txt",
        words="--task aspect-opinions --epochs 20",
    ),
)


def command(study: Study, out: Path) -> list[str]:
    """Return the words after `albertine`."""

    def place(name: str) -> str:
        return str(out / name if name.startswith("prepared/") else data_folder() / name)

    files = [word for role in ("dev", "test") if (name := getattr(study, role)) for word in (f"--{role}", place(name))]
    shared = ["--encoders", ENCODERS[study.language], "--lang", "en", "--title", study.title]
    return ["compare", place(study.data), *files, *shlex.split(study.words), *shared, "--out", str(out / study.name)]


def run(study: Study, out: Path) -> bool:
    """Run a comparison, or what is left of it; what it prints goes to its log."""
    _, _, prepared = study.data.partition("prepared/")
    if prepared and not (out / study.data).is_dir():
        write(SETS[prepared](data_folder()), out / study.data)
    with (out / f"{study.name}.log").open("a", encoding="utf-8") as log:
        done = subprocess.run([sys.executable, "-m", "albertine", *command(study, out)], stdout=log, stderr=log)
    return done.returncode == 0


def tables(studies: Sequence[Study], out: Path) -> str:
    """Return the tables of all comparisons that are finished."""
    parts = [markdown(read_report(out / one.name)) for one in studies if (out / one.name / "report.json").is_file()]
    return "\n".join(parts).replace(f"{data_folder()}", "$ALBERTINE_DATA").replace(f"{out}/prepared", "prepared")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/quality"))
    parser.add_argument("--only", nargs="*", choices=[one.name for one in STUDIES], help="these alone")
    parser.add_argument("--language", choices=sorted(ENCODERS), help="those of one language")
    parser.add_argument("--list", action="store_true", help="print the commands and run none")
    options = parser.parse_args()
    chosen = [
        one
        for one in STUDIES
        if (not options.only or one.name in options.only) and options.language in (None, one.language)
    ]
    if options.list:
        print("\n".join(" ".join(["albertine", *command(one, options.out)]) for one in chosen))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for one in chosen:
        begun = time.monotonic()
        if not run(one, options.out):
            failed.append(one.name)
        print(
            f"{one.name}: {'failed' if one.name in failed else 'done'}, {time.monotonic() - begun:,.0f} s", flush=True
        )
        (options.out / "results.md").write_text(tables(STUDIES, options.out), encoding="utf-8")
    sys.exit(f"failed: {', '.join(failed)}; see their logs in {options.out}" if failed else 0)


if __name__ == "__main__":
    main()
