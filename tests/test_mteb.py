"""MTEB itself, on local data. It needs torch, so that it is no part of the development set.

pip install 'simsearch[mteb]' pytest && pytest tests/test_mteb.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scipy.stats import spearmanr

from simsearch.sentence_encoder import SentenceEncoder

mteb = pytest.importorskip("mteb", reason="mteb is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # its own, and its libraries'

PAIRS = [
    (5.0, "一个男人在弹吉他。", "有个男人正在弹吉他。"),
    (3.0, "一个女人在切洋葱。", "一个女人在切菜。"),
    (0.0, "一只猫在睡觉。", "股市今天下跌了。"),
    (4.0, "A man is playing a guitar.", "A man plays the guitar."),
    (1.0, "A dog runs on the beach.", "A cat sleeps on a sofa."),
]


def test_a_task_on_local_data(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.sts import AbsTaskSTS
    from mteb.abstasks.task_metadata import TaskMetadata

    from simsearch.integrations.mteb import SimsearchModel

    class Local(AbsTaskSTS):  # type: ignore[misc]
        metadata = TaskMetadata(
            name="Local",
            description="Five pairs.",
            reference=None,
            dataset={"path": "local/pairs", "revision": "1"},
            type="STS",
            category="t2t",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=["zho-Hans", "eng-Latn"],
            main_score="cosine_spearman",
            date=None,
            domains=None,
            task_subtypes=None,
            license=None,
            annotations_creators=None,
            dialect=None,
            sample_creation=None,
            bibtex_citation=None,
        )

        def load_data(self, **_options: Any) -> None:
            scores, firsts, seconds = zip(*PAIRS, strict=True)
            columns = {"score": scores, "sentence1": firsts, "sentence2": seconds}
            self.dataset = DatasetDict(test=Dataset.from_dict(columns))
            self.data_loaded = True

    encoder = SentenceEncoder.load(precision="float32")
    found = mteb.evaluate(SimsearchModel(encoder), Local(), cache=None, show_progress_bar=False)
    vectors = [encoder.encode([pair[i] for pair in PAIRS]) for i in (1, 2)]
    expected = spearmanr([pair[0] for pair in PAIRS], (vectors[0] * vectors[1]).sum(axis=1))
    (scores,) = found[0].scores["test"]
    assert scores["cosine_spearman"] == pytest.approx(expected.statistic)
    assert found.model_name == "simsearch/zhen-small-mean"
