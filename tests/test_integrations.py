"""The neighbours' own libraries, each doing what its users do with it."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from langchain_core.documents import Document as LangChainDocument
from langchain_core.embeddings import DeterministicFakeEmbedding
from llama_index.core import Document as LlamaDocument
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import simsearch
from simsearch.errors import CorpusError, EncoderMismatchError, SettingsError
from simsearch.integrations.arrow import documents, hits_table
from simsearch.integrations.langchain import SimsearchEmbeddings, SimsearchStore
from simsearch.integrations.llama_index import (
    SimsearchEmbedding,
    SimsearchVectorStore,
    filter_of,
)
from simsearch.integrations.sklearn import SentenceVectorizer
from simsearch.records import Document
from simsearch.sentence_encoder import SentenceEncoder

TEXTS = ["怎么申请退款？", "今天天气很好。", "The dog bit the man.", "How do I get my money back?"]
LANGUAGES = ["zh", "zh", "en", "en"]


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder.load()


class TestLangChain:
    @pytest.fixture
    def store(self, tmp_path: Path, encoder: SentenceEncoder) -> Iterator[SimsearchStore]:
        metadatas = [{"language": language} for language in LANGUAGES]
        store = SimsearchStore.from_texts(
            TEXTS, SimsearchEmbeddings(encoder), metadatas, index=tmp_path / "库", ids=list("abcd")
        )
        yield store
        store.folder.close()

    def test_embeddings(self, encoder: SentenceEncoder) -> None:
        embeddings = SimsearchEmbeddings(encoder)
        expected = encoder.encode(TEXTS)
        np.testing.assert_allclose(embeddings.embed_documents(TEXTS), expected, atol=1e-6)
        query = embeddings.embed_query(TEXTS[0])
        np.testing.assert_allclose(query, encoder.encode(TEXTS[:1], "query")[0], atol=1e-6)

    def test_a_retriever(self, store: SimsearchStore) -> None:
        retriever = store.as_retriever(search_kwargs={"k": 1, "filter": {"language": "en"}})
        (found,) = retriever.invoke("退款")
        assert found == LangChainDocument(TEXTS[3], id="d", metadata={"language": "en"})

    def test_scores_are_cosines(self, store: SimsearchStore, encoder: SentenceEncoder) -> None:
        found = store.similarity_search_with_score("退款", k=4)
        query = encoder.encode(["退款"], "query")[0]
        for document, score in found:
            vector = encoder.encode([document.page_content])[0]
            assert score == pytest.approx(float(vector @ query), abs=1e-3)
        assert [score for _, score in found] == sorted((s for _, s in found), reverse=True)
        # LangChain's own threshold is on the same scale
        best = found[0][1]
        kept = store.similarity_search_with_relevance_scores("退款", score_threshold=best - 1e-6)
        assert [document.id for document, _ in kept] == [found[0][0].id]

    def test_put_in_and_take_out(self, store: SimsearchStore, tmp_path: Path) -> None:
        (made,) = store.add_documents([LangChainDocument("猫在睡觉。")])
        (given,) = store.add_documents([LangChainDocument("狗在跑。", id="x", metadata={"id": 1})])
        assert given == "x"
        assert [d.page_content for d in store.get_by_ids([made, "no", "x"])] == [
            "猫在睡觉。",
            "狗在跑。",
        ]
        assert store.get_by_ids(["x"])[0].metadata == {"id": 1}
        assert store.delete([made]) is True
        assert store.delete([made]) is False
        with simsearch.open_index(tmp_path / "库") as searcher:  # the command line's index
            assert searcher.query("狗在跑。", 1)[0].id == "x"

    def test_by_vector_and_with_marginal_relevance(self, store: SimsearchStore) -> None:
        vector = store.embeddings.embed_query("退款")
        nearest = store.similarity_search_by_vector(vector, k=2)
        assert {found.id for found in nearest} == {"a", "d"}
        varied = store.max_marginal_relevance_search("退款", k=2, fetch_k=4, lambda_mult=0.0)
        assert varied[0].id == nearest[0].id
        assert varied[1].id in ("b", "c")  # the least like the first, not the next best

    def test_an_empty_store_finds_nothing(self, tmp_path: Path) -> None:
        store = SimsearchStore(tmp_path / "none")
        assert store.similarity_search("a") == []
        assert store.get_by_ids(["a"]) == []
        assert store.delete(["a"]) is False
        assert not (tmp_path / "none").exists()

    def test_other_embeddings_are_refused(self, tmp_path: Path) -> None:
        fake = DeterministicFakeEmbedding(size=8)
        with pytest.raises(SettingsError, match="DeterministicFakeEmbedding"):
            SimsearchStore.from_texts(["a"], fake, index=tmp_path / "i")

    def test_another_encoder_is_refused(self, store: SimsearchStore) -> None:
        other = SentenceEncoder.load(pooling="cls")
        with pytest.raises(EncoderMismatchError, match="pooling"):
            SimsearchStore(store.folder.path, SimsearchEmbeddings(other))


class TestLlamaIndex:
    def test_an_index_of_documents(self, tmp_path: Path, encoder: SentenceEncoder) -> None:
        store = SimsearchVectorStore(tmp_path / "index", encoder)
        some = [
            LlamaDocument(text=text, id_=f"doc{i}", metadata={"language": language})
            for i, (text, language) in enumerate(zip(TEXTS, LANGUAGES, strict=True))
        ]
        context = StorageContext.from_defaults(vector_store=store)
        index = VectorStoreIndex.from_documents(
            some, storage_context=context, embed_model=SimsearchEmbedding(encoder)
        )
        (found,) = index.as_retriever(similarity_top_k=1).retrieve("退款怎么办")
        assert found.node.get_content() == TEXTS[0]
        assert found.node.metadata["language"] == "zh"
        assert found.node.ref_doc_id == "doc0"
        filters = MetadataFilters(filters=[MetadataFilter(key="language", value="en")])
        (found,) = index.as_retriever(similarity_top_k=1, filters=filters).retrieve("退款怎么办")
        assert found.node.get_content() == TEXTS[3]
        index.delete_ref_doc("doc3")
        (found,) = index.as_retriever(similarity_top_k=1, filters=filters).retrieve("退款怎么办")
        assert found.node.get_content() == TEXTS[2]
        # opened again, by what is in the folder
        again = VectorStoreIndex.from_vector_store(
            SimsearchVectorStore(tmp_path / "index"), embed_model=SimsearchEmbedding(encoder)
        )
        (found,) = again.as_retriever(similarity_top_k=1).retrieve("天气")
        assert found.node.get_content() == TEXTS[1]

    @pytest.fixture
    def store(self, tmp_path: Path, encoder: SentenceEncoder) -> SimsearchVectorStore:
        store = SimsearchVectorStore(tmp_path / "index", encoder)
        store.add(
            [
                TextNode(text=text, id_=str(i), metadata={"year": 2020 + i})
                for i, text in enumerate(TEXTS)
            ]
        )
        return store

    def test_modes_and_ids(self, store: SimsearchVectorStore) -> None:
        lexical = VectorStoreQuery(
            query_str="money", similarity_top_k=3, mode=VectorStoreQueryMode.TEXT_SEARCH
        )
        assert store.query(lexical).ids == ["3"]
        some = VectorStoreQuery(query_str="money", similarity_top_k=3, node_ids=["0", "1"])
        assert set(store.query(some).ids or ()) == {"0", "1"}
        vector = store.encoder.encode(["天气"], "query")[0].tolist()
        nearest = VectorStoreQuery(query_embedding=vector, similarity_top_k=1)
        assert store.query(nearest).ids == ["1"]
        with pytest.raises(SettingsError, match="mmr"):
            store.query(VectorStoreQuery(query_str="a", mode=VectorStoreQueryMode.MMR))

    def test_nodes_by_filter(self, store: SimsearchVectorStore) -> None:
        late = MetadataFilters(
            filters=[MetadataFilter(key="year", value=2022, operator=FilterOperator.GTE)]
        )
        assert [node.node_id for node in store.get_nodes(filters=late)] == ["2", "3"]
        store.delete_nodes(["0"], filters=late)
        assert [node.node_id for node in store.get_nodes(["0", "1", "2"])] == ["1"]

    def test_filters_of_filters(self) -> None:
        year = MetadataFilter(key="year", value=2020, operator=FilterOperator.LT)
        tags = MetadataFilter(key="tags", value="a", operator=FilterOperator.CONTAINS)
        inner = MetadataFilters(filters=[year, tags], condition=FilterCondition.OR)
        outer = MetadataFilters(filters=[inner, MetadataFilter(key="x", value=1)])
        assert filter_of(outer) == {
            "$and": [
                {"$or": [{"year": {"$lt": 2020}}, {"tags": {"$contains": "a"}}]},
                {"x": {"$eq": 1}},
            ]
        }
        text = MetadataFilter(key="x", value="a", operator=FilterOperator.TEXT_MATCH)
        with pytest.raises(SettingsError, match="text_match"):
            filter_of(MetadataFilters(filters=[text]))

    def test_an_empty_store_finds_nothing(self, tmp_path: Path) -> None:
        store = SimsearchVectorStore(tmp_path / "none")
        assert store.query(VectorStoreQuery(query_str="a", similarity_top_k=1)).ids == []
        assert store.get_nodes(["a"]) == []


class TestScikitLearn:
    def test_a_classifier(self) -> None:
        texts = [
            "退款多久到账",
            "我要退钱",
            "怎么申请退款",
            "今天下雨吗",
            "明天天气如何",
            "外面冷不冷",
        ]
        model = make_pipeline(SentenceVectorizer(), LogisticRegression(C=10.0))
        model.fit(texts, ["refund"] * 3 + ["weather"] * 3)
        assert model.predict(["钱什么时候退", "会不会下雪"]).tolist() == ["refund", "weather"]
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again.predict_proba(texts), model.predict_proba(texts))

    def test_a_transformer(self, encoder: SentenceEncoder) -> None:
        vectorizer = SentenceVectorizer(pooling="cls", prompt="query")
        assert clone(vectorizer).get_params() == {
            "model": "zhen-small",
            "pooling": "cls",
            "whitening": None,
            "prompt": "query",
        }
        vectors = vectorizer.fit_transform(pd.Series(TEXTS))
        assert vectors.shape == (4, encoder.dim)
        assert list(vectorizer.get_feature_names_out())[:2] == ["simsearch0", "simsearch1"]
        for wrong in ("text", [1, 2]):
            with pytest.raises(SettingsError):
                vectorizer.transform(wrong)


class TestArrow:
    def test_a_frame_in_and_a_frame_out(self, tmp_path: Path) -> None:
        frame = pd.DataFrame(
            {
                "question": TEXTS,
                "number": [1, 2, 3, 4],
                "asked": pd.to_datetime(["2024-01-02", None, "2024-03-04", "2024-05-06"]),
                "tags": [["a"], ["a", "b"], [], None],
            }
        )
        found = list(documents(frame, text_column="question", id_column="number"))
        assert found[0] == Document("1", TEXTS[0], {"asked": "2024-01-02T00:00:00", "tags": ["a"]})
        assert found[1].metadata == {"tags": ["a", "b"]}
        simsearch.build_documents(found, tmp_path / "index")
        with simsearch.open_index(tmp_path / "index") as searcher:
            answers = searcher.search(["退款", "天气"], 2, filter={"tags": {"$contains": "a"}})
        table = hits_table(["退款", "天气"], answers)
        out = table.to_pandas()
        assert out["query"].tolist() == ["退款", "退款", "天气", "天气"]
        assert out["id"].tolist() == ["1", "2", "2", "1"]
        assert out["score"].tolist() == [hit.score for hits in answers for hit in hits]
        assert out["metadata"][0] == '{"asked": "2024-01-02T00:00:00", "tags": ["a"]}'
        assert out["same_words"].isna().all()
        assert hits_table([], []).num_rows == 0

    def test_ids_are_those_of_a_build(self) -> None:
        table = pa.table({"text": ["a", "b", "a"]})
        assert [document.id for document in documents(table)] == [
            "ca978112ca1bbdca",
            "3e23e8160039594a",
        ]

    @pytest.mark.parametrize(
        ("table", "options", "expected"),
        [
            ({"t": ["a"]}, {}, "no column 'text'"),
            ({"text": ["a"]}, {"id_column": "n"}, "no column 'n'"),
            ({"text": [None]}, {}, "has None"),
        ],
    )
    def test_a_table_that_cannot_be(self, table: dict, options: dict, expected: str) -> None:
        with pytest.raises(CorpusError, match=expected):
            list(documents(pa.table(table), **options))


DOCS = Path(__file__).parent.parent / "docs"


def code_blocks(page: str) -> list[str]:
    text = (DOCS / page).read_text("utf-8")
    return re.findall("```python\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("number", range(4))
def test_the_documented_code_runs(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = code_blocks("integrations.md")
    assert len(blocks) == 4
    assert code_blocks("integrations.zh-CN.md") == blocks
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks[number], "integrations.md", "exec"), {})
    expected = ["怎么申请退款？", "怎么申请退款？", "['天气']", "今天天气很好。"][number]
    assert expected in capsys.readouterr().out
