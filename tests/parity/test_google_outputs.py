from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from albertine.checkpoints.google.config import read_google_config
from albertine.checkpoints.google.folder import find_google, read_folder_config
from albertine.checkpoints.google.names import GoogleLayout, canonical_google, detect_layout, google_places
from albertine.checkpoints.source import MemorySource, TensorSource, read_tensor
from albertine.checkpoints.tensorflow import open_bundle
from albertine.models.config import EncoderConfig
from albertine.models.heads import PretrainingModel

LAYOUTS: Mapping[str, GoogleLayout] = {
    "bert_tiny_random": "google-bert",
    "albert_small_random": "google-albert",
    "albert_groups_random": "google-albert",
    "albert_zh_random": "brightmart-albert",
}
KEY_BIASES = {
    "bert_tiny_random": "bert/encoder/layer_{}/attention/self/key/bias",
    "albert_small_random": "bert/encoder/transformer/group_{}/inner_group_0/attention_1/self/key/bias",
    "albert_zh_random": "bert/encoder/layer_shared/attention/self/key/bias",
}
TOLERANCE = 1e-4


def open_checkpoint(folder: Path) -> tuple[TensorSource, GoogleLayout, EncoderConfig]:
    found = find_google(folder)
    assert found is not None
    source = open_bundle(found.prefix)
    layout = detect_layout(source.entries, where=str(folder))
    return source, layout, read_folder_config(found, layout, source).config


def build(source: TensorSource, layout: GoogleLayout, config: EncoderConfig) -> PretrainingModel:
    model = PretrainingModel(config).eval()
    in_file = {canonical_google(name): name for name in source.entries}
    parameters = model.state_dict()
    places = google_places(parameters, config, layout)
    assert {place.name for place in places.values()} == set(in_file), "every variable has its tensor"
    for name, place in places.items():
        values = parameters[name]
        source.copy(in_file[place.name], values.t() if place.transposed else values)
    return model


def run(model: PretrainingModel, given: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Return what the file with the expected outputs has, by its names."""
    ids, mask, segments = (torch.from_numpy(given[name]) for name in ("input_ids", "input_mask", "token_type_ids"))
    normed: list[Tensor] = []
    norm = model.encoder.embeddings.layer_norm
    assert norm is not None
    hook = norm.register_forward_hook(lambda module, inputs, output: normed.append(output))
    chosen = torch.from_numpy(given["masked_lm_positions"]).long()
    rows = torch.arange(len(ids))[:, None] * ids.shape[1]
    with torch.no_grad():
        out = model(
            ids,
            attention_mask=mask,
            token_type_ids=segments,
            positions=(rows + chosen).flatten(),
            output_hidden_states=True,
        )
    hook.remove()
    assert out.encoder.hidden_states is not None
    pair = "sop" if "sop_logits" in given else "nsp"
    labels = torch.from_numpy(given["sentence_order_labels" if pair == "sop" else "next_sentence_labels"]).long()
    weights = torch.from_numpy(given["masked_lm_weights"]).flatten()
    words = F.cross_entropy(
        out.prediction_logits, torch.from_numpy(given["masked_lm_ids"]).long().flatten(), reduction="none"
    )
    return {
        "embedding_output": normed[0],
        "encoder_layers": torch.stack(out.encoder.hidden_states[1:]),
        "sequence_output": out.encoder.last_hidden_state,
        "pooled_output": out.encoder.pooler_output,
        "mlm_logits": out.prediction_logits.view(*chosen.shape, -1),
        f"{pair}_logits": out.pair_logits,
        "mlm_loss": (weights * words).sum() / (weights.sum() + 1e-5),
        f"{pair}_loss": F.cross_entropy(out.pair_logits, labels),
    }


def largest_differences(model: PretrainingModel, folder: Path) -> dict[str, float]:
    with np.load(folder / "expected.npz") as file:
        expected = {name: file[name] for name in file}
    got = run(model, expected)
    inputs = {"input_ids", "input_mask", "token_type_ids"}
    asked = {
        name for name in expected if name not in inputs and not name.startswith("masked_lm") and "label" not in name
    }
    assert asked == set(got), "every array is held against ours"
    differences = {}
    for name in asked:
        assert tuple(got[name].shape) == expected[name].shape
        differences[name] = float(np.abs(got[name].numpy() - expected[name]).max())
    return differences


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_output_of_the_original_code_comes_out_at_every_position(name: str, data_dir: Path) -> None:
    folder = data_dir / "checkpoints" / name
    source, layout, config = open_checkpoint(folder)
    assert layout == LAYOUTS[name]
    differences = largest_differences(build(source, layout, config), folder)
    assert max(differences.values()) < TOLERANCE / 2, differences


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_other_form_of_gelu_would_be_noticed(name: str, data_dir: Path) -> None:
    folder = data_dir / "checkpoints" / name
    source, layout, config = open_checkpoint(folder)
    assert config.hidden_act == "gelu_tanh"
    differences = largest_differences(build(source, layout, replace(config, hidden_act="gelu")), folder)
    assert differences["encoder_layers"] > 2 * TOLERANCE
    assert differences["mlm_logits"] > TOLERANCE


@pytest.mark.parametrize("name", LAYOUTS)
def test_another_epsilon_would_be_noticed(name: str, data_dir: Path) -> None:
    folder = data_dir / "checkpoints" / name
    source, layout, config = open_checkpoint(folder)
    differences = largest_differences(build(source, layout, replace(config, layer_norm_eps=1e-5)), folder)
    assert differences["embedding_output"] > TOLERANCE


def test_groups_taken_in_turn_would_be_noticed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = data_dir / "checkpoints" / "albert_groups_random"
    source, layout, config = open_checkpoint(folder)
    model = build(source, layout, config)
    monkeypatch.setattr(EncoderConfig, "group_of_layer", lambda self, layer: layer % self.num_hidden_groups)
    assert largest_differences(model, folder)["encoder_layers"] > 1


def test_an_untransposed_kernel_would_be_noticed(data_dir: Path) -> None:
    folder = data_dir / "checkpoints" / "bert_tiny_random"
    source, layout, config = open_checkpoint(folder)
    model = build(source, layout, config)
    query = model.encoder.attention_blocks[1].query.weight
    query.data = query.data.t().contiguous()
    assert largest_differences(model, folder)["encoder_layers"] > TOLERANCE


@pytest.mark.parametrize("name", KEY_BIASES)
def test_key_biases_which_change_no_output_have_their_values(name: str, data_dir: Path) -> None:
    source, layout, config = open_checkpoint(data_dir / "checkpoints" / name)
    blocks = build(source, layout, config).encoder.attention_blocks
    assert len(blocks) == config.num_attention_blocks
    for index, block in enumerate(blocks):
        stored = read_tensor(source, KEY_BIASES[name].format(index))
        assert stored.abs().max() > 0
        assert torch.equal(block.key.bias, stored)


def test_key_biases_of_groups_and_inner_blocks_have_their_values(data_dir: Path) -> None:
    source, layout, config = open_checkpoint(data_dir / "checkpoints" / "albert_groups_random")
    blocks = build(source, layout, config).encoder.attention_blocks
    assert len(blocks) == 4
    for index, (group, inner) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        name = f"bert/encoder/transformer/group_{group}/inner_group_{inner}/attention_1/self/key/bias"
        assert torch.equal(blocks[index].key.bias, read_tensor(source, name))


def pre_norm_states(variables: Mapping[str, np.ndarray], ids: np.ndarray, layers: int, heads: int) -> list[np.ndarray]:
    """Compute the states of brightmart's pre-norm encoder from its variables, in NumPy: input, then every layer."""

    def normed(values: np.ndarray, scope: str) -> np.ndarray:
        centred = values - values.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        return scaled * variables[f"{scope}/LayerNorm/gamma"] + variables[f"{scope}/LayerNorm/beta"]

    def dense(values: np.ndarray, scope: str) -> np.ndarray:
        return values @ variables[f"{scope}/kernel"] + variables[f"{scope}/bias"]

    def split(values: np.ndarray) -> np.ndarray:
        return values.reshape(*values.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    table = "bert/embeddings/"
    words = variables[table + "word_embeddings"][ids] @ variables[table + "word_embeddings_2"]
    positions = variables[table + "position_embeddings"][: ids.shape[1]]
    states = [normed(words + positions + variables[table + "token_type_embeddings"][0], "bert/embeddings")]
    block = "bert/encoder/layer_shared"
    for _ in range(layers):
        entering = normed(states[-1], f"{block}/attention/output")
        query, key, value = (split(dense(entering, f"{block}/attention/self/{x}")) for x in ("query", "key", "value"))
        scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (weights / weights.sum(-1, keepdims=True) @ value).transpose(0, 2, 1, 3).reshape(entering.shape)
        attended = states[-1] + dense(mixed, f"{block}/attention/output/dense")
        inner = dense(normed(attended, f"{block}/output"), f"{block}/intermediate/dense")
        inner = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        states.append(attended + dense(inner, f"{block}/output/dense"))
    return states


def test_brightmarts_pre_norm_form_is_our_pre_norm_form() -> None:
    values = {
        "vocab_size": 17,
        "embedding_size": 5,
        "hidden_size": 12,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 22,
        "max_position_embeddings": 9,
        "type_vocab_size": 2,
        "ln_type": "preln",
    }
    config = read_google_config(values, "brightmart-albert", where="albert_config.json").config
    shapes = {name: tensor.shape for name, tensor in PretrainingModel(config).state_dict().items()}
    variables = {
        place.name: 0.7 * torch.randn(shapes[name][::-1] if place.transposed else shapes[name])
        for name, place in google_places(shapes, config, "brightmart-albert").items()
    }
    model = build(MemorySource(variables, Path("memory")), "brightmart-albert", config).double()
    ids = torch.randint(17, (2, 7))
    with torch.no_grad():
        out = model.encoder(ids, output_hidden_states=True)
    arrays = {name: tensor.double().numpy() for name, tensor in variables.items()}
    expected = pre_norm_states(arrays, ids.numpy(), 3, 3)
    assert out.hidden_states is not None
    for ours, theirs in zip(out.hidden_states, expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-9)
    pooled = np.tanh(expected[-1][:, 0] @ arrays["bert/pooler/dense/kernel"] + arrays["bert/pooler/dense/bias"])
    assert out.pooler_output is not None
    np.testing.assert_allclose(out.pooler_output.numpy(), pooled, atol=1e-9)
