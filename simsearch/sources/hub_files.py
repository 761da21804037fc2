"""Which files of a model's repository an encoder needs."""

from __future__ import annotations

import re
from collections.abc import Collection

from simsearch.errors import CheckpointError

_SMALL = re.compile(
    r"(bert_)?config\.json|tokenizer(_config)?\.json|(special_tokens_map|added_tokens)\.json"
    r"|vocab[\w.-]*\.txt|modules\.json|sentence_\w+_config\.json|\d+_\w+/config\.json"
    r"|config_sentence_transformers\.json|simsearch\.json|whitening\.npz",
    re.ASCII,
)
_SHARDS_INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_TENSORFLOW = re.compile(r"[\w.-]*\.ckpt[\w.-]*\.(index|data-\d{5}-of-\d{5})", re.ASCII)
_PICKLE = re.compile(r".*\.(bin|pt|pth|pkl)")


def chosen_files(names: Collection[str], wanted: str) -> list[str]:
    """What an encoder needs of a repository's files, the weights last; never a pickle or a program.

    Raises CheckpointError if something is missing.
    """
    weights = _weights(names)
    if not weights:
        raise CheckpointError(f"{wanted}: {_no_weights(names)}")
    ours, other = "config.json", "bert_config.json"
    if weights[-1].endswith(".index") and other in names:
        ours, other = other, ours
    # both would be ambiguous
    small = sorted(name for name in names if _SMALL.fullmatch(name) and name != other)
    if ours not in small or not any(re.match(r"vocab|tokenizer\.json", name) for name in small):
        raise CheckpointError(
            f"{wanted}: an encoder needs {ours}, and vocab.txt or tokenizer.json; the repository "
            f"holds {_some(names)}; choose another one"
        )
    return small + weights


def _weights(names: Collection[str]) -> list[str]:
    if "model.safetensors" in names:
        return ["model.safetensors"]
    shards = sorted(name for name in names if _SHARD.fullmatch(name))
    if _SHARDS_INDEX in names and _all_of(shards):
        return [_SHARDS_INDEX, *shards]
    if "tf_model.h5" in names:
        return ["tf_model.h5"]
    variables = sorted(name for name in names if _TENSORFLOW.fullmatch(name))
    data = [name for name in variables if not name.endswith(".index")]
    return variables if len(variables) == len(data) + 1 and _all_of(data) else []


def _all_of(shards: list[str]) -> bool:
    totals = {int(number) for name in shards for number in re.findall(r"-of-(\d{5})", name)}
    return totals == {len(shards)}


def _no_weights(names: Collection[str]) -> str:
    pickles = sorted(name for name in names if _PICKLE.fullmatch(name))
    # beside the weights there are pickles of no interest, such as training_args.bin
    pickles.sort(key=lambda name: "model" not in name)
    if pickles:
        return (
            f"its weights are in {pickles[0]} only, a Python pickle, which can run any program "
            "when it is read, so it is not; look for another revision (owner/name@refs/pr/1, say: "
            "https://huggingface.co/spaces/safetensors/convert opens such a pull request), or "
            "convert it with transformers' save_pretrained(safe_serialization=True) and give the "
            "folder"
        )
    return (
        "there are no weights that we read (model.safetensors, alone or in all of its shards, "
        "tf_model.h5, or bert_config.json with bert_model.ckpt.*); the repository holds "
        f"{_some(names)}"
    )


def _some(names: Collection[str]) -> str:
    first = sorted(names)[:8]
    rest = len(names) - len(first)
    return (", ".join(first) or "nothing") + (f" and {rest} more files" if rest else "")
