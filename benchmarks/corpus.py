"""Tokens a second of `corpus build` beside a `datasets.map` pipeline that gives the same ids.

Run: python benchmarks/corpus.py [--megabytes 40] [--rounds 3] [--work FOLDER], where the datasets and transformers
packages are installed. Both sides read the same JSON Lines of documents from the shared corpora ($ALBERTINE_DATA), in
fresh processes and an empty cache, and end with the ids on disk: `datasets` in batches with one process a core and
transformers' fast tokenizer, ours without cleaning, duplicates and held-out documents ("same ids", the sequences are
compared) and with everything that `corpus build` does by default ("everything"). Seconds are from the first line read
to the last byte written, imports not counted on either side. "same ids" still plans, splits sentences and tells
languages, which the rival does not; "work" compares what both do, reading, tokenizing and writing, in processor time of
all processes. Documents with a capital sigma are left out: Google's code and ours lower-case it to a final sigma at the
end of a word, the rival does not. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from albertine.settings import data_folder

CASES = (
    ("English", "en_wiki_0", "vocab/bert_uncased/vocab.txt"),
    ("Chinese", "zh_wiki_0", "vocab/bert_chinese/vocab.txt"),
)
CORES = len(os.sched_getaffinity(0))

RIVAL = """
import hashlib, json, resource, sys, time
import numpy as np
import datasets, transformers
from transformers import BertTokenizerFast
datasets.disable_progress_bars()
transformers.logging.set_verbosity_error()
text, vocabulary, work, cores = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
tokenizer = BertTokenizerFast(vocab=vocabulary, do_lower_case=True)

def tokenize(rows):
    found = tokenizer(
        rows["text"], add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False,
    )
    return {"input_ids": found["input_ids"]}

def processor():
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in both)

used, begun = processor(), time.perf_counter()
rows = datasets.load_dataset("json", data_files=text, split="train", cache_dir=work + "/cache")
made = rows.map(tokenize, batched=True, num_proc=cores, remove_columns=rows.column_names)
made.save_to_disk(work + "/rows")
seconds, used = time.perf_counter() - begun, processor() - used
digest, tokens = hashlib.sha256(), 0
for batch in made.with_format("numpy").iter(1000):
    for ids in batch["input_ids"]:
        digest.update(np.asarray(ids, dtype=np.uint16).tobytes())
        tokens += len(ids)
print(json.dumps({"seconds": seconds, "processor": used, "tokens": tokens, "digest": digest.hexdigest()}))
"""

OURS = """
import hashlib, json, sys, time
import albertine as al
from albertine.batching.shards import Shards
from albertine.data.cleaning import CleaningChoices
text, vocabulary, work, everything = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4] == "everything"
plain = dict(mojibake=False, entities=False, markup="never", unicode=False, controls=False, spaces=False, holes=False)
plain |= dict(punctuation=False, repeated_lines=False, minimum=0)
same = dict(cleaning=CleaningChoices(**plain), duplicates="keep", segmenter="characters")
same |= dict(held_out=0.0, held_out_documents=0)
choices = al.CorpusChoices(**({} if everything else same))
tokenizer = al.load_tokenizer(vocabulary)
begun = time.perf_counter()
report = al.build_corpus([text], tokenizer=tokenizer, out=work + "/corpus", choices=choices)
seconds = time.perf_counter() - begun
stages = {name: [round(one.cpu_seconds, 2), round(one.wall_seconds, 2)] for name, one in report.stages.items()}
shards, digest = Shards(work + "/corpus", "train"), hashlib.sha256()
for start in range(0, shards.num_tokens, 1_000_000):
    digest.update(shards.tokens(start, min(start + 1_000_000, shards.num_tokens)).astype("uint16").tobytes())
used = sum(stages[name][0] for name in ("read", "tokens", "shards"))
told = {"seconds": seconds, "processor": used, "tokens": shards.num_tokens, "digest": digest.hexdigest()}
print(json.dumps(told | {"stages": stages, "peak_memory": report.peak_memory}))
"""


def write_documents(corpus: str, path: Path, megabytes: float) -> None:
    """Write the first documents of a corpus as JSON Lines, about so many megabytes of text."""
    left = megabytes * 1e6
    with (
        lzma.open(data_folder() / "corpus" / f"{corpus}.txt.xz", "rt", encoding="utf-8") as source,
        path.open("w", encoding="utf-8") as target,
    ):
        lines: list[str] = []
        for line in source:
            if line.startswith("<doc"):
                lines = []
            elif line.startswith("</doc"):
                text = "".join(lines).strip()
                if text and "Σ" not in text:
                    target.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
                    left -= len(text.encode())
            else:
                lines.append(line)
            if left <= 0:
                return


def timed(program: str, text: Path, vocabulary: Path, last: str) -> dict[str, object]:
    """Run one side in a fresh process and an empty folder."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    with tempfile.TemporaryDirectory(dir=text.parent) as work:
        words = [sys.executable, "-c", program, str(text), str(vocabulary), work, last]
        done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"this side failed:\n{done.stderr[-2000:]}")
    told: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return told


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=40.0, help="of text a case")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=None, help="a folder for the files, on a fast disk")
    options = parser.parse_args()
    result: dict[str, object] = {"benchmark": "corpus", "megabytes": options.megabytes, "cores": CORES}
    print(f"{'':10}{'tokens':>12}{'datasets.map':>15}{'same ids':>12}{'everything':>12}{'ratio':>8}{'work':>8}")
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        for name, corpus, vocabulary in CASES:
            text = Path(folder) / f"{corpus}.jsonl"
            write_documents(corpus, text, options.megabytes)
            runs: dict[str, list[dict[str, object]]] = {"rival": [], "same": [], "everything": []}
            for _ in range(options.rounds):  # one after the other, so that all meet the same machine
                runs["rival"].append(timed(RIVAL, text, data_folder() / vocabulary, str(CORES)))
                runs["same"].append(timed(OURS, text, data_folder() / vocabulary, "same"))
                runs["everything"].append(timed(OURS, text, data_folder() / vocabulary, "everything"))
            if runs["rival"][0]["digest"] != runs["same"][0]["digest"]:
                sys.exit(f"{name}: the ids are not the same")
            seconds = {
                side: statistics.median(float(str(one["seconds"])) for one in told) for side, told in runs.items()
            }
            tokens = {side: int(str(told[0]["tokens"])) for side, told in runs.items()}
            rates = {side: tokens[side] / seconds[side] for side in runs}
            ratio = rates["same"] / rates["rival"]
            used = {
                side: statistics.median(float(str(one["processor"])) for one in told) for side, told in runs.items()
            }
            work = used["rival"] / used["same"]
            print(
                f"{name:10}{tokens['rival']:>12,}{rates['rival']:>15,.0f}{rates['same']:>12,.0f}"
                f"{rates['everything']:>12,.0f}{ratio:>8.2f}{work:>8.2f}"
            )
            stages = runs["everything"][0]["stages"]
            result[name] = {
                "tokens": tokens["rival"],
                "tokens_per_second": {side: round(rate) for side, rate in rates.items()},
                "ratio": round(ratio, 3),
                "work_ratio": round(work, 3),
                "stages": stages,
                "peak_memory": runs["everything"][0]["peak_memory"],
            }
            print(f"  everything, seconds of processor and clock: {stages}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
