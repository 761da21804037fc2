"""Cut the student that distillation begins with out of the teacher.

    python student.py recipe.yaml --texts texts --teacher multilingual-e5-small \
        --archives packages --out student

Some of the teacher's layers, of each feed-forward network the neurons that matter most, and a
vocabulary of word pieces whose vectors are those of the teacher's pieces of the same string. It is
written as a folder in the Hugging Face layout.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import load_file, save_file
from scipy.special import erf
from sources import Material, dictionary
from tokenizers import BertWordPieceTokenizer, Tokenizer
from vocabulary import SPECIAL, vocabulary

Tensors = dict[str, np.ndarray]
_RIDGE = 0.02  # of the mean variance of the neurons
_SAMPLE, _TOKENS = 1500, 64  # texts that the neurons are judged on, and what they are cut to


def word_vectors(pieces: list[str], teacher: Path, table: np.ndarray) -> np.ndarray:
    """A row of the teacher's embeddings for each piece, (pieces, hidden).

    That of the same string if there is one, at the beginning of a word or within as the piece is;
    else the mean over what the teacher cuts the string into.
    """
    tokenizer = Tokenizer.from_file(str(teacher / "tokenizer.json"))
    ids = tokenizer.get_vocab()
    special = dict(zip(SPECIAL, ("<pad>", "<unk>", "<s>", "</s>", "<mask>"), strict=True))

    def row(piece: str) -> np.ndarray:
        if piece in special:
            return table[ids[special[piece]]]
        within, text = piece.startswith("##"), piece.removeprefix("##")
        begins = f"\u2581{text}"
        chinese = "\u4e00" <= text[0] <= "\u9fff"
        for name in (text, begins) if within or chinese else (begins, text):
            if name in ids:
                return table[ids[name]]
        cut = tokenizer.encode(text, add_special_tokens=False)
        rows = [i for i, token in zip(cut.ids, cut.tokens, strict=True) if token != "\u2581"]
        return table[rows or [ids["<unk>"]]].mean(0)

    return np.stack([row(piece) for piece in pieces])


class Forward:
    """The hidden states of a BERT with such tensors, layer after layer, for one batch of ids."""

    def __init__(self, tensors: Tensors, heads: int, ids: np.ndarray, mask: np.ndarray) -> None:
        self._tensors, self._heads = tensors, heads
        self.mask = mask
        x = tensors["embeddings.word_embeddings.weight"][ids]
        x = x + tensors["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = x + tensors["embeddings.token_type_embeddings.weight"][0]
        self.x = self._normalized(x, "embeddings.LayerNorm")

    def attend(self, layer: int) -> np.ndarray:
        """The activations of the layer's feed-forward neurons, (tokens, neurons)."""
        name = f"encoder.layer.{layer}"
        rows, tokens, width = self.x.shape
        q, k, v = (
            self._dense(self.x, f"{name}.attention.self.{part}")
            .reshape(rows, tokens, self._heads, -1)
            .transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(width / self._heads)
        scores += np.where(self.mask[:, None, None, :], 0.0, -1e9).astype(np.float32)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ v
        mixed = mixed.transpose(0, 2, 1, 3).reshape(rows, tokens, width)
        mixed = self._dense(mixed, f"{name}.attention.output.dense")
        self.x = self._normalized(self.x + mixed, f"{name}.attention.output.LayerNorm")
        inner = self._dense(self.x, f"{name}.intermediate.dense")
        self._inner = 0.5 * inner * (1 + erf(inner / np.sqrt(2)).astype(np.float32))
        return self._inner[self.mask]

    def finish(self, layer: int, kept: np.ndarray) -> None:
        """Go on with the output matrix that ``kept`` of the neurons have by now."""
        name = f"encoder.layer.{layer}.output"
        out = self._dense(self._inner[..., kept], f"{name}.dense")
        self.x = self._normalized(self.x + out, f"{name}.LayerNorm")

    def mean(self) -> np.ndarray:
        """The mean of the last states over the tokens, (rows, hidden)."""
        weights = self.mask[..., None].astype(np.float32)
        return (self.x * weights).sum(1) / weights.sum(1)

    def _dense(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self._tensors[f"{name}.weight"].T + self._tensors[f"{name}.bias"]

    def _normalized(self, x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
        return x * self._tensors[f"{name}.weight"] + self._tensors[f"{name}.bias"]


def prune(tensors: Tensors, layer: int, activations: np.ndarray, size: int) -> np.ndarray:
    """Leave ``size`` neurons of a feed-forward network; which ones, in their order.

    Those of the greatest variance times squared norm of their output weights stay, of
    ``activations`` (tokens, neurons). Their output weights become those that give what all neurons
    gave, by least squares with a ridge towards the old weights; the bias takes what is constant.
    """
    name = f"encoder.layer.{layer}"
    weights = tensors[f"{name}.output.dense.weight"]  # (hidden, neurons)
    mean = activations.mean(0)
    centred = activations - mean
    importance = centred.var(0) * (weights**2).sum(0)
    kept = np.sort(np.argsort(-importance, kind="stable")[:size])
    left = centred[:, kept]
    gram = left.T @ left
    ridge = _RIDGE * gram.diagonal().mean()
    right = left.T @ (centred @ weights.T) + ridge * weights[:, kept].T
    new = np.linalg.solve(gram + ridge * np.eye(size, dtype=np.float32), right)
    tensors[f"{name}.output.dense.bias"] += mean @ weights.T - mean[kept] @ new
    tensors[f"{name}.output.dense.weight"] = np.ascontiguousarray(new.T)
    for part in ("weight", "bias"):
        inner = f"{name}.intermediate.dense.{part}"
        tensors[inner] = np.ascontiguousarray(tensors[inner][kept])
    return kept


def student_of(teacher: Tensors, layers: list[int], words: np.ndarray) -> Tensors:
    """The teacher with only such layers, and other word vectors."""
    chosen = {
        name: np.array(values, np.float32)
        for name, values in teacher.items()
        if name.startswith("embeddings.")
    }
    chosen["embeddings.word_embeddings.weight"] = words.astype(np.float32)
    for new, old in enumerate(layers):
        start = f"encoder.layer.{old}."
        chosen |= {
            f"encoder.layer.{new}.{name.removeprefix(start)}": np.array(values, np.float32)
            for name, values in teacher.items()
            if name.startswith(start)
        }
    return chosen


def _batches(texts: list[str], tokenizer: BertWordPieceTokenizer) -> list[tuple[np.ndarray, ...]]:
    tokenizer.enable_truncation(_TOKENS)
    ids = sorted((encoding.ids for encoding in tokenizer.encode_batch(texts)), key=len)
    batches = []
    for start in range(0, len(ids), 100):
        part = ids[start : start + 100]
        padded = np.zeros((len(part), len(part[-1])), np.int64)
        for row, own in enumerate(part):
            padded[row, : len(own)] = own
        batches.append((padded, padded != 0))
    return batches


def main() -> None:
    """Write the student."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--archives", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    recipe = yaml.safe_load(options.recipe.read_text("utf-8"))
    wanted = recipe["student"]
    texts = [
        text
        for name in recipe["texts"]
        for text in (options.texts / f"{name}.txt").read_text("utf-8").split("\n")[:-1]
    ]
    rows = dictionary(Material(options.archives, Path(), Path()))
    frequencies = {word: frequency for word, frequency, _ in rows}
    pieces = vocabulary(texts, frequencies, wanted["characters"], wanted["pieces"])
    options.out.mkdir(parents=True)
    (options.out / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), "utf-8")

    config = json.loads((options.teacher / "config.json").read_text("utf-8"))
    teacher = load_file(options.teacher / "model.safetensors")
    words = word_vectors(
        pieces, options.teacher, teacher["embeddings.word_embeddings.weight"].astype(np.float32)
    )
    tensors = student_of(teacher, wanted["layers"], words)
    sample = random.Random(recipe["seed"]).sample([t for t in texts if len(t) > 8], _SAMPLE)
    tokenizer = BertWordPieceTokenizer(str(options.out / "vocab.txt"), lowercase=True)
    heads = config["num_attention_heads"]
    batches = [Forward(tensors, heads, *batch) for batch in _batches(sample, tokenizer)]
    for layer in range(len(wanted["layers"])):
        activations = np.concatenate([batch.attend(layer) for batch in batches])
        kept = prune(tensors, layer, activations, wanted["intermediate_size"])
        for batch in batches:
            batch.finish(layer, kept)
    mean = np.concatenate([batch.mean() for batch in batches]).mean(0)
    last = f"encoder.layer.{len(wanted['layers']) - 1}.output.LayerNorm.bias"
    tensors[last] = tensors[last] - np.float32(recipe["teacher"]["shrink"]) * mean  # as the targets
    _write(options.out, tensors, config, len(pieces), wanted)


def _write(
    out: Path, tensors: Tensors, config: dict[str, object], pieces: int, wanted: dict[str, object]
) -> None:
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config |= {
        "vocab_size": pieces,
        "num_hidden_layers": len(wanted["layers"]),  # type: ignore[arg-type]
        "intermediate_size": wanted["intermediate_size"],
        "layer_norm_eps": 1e-12,
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    (out / "tokenizer_config.json").write_text(
        json.dumps(
            {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512}
        )
        + "\n",
        "utf-8",
    )
    numbers = sum(values.size for values in tensors.values())
    print(f"{out}: {pieces:,} pieces, {numbers:,} parameters", flush=True)


if __name__ == "__main__":
    main()
