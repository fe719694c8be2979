"""The program that answers from an exported folder without Albertine; it stands in the folder's README."""

from __future__ import annotations

from typing import Literal

__all__ = ["AnswerKind", "Runtime", "program"]

Runtime = Literal["onnxruntime", "openvino"]

AnswerKind = Literal["label", "labels", "number", "likeness", "spans", "frames", "answers", "vectors", "outputs"]
"""What becomes of the outputs: a label a text, any number of them, a number, how alike two texts are, spans of a text,
its intent and slots, answers to questions, vectors, or nothing further."""

_BEGIN = '''import json

import numpy as np
import {runtime}
from tokenizers import Tokenizer

FOLDER = "."


def read(name):
    with open(f"{{FOLDER}}/{{name}}", encoding="utf-8") as file:
        return json.load(file)


export = read("export.json")
tokenizer = Tokenizer.from_file(f"{{FOLDER}}/tokenizer.json")
tokenizer.encode_special_tokens = True  # "[SEP]" in a text is text
tokenizer.enable_truncation(export["max_length"]{truncation})
tokenizer.enable_padding(pad_id=export["pad_id"])
{open}


def run(texts):
    """Return the tokens of texts, or of (first, second) pairs, and every output of the model by its name."""
    tokens = tokenizer.encode_batch(texts)
    rows = {{
        "input_ids": [one.ids for one in tokens],
        "attention_mask": [one.attention_mask for one in tokens],
        "token_type_ids": [one.type_ids for one in tokens],
    }}
    feed = {{one["name"]: np.array(rows[one["name"]], dtype=np.int64) for one in export["inputs"]}}
    names = [one["name"] for one in export["outputs"]]
    {run}
'''

_OPEN: dict[Runtime, str] = {
    "onnxruntime": 'session = onnxruntime.InferenceSession(f"{FOLDER}/model.onnx", providers=["CPUExecutionProvider"])',
    "openvino": "# without the hint it computes in bf16 where the processor has that, which moves answers a little\n"
    'model = openvino.Core().compile_model(f"{FOLDER}/model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})',
}

_RUN: dict[Runtime, str] = {
    "onnxruntime": "return tokens, dict(zip(names, session.run(names, feed)))",
    "openvino": "found = model(feed)\n    return tokens, {name: found[name] for name in names}",
}

_SHARES = '''
def shares(scores):
    """Return the probabilities that scores stand for."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)

'''

_SPANS = '''
def spans(text, tokens, scores):
    """Return the labelled pieces of a text from the scores of its tokens' tags: the best sequence that may be."""
    tags = read("tags.json")
    first, follow, last = (np.array(tags[name]) for name in ("first", "next", "last"))
    places = [place for place, special in enumerate(tokens.special_tokens_mask) if not special]
    if not places:
        return []
    scores = np.log(np.maximum(shares(scores[places]), 1e-38))
    reached, ways = first + scores[0], []
    for row in scores[1:]:
        step = reached[:, None] + follow
        ways.append(step.argmax(axis=0))
        reached = step.max(axis=0) + row
    path = [int((reached + last).argmax())]
    for way in reversed(ways):
        path.append(int(way[path[-1]]))
    path.reverse()
    found, begin = [], None
    for place, tag in enumerate([*path, None]):
        if place and tag is not None and tags["continuing"][path[place - 1]][tag]:
            continue
        if begin is not None:
            start, end = tokens.offsets[places[begin]][0], tokens.offsets[places[place - 1]][1]
            piece = text[start:end]
            start, end = start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
            found.append((tags["labels"][tags["types"][path[begin]]], start, end, text[start:end]))
        begin = place if tag is not None and tags["types"][tag] >= 0 else None
    return found

'''

_ANSWER: dict[AnswerKind, str] = {
    "label": f'''{_SHARES}
def answer(texts):
    """Return the label of every text, and its probability."""
    task = read("task.json")
    rows = shares(run(texts)[1]["logits"] / (task["temperature"] or 1.0))
    return [(task["labels"][row.argmax()], float(row.max())) for row in rows]
''',
    "labels": '''
def answer(texts):
    """Return the labels of every text that apply, any number of them."""
    task = read("task.json")
    chances = 1 / (1 + np.exp(-run(texts)[1]["logits"] / (task["temperature"] or 1.0)))
    thresholds = np.array(task["thresholds"] or [0.5] * len(task["labels"]), dtype=np.float32)
    return [[label for label, said in zip(task["labels"], row >= thresholds) if said] for row in chances]
''',
    "number": '''
def answer(texts):
    """Return the number of every text."""
    task = read("task.json")
    return [float(row[0]) * task["value_spread"] + task["value_mean"] for row in run(texts)[1]["logits"]]
''',
    "likeness": '''
def answer(pairs):
    """Return how alike the two texts of every pair are, in the range of the training data."""
    task = read("task.json")
    alike = 1 / (1 + np.exp(-run(pairs)[1]["logits"][:, 0])) * task["slope"] + task["intercept"]
    lowest, highest = task["lowest"], task["highest"]
    return [float(one) for one in np.clip(lowest + (highest - lowest) * alike, lowest, highest)]
''',
    "spans": f'''{_SHARES}{_SPANS}
def answer(texts):
    """Return the labelled pieces of every text: label, first character, one past the last, words."""
    tokens, found = run(texts)
    return [spans(*one) for one in zip(texts, tokens, found["logits"])]
''',
    "frames": f'''{_SHARES}{_SPANS}
def answer(texts):
    """Return the intent of every text, and its slots: label, first character, one past the last, words."""
    tokens, found = run(texts)
    intents = [read("task.json")["labels"][row.argmax()] for row in found["intent_logits"]]
    return [(intent, spans(*one)) for intent, *one in zip(intents, texts, tokens, found["slot_logits"])]
''',
    "answers": '''
def answer(pairs):
    """Return the answer to every (question, context), "" where the context has none."""
    longest = read("task.json")["max_answer_tokens"]
    tokens, found = run(pairs)
    answers = []
    for (_, context), one, starts, ends in zip(pairs, tokens, found["start_logits"], found["end_logits"]):
        places = [place for place, part in enumerate(one.sequence_ids) if part == 1]
        sums = [
            (starts[first] + ends[last], one.offsets[first][0], one.offsets[last][1])
            for index, first in enumerate(places)
            for last in places[index : index + longest]
        ]
        best, start, end = max(sums, default=(-np.inf, 0, 0))
        threshold = read("task.json")["no_answer_threshold"]
        silent = threshold is not None and starts[0] + ends[0] - best > threshold
        answers.append("" if silent else context[start:end].strip())
    return answers
''',
    "vectors": '''
def answer(texts):
    """Return one vector a text."""
    return run(texts)[1]["sentence_vectors"]
''',
    "outputs": '''
def answer(texts):
    """Return every output; what stands at padding in those of tokens means nothing."""
    return run(texts)[1]
''',
}


def program(runtime: Runtime, kind: AnswerKind, *, pairs: bool) -> str:
    """Return a whole program: it opens the folder that it runs in, defines `answer` and calls it once.

    Args:
        runtime: which runs the graph.
        kind: what becomes of the outputs.
        pairs: whether the model reads two texts at a time.
    """
    begin = _BEGIN.format(
        runtime=runtime,
        open=_OPEN[runtime],
        run=_RUN[runtime],
        truncation=', strategy="only_second"' if kind == "answers" else "",
    )
    call = 'print(answer([("A text.", "Another one.")]))' if pairs else 'print(answer(["A text.", "Another one."]))'
    return f"{begin}\n{_ANSWER[kind]}\n\n{call}\n"
