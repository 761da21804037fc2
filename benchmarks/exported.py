"""Exported models, same vectors: `export-hf` against sentence-transformers.

Exports models of every family, pooling and kind of tokenizer that can be exported, loads each in
sentence-transformers (in a virtual environment of its own) and compares vectors and token ids, over
ordinary texts and over ones that tokenizers trip on. Exit status 1 if a bound is missed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from same_vectors import (
    CORPUS,
    FIND_MODEL,
    LARGEST_DIFFERENCE,
    machine,
    peer_parser,
    progress,
    run_python,
)
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from simsearch import SentenceEncoder, bert
from simsearch.checkpoint import load_checkpoint
from simsearch.checkpoint.architecture import Architecture
from simsearch.checkpoint.variables import backbone_shapes, pooler_shapes
from simsearch.encoder import Vectors

EVERY = 6
"""Every sixth sentence of the corpus: 102 of them."""
FINAL_SIGMA = "ΟΔΟΣ ΤΩΝ ΘΕΩΝ Σ"
"""Whose ids differ knowingly in an uncased model: Python's lower case of Σ ends a word with ς."""
NASTY = [
    "",
    " ",
    "a",
    " a space before, two  within, and one after ",
    "Mixed 中文 and English混排，with numbers 3.14 and 100%。",
    "Café naïve ÀÉÎÕÜ Ångström İstanbul, Straße ŉ ǅ",
    "decomposed: e\u0301 u\u0308 \u1112\u1161\u11ab",
    "ＦＵＬＬ－ＷＩＤＴＨ　１２３，ﾊﾝｶｸ ﬁ ﷺ ①",
    "👍🏽 👩‍👩‍👧 🇨🇳 emoji",
    "control\u0000characters\u0007\u200b\ufeff\u00ad\ufffd, tab\tnew\nline\r\u2028\u0085end",
    "private \ue000 use, beyond \U00020000 \U0002b820 \U0001f600 the first plane",
    "[SEP] [CLS] [MASK] [PAD] [UNK] spelled out; ##ing too",
    "x" * 100 + " " + "y" * 101 + " " + "z" * 200 + " " + "w" * 201 + " " + "中" * 300,
    "long enough to be cut. " * 300,
    "العربية עברית हिन्दी ไทย 한국어 にほんご カタカナ",
    "-–—…“”‘’«»¿¡§¶†‡•′″‰€£¥™©®°±×÷≠≤≥∞√∑∫",
    FINAL_SIGMA,
]
POOLINGS: tuple[tuple[str, list[int] | None], ...] = (
    ("mean", None),
    ("cls", None),
    ("max", None),
    ("mean_sqrt_len", None),
    ("position_weighted_mean", None),
    ("first_last_mean", None),
    ("last2_mean", None),
    ("cls", [0, 2, 5]),
    ("position_weighted_mean", [-3, -1]),
    ("max", [3]),
)
"""Poolings and hidden states that are exported of zhen-small."""
PEER_PROGRAM = """
import importlib.metadata, json, sys
from pathlib import Path
import numpy as np
import transformers
from sentence_transformers import SentenceTransformer

transformers.logging.set_verbosity_error()
root = Path(sys.argv[1])
texts = json.loads((root / "texts.json").read_text("utf-8"))
for name in json.loads((root / "names.json").read_text("utf-8")):
    model = SentenceTransformer(str(root / name), device="cpu")
    options = dict(show_progress_bar=False)
    queries = model.encode_query(texts[:20], **options)
    np.save(root / f"{name}.npy", np.concatenate([model.encode(texts, **options), queries]))
    prompt = model.prompts.get(model.default_prompt_name) or ""
    cut = dict(truncation=True, max_length=model.max_seq_length)
    ids = model.tokenizer([prompt + text for text in texts], **cut)["input_ids"]
    (root / f"{name}.json").write_text(json.dumps(ids), "utf-8")
packages = ("sentence-transformers", "transformers", "torch")
print(json.dumps({name: importlib.metadata.version(name) for name in packages}))
"""
TINY = Architecture(
    family="bert",
    vocab_size=0,
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=96,
    max_position_embeddings=128,
    type_vocab_size=2,
    embedding_size=48,
    attention_key_size=12,
    hidden_act="gelu",
    layer_norm_eps=1e-12,
)
"""The architecture of the random models; its vocabulary is zhen-small's."""
FAMILIES = (
    TINY,
    replace(TINY, family="albert", embedding_size=24, hidden_act="gelu_new"),
    replace(TINY, family="electra", embedding_size=24),
    replace(TINY, family="roformer", embedding_size=24, hidden_act="relu"),
)


@dataclass(frozen=True, slots=True)
class Case:
    """An encoder to export: a model with options, and what it is called in the table."""

    title: str
    model: str | Path
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ours:
    """What simsearch makes of the texts: vectors, float32 (texts + 20 queries, dim), and ids."""

    vectors: Vectors
    ids: list[list[int]]
    lower_case: bool


def main() -> int:
    """Export, compare, print the table, and say by the exit status whether every bound was met."""
    arguments = peer_parser(__doc__).parse_args()
    peer_python = arguments.peer_python
    model = ("all-MiniLM-L6-v2", run_python(peer_python, FIND_MODEL).strip())
    if arguments.model_dir is not None:
        model = (arguments.model_dir.resolve().name, str(arguments.model_dir))
    sentences = [json.loads(line)["text"] for line in CORPUS.read_text("utf-8").splitlines()]
    texts = [*sentences[::EVERY], *NASTY]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        cases = list(_cases(model, sentences, root))
        ours = [_exported(case, texts, root / f"{i}") for i, case in enumerate(cases)]
        (root / "texts.json").write_text(json.dumps(texts), "utf-8")
        (root / "names.json").write_text(json.dumps([str(i) for i in range(len(cases))]), "utf-8")
        progress("encoding: sentence-transformers")
        versions = json.loads(run_python(peer_python, PEER_PROGRAM, name))
        theirs = [np.load(root / f"{i}.npy") for i in range(len(cases))]
        ids = [json.loads((root / f"{i}.json").read_text("utf-8")) for i in range(len(cases))]
    print("\n".join(machine(versions)))
    print(f"\n{len(texts)} texts, {len(NASTY)} of them nasty; 20 of them as queries too\n")
    print("| exported | dim | largest difference | other ids | |\n|---|---|---|---|---|")
    met = [_compare(*of, texts) for of in zip(cases, ours, theirs, ids, strict=True)]
    return 0 if all(met) else 1


def _cases(named: tuple[str, str], sentences: Sequence[str], root: Path) -> Iterator[Case]:
    """Every case, ``named`` being the title and the folder of the model to compare."""
    for pooling, layers in POOLINGS:
        title = f"zhen-small, {pooling}{f' of layers {layers}' if layers else ''}"
        yield Case(title, "zhen-small", {"pooling": pooling, "layers": layers})
    yield Case(f"{named[0]}, mean", named[1], {"pooling": "mean"})
    mini = ("zhen-small", "zhen-small")
    for (title, model), pooling in ((mini, "mean"), (mini, "first_last_mean"), (named, "mean")):
        plain = SentenceEncoder.load(model, pooling=pooling, precision="float32")
        whitening = plain.fit_whitening(sentences)
        for dim in (64, 256, whitening.rank):
            whitened = {"pooling": pooling, "whitening": whitening, "dim": dim}
            yield Case(f"{title}, {pooling}, whitened to {dim}", model, whitened)
    yield from _families(root)
    yield from _tokenizers(sentences, root)


def _families(root: Path) -> Iterator[Case]:
    for a in FAMILIES:
        folder = _write_random(root / a.family, a)
        pooler = ("pooler",) if a.family in ("bert", "albert") else ()
        for pooling in ("mean", "first_last_mean", *pooler):
            yield Case(f"random {a.family}, {pooling}", folder, {"pooling": pooling})
    yield Case("random roformer, longer texts", root / "roformer", {"max_length": 500})


def _tokenizers(sentences: Sequence[str], root: Path) -> Iterator[Case]:
    folder = _write_random(root / "tokenizers", TINY)
    for title, casing in (
        ("cased", {"lower_case": False}),
        ("cased, accents stripped", {"lower_case": False, "strip_accents": True}),
        ("uncased, accents kept", {"strip_accents": False}),
    ):
        yield Case(f"random bert, {title}", folder, casing)
    prompted = _write_random(root / "prompted", TINY)
    prompts = {"query": "查询：a query: ", "document": "passage: "}
    (prompted / "simsearch.json").write_text(json.dumps({"prompts": prompts}), "utf-8")
    yield Case("random bert, prompts", prompted)
    rust = _train_unigram(sentences)
    unigram = _write_random(root / "unigram", TINY, rust.get_vocab_size())
    rust.save(str(unigram / "tokenizer.json"))
    yield Case("random bert, Unigram with padding 1", unigram)


def _write_random(folder: Path, a: Architecture, tokens: int | None = None) -> Path:
    """A random checkpoint in Google layout, with zhen-small's vocabulary.

    ``tokens`` is how many its embedding table has, where another tokenizer is to follow.
    """
    vocabulary = load_checkpoint("zhen-small").vocabulary
    a = replace(a, vocab_size=tokens or vocabulary.size)
    random = np.random.default_rng(0)
    variables = {
        name: random.normal(1 if name.endswith("gamma") else 0, 0.2, shape).astype(np.float32)
        for name, shape in (
            backbone_shapes(a) | ({} if a.family == "electra" else pooler_shapes(a))
        ).items()
    }
    folder.mkdir()
    config = {**asdict(a), "model_type": a.family}
    (folder / "bert_config.json").write_text(json.dumps(config), "utf-8")
    bert.write_google_checkpoint(variables, folder / "bert_model.ckpt")
    vocabulary.write(folder)
    return folder


def _train_unigram(sentences: Sequence[str]) -> Tokenizer:
    """A tokenizer as XLM-RoBERTa's, trained on the corpus."""
    rust = Tokenizer(models.Unigram())
    rust.normalizer = normalizers.NFKC()
    rust.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=2000,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    rust.train_from_iterator(sentences, trainer)
    rust.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return rust


def _exported(case: Case, texts: Sequence[str], folder: Path) -> Ours:
    progress(f"exporting: {case.title}")
    encoder = SentenceEncoder.load(case.model, **case.options, precision="float32")
    encoder.export_hf(folder)
    if SentenceEncoder.load(folder).fingerprint != encoder.fingerprint:
        raise SystemExit(f"{case.title}: simsearch loads the exported folder as another encoder")
    queries = encoder.encode(texts[:20], prompt="query")
    # the model's ids begin with padding, the vocabulary's with another token in places
    own = encoder.checkpoint.vocabulary.padding
    swap = {0: own, own: 0}
    ids = [[swap.get(i, i) for i in row] for row in encoder.token_ids(texts)]
    vectors = np.concatenate([encoder.encode(texts), queries])
    return Ours(vectors, ids, encoder.checkpoint.lower_case)


def _compare(
    case: Case, ours: Ours, theirs: Vectors, ids: list[list[int]], texts: Sequence[str]
) -> bool:
    """Print a line of the table; whether the bound was met and no ids differ unexpectedly."""
    unlike = [i for i, (a, b) in enumerate(zip(ours.ids, ids, strict=True)) if a != b]
    differences = np.abs(ours.vectors - theirs).max(axis=1)
    difference = float(np.delete(differences, unlike).max())
    expected = [FINAL_SIGMA] if ours.lower_case else []
    met = difference <= LARGEST_DIFFERENCE and [texts[i] for i in unlike] == expected
    print(
        f"| {case.title} | {theirs.shape[1]} | {difference:.1e} | {len(unlike)} "
        f"| {'ok' if met else 'MISSED'} |"
    )
    for i in unlike:
        if texts[i] not in expected:
            print(f"    {texts[i][:80]!r}")
    return met


if __name__ == "__main__":
    sys.exit(main())
