from __future__ import annotations

import gzip
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import simsearch
from simsearch.cli import main
from simsearch.cli.commands import cli

ROOT = Path(__file__).parent.parent
ROLE, SWAPPED = "张三请李四吃饭。", "李四请张三吃饭。"
# texts of word pieces that the tiny checkpoint knows
ROWS = [
    {"id": "甲", "text": ROLE, "topic": "饭"},
    {"id": "乙", "text": SWAPPED, "topic": "饭"},
    {"id": "c", "text": "the dog bit the man .", "topic": "dog"},
    {"id": "d", "text": "the man bit the dog !", "topic": "dog"},
    {"id": "e", "text": "a b c d", "topic": "letters"},
    {"id": "f", "text": "f , e", "topic": "letters"},
]
CORPUS = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


@dataclass(frozen=True)
class Ran:
    """What a run of the command line left: its exit status and its two streams."""

    status: int
    out: str
    err: str

    def json(self) -> list[Any]:
        """Stdout as JSON lines; whatever else is there is no JSON and fails the test."""
        assert self.out.endswith("\n")
        return [json.loads(line) for line in self.out[:-1].split("\n")]


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line, in this process and in an empty folder."""
    folder = tmp_path / "工作 目录"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "argv", ["simsearch", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        status: Any = 0
        try:
            main()
        except SystemExit as exit_:
            status = exit_.code
        captured = capsys.readouterr()
        return Ran(int(status or 0), captured.out, captured.err)

    return run


def process(*arguments: object, stdin: bytes = b"", **environment: str) -> Ran:
    """The command line in a process of its own, as it is installed."""
    ran = subprocess.run(
        [sys.executable, "-m", "simsearch", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        input=stdin,
        capture_output=True,
        check=False,
    )
    return Ran(ran.returncode, ran.stdout.decode("utf-8"), ran.stderr.decode("utf-8"))


@pytest.fixture(scope="module")
def index(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of ROWS by the tiny checkpoint with mean pooling. Not to be changed."""
    corpus = tmp_path_factory.mktemp("语料") / "corpus.jsonl"
    corpus.write_text(CORPUS, "utf-8")
    folder = tmp_path_factory.mktemp("索引 indexes") / "index"
    encoder = simsearch.EncoderSettings(model=str(tiny_bert))
    simsearch.build(corpus, folder, encoder=encoder)
    return folder


def everything_in(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    """Every file and folder below: when it was changed, and its content."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(folder.rglob("*"))
    }


# Round trips


def test_build_query_and_info(run: Run, tiny_bert: Path) -> None:
    Path("语料 库.jsonl").write_text(CORPUS, "utf-8")
    built = run("build", "语料 库.jsonl", "--model", tiny_bert)
    assert built == Ran(0, "", "indexes/语料 库: 6 documents\n")

    asked = run("query", "indexes/语料 库", ROLE, "the dog", "-k", 2, "--json")
    assert (asked.status, asked.err) == (0, "")
    first, second = asked.json()
    assert list(first) == ["query", "hits"]
    assert (first["query"], second["query"]) == (ROLE, "the dog")
    for answer in (first, second):
        assert [hit["rank"] for hit in answer["hits"]] == [1, 2]
        for hit in answer["hits"]:
            assert list(hit) == ["rank", "id", "score", "percentile", "text", "metadata"]
            assert {"id": hit["id"], "text": hit["text"], **hit["metadata"]} in ROWS
            assert 0 <= hit["percentile"] <= 100
        assert answer["hits"][0]["score"] > answer["hits"][1]["score"]
    best = first["hits"][0]
    assert (best["id"], best["text"], best["metadata"]) == ("甲", ROLE, {"topic": "饭"})
    assert best["score"] == pytest.approx(1, abs=1e-6)
    assert best["percentile"] == 100

    told = run("info", "indexes/语料 库", "--json")
    assert (told.status, told.err) == (0, "")
    (facts,) = told.json()
    contract = ["count", "dim", "kind", "fingerprint", "generation", "recall_at_10", "bytes"]
    assert list(facts)[: len(contract)] == contract
    assert [facts[name] for name in ("count", "dim", "kind")] == [6, 12, "flat"]
    assert (facts["generation"], facts["recall_at_10"]) == (1, 1.0)
    assert re.fullmatch("[0-9a-f]{64}", facts["fingerprint"])
    sizes = [p.stat().st_size for p in Path("indexes/语料 库").iterdir() if p.suffix != ".json"]
    assert facts["bytes"] == sum(sizes)


def test_build_json_is_one_object_and_the_message_stays_on_stderr(
    run: Run, tiny_bert: Path
) -> None:
    Path("c.txt").write_text("a b\n\n" + "a " * 20 + "\na b\n", "utf-8")
    built = run(
        "build", "c.txt", "--index", "i", "--model", tiny_bert, "--on-error", "skip", "--json"
    )
    (report,) = built.json()
    assert set(report.pop("seconds")) == {"encoding", "search", "words"}
    assert [report] == [
        {
            "folder": "i",
            "documents": 3,
            "chunks": 3,
            "collapsed": 0,
            "skipped": 1,
            "problems": ["c.txt:2: empty text"],
            "truncated": 1,
            "truncated_documents": [["d439b525180b1e16", 22]],
            "max_length": 16,
            "resumed": 0,
            "changed": True,
        }
    ]
    assert built.err == (
        "skipped c.txt:2: empty text\n"
        "cut d439b525180b1e16: 22 tokens, the encoder takes 16\n"
        "i: 3 documents; 1 row skipped; 1 text cut to the model's length "
        "(--chunk indexes such texts whole)\n"
    )
    # "a b" twice: the first 16 hex digits of its SHA-256 (sha256sum), then the same with -2
    (answer,) = run("query", "i", "a b", "-k", 2, "--json").json()
    assert [hit["id"] for hit in answer["hits"]] == ["c8687a08aa5d6ed2", "c8687a08aa5d6ed2-2"]


def test_long_texts_are_found_by_their_best_chunk(run: Run, tiny_bert: Path) -> None:
    first = "the  dog bit\n the man . a b"  # of 8 tokens, as ROLE is
    long = f"{first} {ROLE} c d , a"
    rows = [{"id": "长", "text": long}, {"id": "短", "text": ROLE}]
    Path("c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    built = run("build", "c.jsonl", "--index", "i", "--chunk", "8,0", "--model", tiny_bert)
    assert built == Ran(0, "", "i: 2 documents in 4 chunks\n")
    facts = run("info", "i", "--json").json()[0]
    assert [facts[name] for name in ("count", "chunk", "chunks")] == [2, [8, 0], 4]

    (answer,) = run("query", "i", ROLE, "--json").json()
    keys = ["rank", "id", "score", "percentile", "text", "metadata", "span"]
    assert [list(hit) for hit in answer["hits"]] == [keys] * 2
    spans = {hit["id"]: hit["span"] for hit in answer["hits"]}
    assert spans == {"长": spans["长"], "短": [0, 8]}
    assert long[slice(*spans["长"])].strip() == ROLE
    assert {hit["text"] for hit in answer["hits"]} == {long, ROLE}

    table = run("query", "i", ROLE, "-k", 2).out
    assert f" …{ROLE}… " in table
    assert f" {ROLE} " in table
    # the first chunk is at the beginning, and its spaces are one each
    assert " the dog bit the man . a b… " in run("query", "i", first, "-k", 1).out
    assert " …c d , a  " in run("query", "i", "c d , a", "-k", 1).out
    again = run("build", "c.jsonl", "--index", "i", "--chunk", "8", "--model", tiny_bert)
    assert again.err == "i is up to date: 2 documents in 4 chunks; nothing to do\n"
    other = run("build", "c.jsonl", "--index", "i", "--model", tiny_bert)
    assert other.status == 2
    assert "chunk: index 8 tokens with an overlap of 0, given none" in other.err
    Path("config.yaml").write_text("corpus: {chunk: [8, 0]}\n")
    assert run("build", "c.jsonl", "--index", "i", "--model", tiny_bert).status == 0
    flag = run("build", "c.jsonl", "--index", "i", "--chunk", "8,4", "--model", tiny_bert)
    assert "given 8 tokens with an overlap of 4" in flag.err


def test_texts_that_were_cut_are_named_and_marked(run: Run, tiny_bert: Path) -> None:
    rows = [{"id": f"x\x1b{i}", "text": f"{'a b ' * 10}{'c ' * i}"} for i in range(23)]
    rows.append({"id": "short", "text": "a b"})
    Path("c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    built = run("build", "c.jsonl", "--index", "i", "--model", tiny_bert)
    *cut, more, done = built.err.splitlines()
    assert cut == [rf"cut x\x1b{i}: {22 + i} tokens, the encoder takes 16" for i in range(20)]
    assert more == "… and 3 more"
    assert done == (
        "i: 24 documents; 23 texts cut to the model's length (--chunk indexes such texts whole)"
    )
    again = run("build", "c.jsonl", "--index", "i", "--model", tiny_bert)
    assert again.err == (
        "i is up to date: 24 documents; 23 texts cut to the model's length "
        "(--chunk indexes such texts whole); nothing to do\n"
    )
    (answer,) = run("query", "i", "a b", "-k", 24, "--json").json()
    marked = {hit["id"]: hit.get("truncated") for hit in answer["hits"]}
    assert marked == {**{f"x\x1b{i}": True for i in range(23)}, "short": None}
    assert list(answer["hits"][-1])[-1] == "truncated"
    table = run("query", "i", "a b", "-k", 1).out
    assert "a b" in table
    assert "not compared" not in table
    assert "(its end was not compared)" in run("query", "i", "a b c", "-k", 24).out


def test_of_a_long_text_a_table_shows_the_beginning(run: Run, tiny_bert: Path) -> None:
    Path("c.txt").write_text("a" * 599 + "b\n" + "c" * 600 + "Z\n", "utf-8")
    run("build", "c.txt", "--index", "i", "--model", tiny_bert)
    table = "".join(run("query", "i", "a", "-k", 2).out.split())
    assert "a" * 3 + "b" in table
    assert "c…" in table
    assert "Z" not in table
    (answer,) = run("query", "i", "a", "--json").json()
    assert {hit["text"][-1] for hit in answer["hits"]} == {"b", "Z"}


def test_the_image_of_an_index_in_milvus_answers_as_the_index(index: Path, tmp_path: Path) -> None:
    """In processes of their own, as embedded Milvus is a server that stays in its process."""
    database = str(tmp_path / "库.db")
    exported = process("export", index, "--to", "milvus", "--uri", database, "--collection", "faq")
    assert (exported.status, exported.out) == (0, "")
    assert exported.err.startswith(f"milvus+{database}#faq: ")
    assert "0 deleted; FLAT, recall@10 1.000" in exported.err
    arguments = ("退款", "b", "-k", 3, "--json")
    here = process("query", index, *arguments)
    there = process("query", f"milvus+{database}", *arguments)
    assert (there.status, there.out, there.err) == (here.status, here.out, here.err)
    assert here.out.count("\n") == 2


@pytest.mark.parametrize(
    "wrong",
    [
        ("query", "milvus+gone.db", "退款"),
        ("query", "milvus+nowhere", "退款"),
        ("export", "i", "--to", "milvus"),
        ("export", "i", "--to", "milvus", "--uri", "库.db", "--out", "x.parquet"),
        ("export", "i", "--to", "milvus", "--uri", "库"),
        ("export", "i", "--uri", "库.db"),
        ("export", "i", "--out", "x.parquet", "--memory", "5"),
    ],
)
def test_what_milvus_is_not_asked_for(run: Run, wrong: tuple[str, ...]) -> None:
    refused = run(*wrong)
    assert (refused.status, refused.out) == (2, "")
    assert "Traceback" not in refused.err


def test_similarity_of_swapped_roles_with_the_embedded_model(run: Run) -> None:
    poolings = ["--pooling", "static_mean", "--pooling", "mean", "--pooling", "cls"]
    ran = run("similarity", ROLE, SWAPPED, *poolings, "--json")
    assert (ran.status, ran.err) == (0, "")
    results = ran.json()
    assert [list(result) for result in results] == [["a", "b", "pooling", "score"]] * 3
    assert [result["pooling"] for result in results] == ["static_mean", "mean", "cls"]
    assert all((result["a"], result["b"]) == (ROLE, SWAPPED) for result in results)
    scores = [result["score"] for result in results]
    assert scores[0] == pytest.approx(1, abs=1e-6)
    assert scores[1:] == pytest.approx([0.9945, 0.9968], abs=5e-4)
    plain = run("similarity", ROLE, SWAPPED, *poolings)
    assert plain.out == "1.000000  static_mean\n" + "".join(
        f"{score:.6f}  {name}\n" for score, name in zip(scores[1:], ("mean", "cls"), strict=True)
    )


def test_encode_gives_a_unit_row_for_each_line_that_agrees_with_similarity(
    run: Run, tiny_bert: Path
) -> None:
    Path("句 子.txt").write_bytes(f"{ROLE}\n\n{SWAPPED}\r\n".encode())
    options = ("--model", tiny_bert, "--pooling", "first_last_mean", "--precision", "float32")
    ran = run("encode", "句 子.txt", "--out", "向 量.npy", *options)
    assert ran == Ran(0, "", "向 量.npy: 3 rows of 12\n")
    rows = np.load("向 量.npy")
    assert (rows.dtype, rows.shape) == (np.dtype(np.float32), (3, 12))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), np.ones(3), atol=1e-6)
    (result,) = run("similarity", ROLE, SWAPPED, *options, "--json").json()
    assert result["score"] == pytest.approx(float(rows[0] @ rows[2]), abs=1e-6)


def test_a_whitened_index_reopens_without_options(run: Run, tiny_bert: Path) -> None:
    Path("c.jsonl").write_text(CORPUS, "utf-8")
    fitted = run("whiten", "c.jsonl", "--out", "白化.npz", "--model", tiny_bert)
    assert fitted == Ran(0, "", "白化.npz: fitted on 6 texts, gives up to 5 dimensions\n")
    options = ("--model", tiny_bert, "--whitening", "白化.npz", "--dim", 3)
    assert run("build", "c.jsonl", *options, "--index", "i").status == 0
    assert run("info", "i", "--json").json()[0]["dim"] == 3
    (answer,) = run("query", "i", ROLE, "-k", 1, "--json").json()
    assert answer["hits"][0]["id"] == "甲"
    assert answer["hits"][0]["score"] == pytest.approx(1, abs=1e-6)
    other = run("build", "c.jsonl", *options, "--index", "i2", "--pooling", "cls")
    assert (other.status, other.out) == (2, "")
    assert "this whitening was fitted on the vectors of another encoder" in other.err
    assert not Path("i2").exists()


BENCHMARK_FILES = {
    "对 子.tsv": f'5\t{ROLE}\t{SWAPPED}\n0.5\ta b c\t"the dog\n2\tthe dog\tthe man\n',
    "yes-no.tsv": f"1\t{ROLE}\t{SWAPPED}\n0\ta b c\tthe dog\n1\tthe dog\tthe man\n0\ta\tf\n",
    "same.tsv": f"1\t{ROLE}\t{SWAPPED}\n1\ta b c\tthe dog\n",
    "beir/corpus.jsonl": '{"_id": "1", "title": "the", "text": "dog"}\n{"_id": "2", "text": "a"}\n',
    "beir/queries.jsonl": '{"_id": "1", "text": "the dog"}\n',
    "beir/qrels/test.tsv": "query-id\tcorpus-id\tscore\n1\t1\t1\n",
    "order.tsv": "id\tlanguage\tphenomenon\tsentence\tparaphrase\tswap\n"
    f"1\tzh\trole\t{ROLE}\t{ROLE}\t{SWAPPED}\n",
}


def write(files: Mapping[str, str]) -> None:
    for name, content in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(content, "utf-8")


def test_benchmark_prints_one_object_for_each_task_and_pooling(run: Run, tiny_bert: Path) -> None:
    write(BENCHMARK_FILES)
    model = os.path.relpath(tiny_bert)
    ran = run(
        *("benchmark", "--json", "--out", "结 果", "--model", model),
        *("--pooling", "mean", "--pooling", "static_mean"),
        *("--pairs", "./对 子.tsv", "--pairs", "yes-no.tsv", "--pairs", "same.tsv"),
        *("--retrieval", "beir/", "--word-order", "order.tsv"),
    )
    assert (ran.status, ran.err) == (0, "wrote 结 果/results.jsonl and 结 果/report.html\n")
    assert Path("结 果/results.jsonl").read_text("utf-8") == ran.out
    results = ran.json()
    metrics = {
        "./对 子.tsv": {"spearman"},
        "yes-no.tsv": {"spearman", "auc", "average_precision"},
        "same.tsv": {"mean_cosine", "same_bag_share"},
        "beir/": {"ndcg@10", "recall@10", "mrr@10"},
        "order.tsv": {"triplet_accuracy", "swap_auc", "order_blind_ceiling", "same_bag_share"}
        | {f"mean_cosine_{kind}" for kind in ("paraphrase", "swap", "shuffle", "neighbours")},
    }
    assert {(r["task"], r["pooling"]) for r in results} == {
        (task, pooling) for task in metrics for pooling in ("mean", "static_mean")
    }
    assert len(results) == 10
    for result in results:
        contract = ["task", "model", "pooling", "metrics", "intervals"]
        assert list(result)[:5] == contract
        assert result["model"] == model
        assert set(result["metrics"]) == set(result["intervals"]) == metrics[result["task"]]
        assert all(len(interval) == 2 for interval in result["intervals"].values())
    numbers = {(r["task"], r["pooling"]): r["metrics"] for r in results}
    # the one relevant document reads as the query does, and is first of two
    assert numbers["beir/", "mean"] == {"ndcg@10": 1, "recall@10": 1, "mrr@10": 1}
    # one of two pairs has the same words; for static_mean its cosine is 1
    assert numbers["same.tsv", "mean"]["same_bag_share"] == 0.5
    # the paraphrase is the sentence itself: a tie for whoever is blind to order, and a tie is wrong
    assert numbers["order.tsv", "mean"]["triplet_accuracy"] == 1
    assert numbers["order.tsv", "static_mean"]["triplet_accuracy"] == 0
    assert numbers["order.tsv", "static_mean"]["order_blind_ceiling"] == 0


def test_benchmark_without_a_task_runs_the_built_in_word_order_suite(run: Run) -> None:
    ran = run("benchmark", "--pooling", "static_mean", "--json")
    assert (ran.status, ran.err) == (0, "")
    (result,) = ran.json()
    assert [result[key] for key in ("task", "model", "pooling")] == [
        "word-order",
        "zhen-small",
        "static_mean",
    ]
    # every swap has the words of its sentence, so whoever is blind to order ties on all of them
    assert result["metrics"]["triplet_accuracy"] == 0
    assert result["metrics"]["order_blind_ceiling"] == 0
    assert result["metrics"]["mean_cosine_swap"] == pytest.approx(1, abs=1e-6)


def test_a_sweep_over_layers_and_whitenings_is_a_few_flags(run: Run, tiny_bert: Path) -> None:
    corpus = "".join(f"{a} {b}\n" for a in "abcdef" for b in "abcdef")
    write({**BENCHMARK_FILES, "corpus.txt": corpus, "t.csv": "text,label\na b,x\nc d,y\n"})
    ran = run(
        *("benchmark", "--json", "--model", tiny_bert, "--pooling", "mean", "--layers", "each"),
        *("--whiten-on", "corpus.txt", "--dim", 2, "--dim", 3, "--out", "r"),
        *("--pairs", "yes-no.tsv", "--classification", "t.csv", "--word-order", "order.tsv"),
    )
    assert ran.status == 0
    rows = ran.json()
    assert [(r["layers"], r["dim"]) for r in rows if r["task"] == "t.csv"] == [
        (layers, dim) for layers in (None, [0], [1], [2]) for dim in (12, 2, 3)
    ]
    assert {r["task"] for r in rows} == {"yes-no.tsv", "t.csv", "order.tsv"}
    assert all(r["whitening"] is None for r in rows if r["dim"] == 12)
    assert "<svg" in Path("r/report.html").read_text("utf-8")


def test_a_benchmark_runs_where_its_own_recommendation_was_pasted(
    run: Run, tiny_bert: Path
) -> None:
    pasted = "encoder: {pooling: mean, layers: [0, 1], whitening: w.npz, dim: 2}\n"
    write({**BENCHMARK_FILES, "config.yaml": pasted})
    ran = run("benchmark", "--pairs", "yes-no.tsv", "--model", tiny_bert, "--json")
    assert (ran.status, ran.err) == (0, "")
    assert [result["layers"] for result in ran.json()] == [None] * 7
    assert [result["whitening"] for result in ran.json()] == [None] * 7


def test_the_whitening_of_a_benchmark_can_be_given(run: Run, tiny_bert: Path) -> None:
    write({**BENCHMARK_FILES, "corpus.txt": "a b\nc d\ne f\nthe dog\nthe man\n"})
    model = ("--model", tiny_bert, "--pooling", "mean")
    assert run("whiten", "corpus.txt", "--out", "w.npz", *model).status == 0
    given = run("benchmark", "--pairs", "yes-no.tsv", *model, "--whitening", "w.npz", "--json")
    fitted = run("benchmark", "--pairs", "yes-no.tsv", *model, "--whitening", "w.npz", "--dim", 2)
    assert (given.status, fitted.status) == (0, 0)
    assert given.json()[0]["whitening"]["texts"] == 5
    assert "mean whitened" in fitted.out


def test_an_undefined_metric_is_null(run: Run, tiny_bert: Path) -> None:
    write({"p.tsv": "1\ta\tb\n2\ta\tb\n"})
    arguments = ("benchmark", "--pairs", "p.tsv", "--model", tiny_bert, "--pooling", "mean")
    (result,) = run(*arguments, "--json").json()
    assert result["metrics"] == {"spearman": None}
    assert result["intervals"] == {"spearman": [None, None]}
    table = run(*arguments)
    assert (table.status, table.err) == (0, "")
    assert "every cosine is equal, so spearman is undefined" in table.out


def test_the_benchmarks_default_poolings_are_those_of_the_settings(
    run: Run, tiny_bert: Path
) -> None:
    write({**BENCHMARK_FILES, "config.yaml": "benchmark: {poolings: [max, cls]}\n"})
    ran = run("benchmark", "--pairs", "yes-no.tsv", "--model", tiny_bert, "--json")
    assert [result["pooling"] for result in ran.json()] == ["max", "cls"]


# Queries


def test_the_table_of_hits_is_for_people(run: Run, index: Path) -> None:
    ran = run("query", index, ROLE, "-k", 1)
    assert (ran.status, ran.err) == (0, "")
    title, header, hit, *rest = ran.out.split("\n")
    assert title == ROLE
    assert header.split() == ["score", "higher", "than", "text", "id"]
    assert hit.split() == ["1", "1.000", "100.0", "%", ROLE, "甲"]
    assert rest == ["", ""]


def test_info_for_people_has_a_fact_a_line(run: Run, index: Path) -> None:
    facts = run("info", index, "--json").json()[0]
    shown = dict(line.split(maxsplit=1) for line in run("info", index).out.splitlines())
    assert list(shown) == list(facts)
    assert shown["count"] == "6"
    assert shown["fingerprint"] == facts["fingerprint"]


def test_queries_come_from_stdin_one_a_line(run: Run, index: Path) -> None:
    stdin = f"{ROLE}\r\n\n   \nthe dog".encode()
    answers = run("query", index, "--json", stdin=stdin).json()
    assert [answer["query"] for answer in answers] == [ROLE, "", "   ", "the dog"]
    assert [len(answer["hits"]) for answer in answers] == [6, 0, 0, 6]
    assert run("query", index, "--json", stdin=b"") == Ran(0, "", "")
    (marked,) = run("query", index, "--json", stdin="\ufeffa b\n".encode()).json()
    assert marked["query"] == "a b"


def test_many_queries_are_each_answered_as_if_alone(run: Run, index: Path) -> None:
    def answers(*arguments: object, stdin: bytes = b"") -> list[Any]:
        return run(
            "query", index, *arguments, "--precision", "float32", "--json", stdin=stdin
        ).json()

    distinct = ["a", "b c d", "", "the dog", ROLE]
    texts = [distinct[i * i % 5] for i in range(600)]
    together = answers(stdin="".join(f"{text}\n" for text in texts).encode())
    assert [answer["query"] for answer in together] == texts
    alone = {text: answers(text)[0]["hits"] for text in set(texts)}
    for answer in together:
        expected = alone[answer["query"]]
        assert [hit["id"] for hit in answer["hits"]] == [hit["id"] for hit in expected]
        scores = [hit["score"] for hit in answer["hits"]]
        assert scores == pytest.approx([hit["score"] for hit in expected], abs=1e-6)


@pytest.mark.parametrize("text", ["", "  ", "\t", "\u3000"])
def test_an_empty_query_has_no_hits(run: Run, index: Path, text: str) -> None:
    assert run("query", index, text, "--json").json() == [{"query": text, "hits": []}]
    assert "no hits" in run("query", index, text).out


@pytest.mark.parametrize("k", [7, 1000, 10**18, 10**30])
def test_k_beyond_the_corpus_gives_every_document_once(run: Run, index: Path, k: int) -> None:
    (answer,) = run("query", index, "a b", "-k", k, "--json").json()
    assert sorted(hit["id"] for hit in answer["hits"]) == sorted(row["id"] for row in ROWS)
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3, 4, 5, 6]


def test_the_threshold_leaves_out_lower_scores(run: Run, index: Path) -> None:
    (every,) = run("query", index, ROLE, "--json").json()
    third = every["hits"][2]["score"]
    (some,) = run("query", index, ROLE, "--threshold", repr(third), "--json").json()
    assert some["hits"] == every["hits"][:3]
    assert "no hits" in run("query", index, "the", "--threshold", 1).out


def test_the_config_file_and_the_flag_set_k(run: Run, index: Path) -> None:
    def hits(*arguments: object) -> int:
        return len(run("query", index, "a", "--json", *arguments).json()[0]["hits"])

    write({"other.yaml": "query: {k: 2}\n"})
    assert hits() == 6  # the default of 10 is more than there are
    write({"config.yaml": "query: {k: 1}\n"})
    assert [hits(), hits("--config", "other.yaml")] == [1, 2]
    assert hits("--config", "other.yaml", "-k", 3) == 3


def test_control_characters_are_escaped_for_people_and_kept_for_machines(
    run: Run, tiny_bert: Path
) -> None:
    text, id_ = "a\x1b[31m b\x07\r\u202e\u2028\x9b c", "\x1b[2J\x00"
    Path("c.jsonl").write_text(json.dumps({"text": text, "id": id_}) + "\n")
    assert run("build", "c.jsonl", "--index", "i", "--model", tiny_bert).status == 0
    ran = run("query", "i", "a\x1b]0;title\x07")
    assert r"a\x1b]0;title\x07" in ran.out
    assert r"a\x1b[31m b\x07\r\u202e\u2028\x9b c" in ran.out
    assert r"\x1b[2J\x00" in ran.out
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", ran.out)
    (answer,) = run("query", "i", "a", "--json").json()
    assert (answer["hits"][0]["text"], answer["hits"][0]["id"]) == (text, id_)


def test_markup_in_a_text_is_text(run: Run, tiny_bert: Path) -> None:
    Path("c.txt").write_text("[bold]a[/bold] [/] :dog: \\[b]\n")
    assert run("build", "c.txt", "--index", "i", "--model", tiny_bert).status == 0
    assert "[bold]a[/bold] [/] :dog: \\[b]" in run("query", "i", "[/red]").out


# Building again


def test_building_again_says_up_to_date_and_changes_no_file(
    run: Run, tiny_bert: Path, index: Path
) -> None:
    shutil.copytree(index, "i")
    Path("同.jsonl").write_text(CORPUS, "utf-8")  # another name, the same bytes
    before = everything_in(Path())
    ran = run("build", "同.jsonl", "--index", "i", "--model", tiny_bert, "--json")
    assert ran.err == "i is up to date: 6 documents; nothing to do\n"
    assert ran.json()[0]["changed"] is False
    after = everything_in(Path())
    # taking the lock may touch its file, which is empty
    assert {name: after.pop(name)[1] for name in ["i/writer.lock"]} == {"i/writer.lock": b""}
    assert after == {name: value for name, value in before.items() if name != "i/writer.lock"}


def test_an_index_is_replaced_only_when_asked(run: Run, tiny_bert: Path, index: Path) -> None:
    shutil.copytree(index, "i")
    Path("c.jsonl").write_text(CORPUS, "utf-8")
    Path("d.txt").write_text("a b\n")
    before = everything_in(Path("i"))
    before.pop("writer.lock")
    pooled = run("build", "c.jsonl", "--index", "i", "--model", tiny_bert, "--pooling", "cls")
    other = run("build", "d.txt", "--index", "i", "--model", tiny_bert)
    for ran in (pooled, other):
        assert (ran.status, ran.out) == (2, "")
        assert "`simsearch add`" in ran.err
        assert "--replace" in ran.err
    assert 'pooling: index "mean", given "cls"' in pooled.err
    assert "the corpus (its files or columns)" in other.err
    after = everything_in(Path("i"))
    after.pop("writer.lock")
    assert after == before

    replaced = run(
        *("build", "d.txt", "--index", "i", "--model", tiny_bert, "--pooling", "cls", "--replace")
    )
    assert replaced == Ran(0, "", "i: 1 document\n")
    facts = run("info", "i", "--json").json()[0]
    assert [facts[name] for name in ("count", "pooling", "generation")] == [1, "cls", 2]
    (answer,) = run("query", "i", ROLE, "--json").json()
    assert [hit["text"] for hit in answer["hits"]] == ["a b"]
    assert len(list(Path("i").glob("vectors-*"))) == 1  # the old one is gone


def test_several_files_make_one_index(run: Run, tiny_bert: Path) -> None:
    Path("a.csv").write_text("number,question\n1,a b\n2,the dog\n")
    with gzip.open("b.tsv.gz", "wt") as file:
        file.write("number\tquestion\n3\tthe man\n")
    columns = ("--text-column", "question", "--id-column", "number")
    built = run("build", "a.csv", "b.tsv.gz", *columns, "--model", tiny_bert)
    assert built == Ran(0, "", "indexes/a: 3 documents\n")
    (answer,) = run("query", "indexes/a", "the man", "--json").json()
    assert (answer["hits"][0]["id"], answer["hits"][0]["metadata"]) == ("3", {})
    assert sorted(hit["id"] for hit in answer["hits"]) == ["1", "2", "3"]


def test_columns_have_the_types_that_were_declared(run: Run, tiny_bert: Path) -> None:
    Path("a.csv").write_text("text,year,a=b,note\na b,1999,x|y,1\nthe dog,,,2\n")
    types = ("--type", "year=integer", "--type", "a=b=list")
    built = run("build", "a.csv", *types, "--model", tiny_bert)
    assert built == Ran(0, "", "indexes/a: 2 documents\n")
    (answer,) = run("query", "indexes/a", "a b", "--json").json()
    assert [hit["metadata"] for hit in answer["hits"]] == [
        {"year": 1999, "a=b": ["x", "y"], "note": "1"},
        {"year": None, "a=b": None, "note": "2"},
    ]
    again = run("build", "a.csv", *types, "--model", tiny_bert)
    assert "up to date" in again.err
    other = run("build", "a.csv", "--type", "year=number", "--model", tiny_bert)
    assert other.status == 2
    assert "the corpus (its files or columns)" in other.err


# Bad input

Content = str | bytes | Callable[[bytes], bytes] | None


@dataclass(frozen=True)
class Bad:
    """A mistake: a command, run beside a good ``c.txt`` and an ``index``, and part of its answer.

    ``files`` are written first: a name that ends in "/" is a folder, ``*`` stands for one file, a
    function changes what is there, ``None`` removes it.
    """

    command: str
    message: str
    files: Mapping[str, Content] = field(default_factory=dict)
    stdin: bytes = b""

    def prepare(self) -> None:
        for name, content in self.files.items():
            path = next(Path().glob(name)) if "*" in name else Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                path.mkdir()
            elif content is None:
                path.unlink()
            else:
                data = content(path.read_bytes()) if callable(content) else content
                path.write_bytes(data.encode() if isinstance(data, str) else data)


def flipped(content: bytes) -> bytes:
    """One bit is another."""
    return bytes([content[0] ^ 1]) + content[1:]


B, M = "build --model MODEL", "--model MODEL"
BAD = {
    # corpora
    "missing corpus": Bad(f"{B} nix.txt", "nix.txt: there is no such file"),
    "folder as corpus": Bad(f"{B} texts", "texts is a folder; give the files", {"texts/": ""}),
    "unknown suffix": Bad(f"{B} c.docx", "the suffix '.docx' is none of those", {"c.docx": "a"}),
    "no suffix": Bad(f"{B} corpus", "the suffix '' is none of those", {"corpus": "a"}),
    "chunk is no number": Bad(
        f"{B} c.txt --chunk all", "'all' is not a list of whole numbers such as 200,40"
    ),
    "chunk of nothing": Bad(
        f"{B} c.txt --chunk 0", "corpus.chunk is [0]; expected 1 token or more"
    ),
    "chunk of three numbers": Bad(f"{B} c.txt --chunk 9,1,1", "expected the tokens of a chunk and"),
    "overlap of the whole chunk": Bad(
        f"{B} c.txt --chunk 8,8",
        "corpus.chunk is [8, 8]; expected an overlap from 0 to 7, best no more than 4, half of",
    ),
    "chunk longer than the model takes": Bad(
        f"{B} c.txt --chunk 15,2",
        "chunk is 15 tokens, and the encoder takes 16",
    ),
    "mistyped column": Bad(
        f"{B} q.csv --text-column quesion",
        "no column 'quesion'; there are 'question', 'id'; did you mean 'question'?",
        {"q.csv": "question,id\na,1\n"},
    ),
    "mistyped id column": Bad(
        f"{B} q.csv --id-column idd", "did you mean 'id'?", {"q.csv": "text,id\na,1\n"}
    ),
    "no text column": Bad(
        f"{B} q.csv",
        "no column 'text'; there are 'question'",
        {"q.csv": "question\na\n"},
    ),
    "type without a column": Bad(
        f"{B} c.txt --type integer", "'integer' is not COLUMN=TYPE such as year=integer"
    ),
    "unknown type": Bad(
        f"{B} c.txt --type year=int", "corpus.types.year is 'int'; input should be 'string', 'inte"
    ),
    "two types of a column": Bad(
        f"{B} c.txt --type a=list --type a=string", "'a' is given two types, list and string"
    ),
    "type of the texts": Bad(
        f"{B} q.csv --type text=integer",
        "'text' is the column of the texts",
        {"q.csv": "text\na\n"},
    ),
    "type of a column that is not there": Bad(
        f"{B} q.csv --type yaer=integer", "did you mean 'year'?", {"q.csv": "text,year\na,1\n"}
    ),
    "value of another type": Bad(
        f"{B} q.csv --type year=integer",
        "q.csv:3: column 'year' is 'MMXX'; expected an integer such as -12",
        {"q.csv": "text,year\na,1\nb,MMXX\n"},
    ),
    "ragged csv": Bad(
        f"{B} q.csv", "q.csv:3: the header has 2 fields, this row 1", {"q.csv": "text,id\na,1\nb\n"}
    ),
    "open quote in csv": Bad(f"{B} q.csv", "q.csv:2: not valid CSV", {"q.csv": 'text\n"a\n'}),
    "empty corpus file": Bad(f"{B} e.txt", "the corpus has no row that can be used", {"e.txt": ""}),
    "only empty lines, skipped": Bad(
        f"{B} e.txt --on-error skip", "the corpus has no row that can be used", {"e.txt": "\n \n"}
    ),
    "empty lines": Bad(f"{B} e.txt", "e.txt:2: empty text", {"e.txt": "a\n\nb\n"}),
    "undecodable byte": Bad(
        f"{B} e.txt", "e.txt:2: not UTF-8: byte 0xff at column 2", {"e.txt": b"a\nb\xff\n"}
    ),
    "utf-16": Bad(f"{B} e.txt", "begins a UTF-16 file", {"e.txt": "天气\n".encode("utf-16")}),
    "duplicate id": Bad(
        f"{B} d.jsonl",
        "d.jsonl:2: duplicate id 'x', first at d.jsonl:1",
        {"d.jsonl": '{"text": "a", "id": "x"}\n{"text": "b", "id": "x"}\n'},
    ),
    "duplicate id in another file": Bad(
        f"{B} d.csv e.csv",
        "e.csv:2: duplicate id '1', first at d.csv:2",
        {"d.csv": "id,text\n1,a\n", "e.csv": "id,text\n1,b\n"},
    ),
    "broken jsonl": Bad(
        f"{B} b.jsonl", "b.jsonl:2: not JSON: ", {"b.jsonl": '{"text": "a"}\n{"text": "b"\n'}
    ),
    "jsonl without the key": Bad(
        f"{B} b.jsonl", "b.jsonl:1: no key 'text'; there are 'txt'", {"b.jsonl": '{"txt": "a"}\n'}
    ),
    "jsonl with a number as text": Bad(
        f"{B} b.jsonl", "b.jsonl:1: the text must be a string, not 5", {"b.jsonl": '{"text": 5}\n'}
    ),
    "broken gz": Bad(f"{B} b.txt.gz", "b.txt.gz is not a whole gzip file", {"b.txt.gz": "a\n"}),
    "cut gz": Bad(
        f"{B} b.txt.gz",
        "b.txt.gz is not a whole gzip file",
        {"b.txt.gz": gzip.compress(b"a b\n" * 99)[:-9]},
    ),
    "broken parquet": Bad(
        f"{B} b.parquet", "b.parquet cannot be read as parquet", {"b.parquet": "PAR1"}
    ),
    # index folders
    "build into a foreign folder": Bad(
        f"{B} c.txt --index mine",
        "mine is not empty and not an index (it holds 'photo.jpg')",
        {"mine/photo.jpg": "x"},
    ),
    "build and replace a foreign folder": Bad(
        f"{B} c.txt --index mine --replace",
        "mine is not empty and not an index (it holds 'photo.jpg')",
        {"mine/photo.jpg": "x"},
    ),
    "build into a file": Bad(f"{B} c.txt --index f", "f is a file; an index is", {"f": "x"}),
    "build below a file": Bad(f"{B} c.txt --index f/i", "Not a directory", {"f": "x"}),
    "build over another index": Bad(
        f"{B} c.txt --index index",
        "Build anew with --replace, give another --index DIR, or put more documents into",
    ),
    "build over a foreign database": Bad(
        f"{B} c.txt --index index --replace",
        "index.sqlite is not an SQLite database made by simsearch",
        {"index/index.sqlite": "other\n" * 50},
    ),
    "query a missing index": Bad("query nix a", "nix does not exist; make one with `simsearch bu"),
    "query a foreign folder": Bad("query mine a", "mine holds no index", {"mine/photo.jpg": "x"}),
    "query an altered segment": Bad(
        "query index a", "it was altered, its SHA-256 is not", {"index/vectors-*.f32": flipped}
    ),
    "query a cut segment": Bad(
        "query index a", "it has 311 bytes, not the 312", {"index/vectors-*": lambda b: b[:-1]}
    ),
    "query a missing segment": Bad(
        "query index a", ".f32 is damaged: it is missing", {"index/vectors-*.f32": None}
    ),
    "query a garbage database": Bad(
        "query index a",
        "index.sqlite is not an SQLite database made by simsearch",
        {"index/index.sqlite": b"\x00garbage" * 99},
    ),
    "query an empty database": Bad(
        "query index a", "is not an SQLite database made by sims", {"index/index.sqlite": b""}
    ),
    "query a cut database": Bad(
        "query index a",
        "index.sqlite is damaged: ",
        {"index/index.sqlite": lambda b: b[: len(b) // 2]},
    ),
    "info of an altered segment": Bad(
        "info index --json", "it was altered", {"index/vectors-*.f32": flipped}
    ),
    "info of a missing index": Bad("info nix", "nix does not exist"),
    "info of a file": Bad("info c.txt", "simsearch: c.txt "),
    "query with another pooling": Bad(
        "query index a --pooling cls", 'pooling: index "mean", given "cls"'
    ),
    "query with other layers": Bad("query index a --layers 0", "layers: index [3], given [0]"),
    "query with another model": Bad(
        "query index a --model zhen-small", "index was built with another encoder"
    ),
    # encoders
    "missing model": Bad("similarity a b --model nix", "no checkpoint 'nix': it is neither a fol"),
    "model is a file": Bad("similarity a b --model c.txt", "c.txt: is a file; give the folder"),
    "model is an empty folder": Bad(
        "similarity a b --model m", "m: neither bert_config.json (", {"m/": ""}
    ),
    "model without weights": Bad(
        "similarity a b --model m",
        "no file bert_model.ckpt.index; copy",
        {"m/bert_config.json": "{}"},
    ),
    "model with a broken config": Bad(
        "similarity a b --model m",
        "not readable as JSON",
        {"m/config.json": "{", "m/model.safetensors": ""},
    ),
    "unknown pooling": Bad(f"similarity a b --pooling meen {M}", "pooling is 'meen'; input should"),
    "unknown pooling in benchmark": Bad(
        f"benchmark --pooling meen {M}", "pooling 'meen' is unknown"
    ),
    "pooling without layers": Bad(
        f"similarity a b --pooling static_mean --layers 0 {M}", "does not read hidden states"
    ),
    "layers that are no numbers": Bad(
        f"similarity a b --layers first {M}", "'first' is not a list of whole numbers such as 0,-1"
    ),
    "layers that are not there": Bad(
        f"similarity a b --layers 99 {M}", "hidden state 99 does not exist: this model has states 0"
    ),
    "a layer twice": Bad(f"similarity a b --layers 3,-1 {M}", "name no layer, or one twice"),
    "dim without whitening": Bad(f"similarity a b --dim 3 {M}", "dim 3 needs a whitening: "),
    "dim 0": Bad(f"similarity a b --dim 0 {M}", "Invalid value for '--dim': 0"),
    "missing whitening": Bad(
        f"similarity a b --whitening w.npz {M}", "w.npz: no such whitening file; fit one with"
    ),
    "garbage whitening": Bad(
        f"similarity a b --whitening w.npz {M}", "w.npz: not a whitening file", {"w.npz": "garbage"}
    ),
    "whiten one text": Bad(
        f"whiten o.txt --out w.npz {M}", "whitening needs at least 2 different", {"o.txt": "a\n"}
    ),
    "whiten a bad row": Bad(
        f"whiten o.txt --out w.npz {M}", "o.txt:2: empty text", {"o.txt": "a\n\nb\n"}
    ),
    "whiten into a missing folder": Bad(f"whiten c.txt --out nix/w.npz {M}", "nix"),
    "unknown precision": Bad("query index a --precision half", "Invalid value for '--precision'"),
    # settings
    "unknown key in config.yaml": Bad(
        f"similarity a b {M}",
        "config.yaml: unknown setting 'encoder.poling'; did you mean 'pooling'?",
        {"config.yaml": "encoder: {poling: cls}\n"},
    ),
    "config.yaml is not yaml": Bad(
        "query index a", "config.yaml: not YAML (", {"config.yaml": "encoder: [\n"}
    ),
    "wrong type in config.yaml": Bad(
        "query index a", "config.yaml: query.k is 'ten'; input", {"config.yaml": "query: {k: ten}"}
    ),
    "config.yaml is a list": Bad(
        "query index a", "config.yaml: expected sections such as", {"config.yaml": "- k\n"}
    ),
    "missing config": Bad("query index a --config nix.yaml", "File 'nix.yaml' does not exist"),
    "config is a folder": Bad("query index a --config d", "File 'd' is a directory", {"d/": ""}),
    # queries
    "k 0": Bad("query index a -k 0", "Invalid value for '-k': 0"),
    "k is no number": Bad("query index a -k ten", "Invalid value for '-k': 'ten'"),
    "threshold 7": Bad("query index a --threshold 7", "Invalid value for '--threshold': 7"),
    "threshold nan": Bad("query index a --threshold nan", "threshold is nan"),
    "stdin is not utf-8": Bad(
        "query index --json", "stdin, line 2: not UTF-8", stdin=b"a\n\xb0\xa1\n"
    ),
    # tasks
    "missing pairs": Bad(f"benchmark --pairs nix.tsv {M}", "nix.tsv: there is no such file"),
    "malformed pairs": Bad(
        f"benchmark --pairs p.tsv {M}",
        "p.tsv:2: 2 field(s), expected 3",
        {"p.tsv": "1\ta\tb\na\tb"},
    ),
    "pairs with a header": Bad(
        f"benchmark --pairs p.tsv {M}",
        "p.tsv:1: score 'score', expected a",
        {"p.tsv": "score\ta\tb"},
    ),
    "empty pairs": Bad(f"benchmark --pairs p.tsv {M}", "p.tsv: no rows", {"p.tsv": ""}),
    "missing retrieval folder": Bad(
        f"benchmark --retrieval nix {M}", "nix/corpus.jsonl: there is no such file"
    ),
    "word order with another header": Bad(
        f"benchmark --word-order o.tsv {M}",
        "o.tsv:1: header 'a\\tb', expected",
        {"o.tsv": "a\tb\n"},
    ),
    # files to encode
    "encode a missing file": Bad(
        f"encode nix.txt --out x.npy {M}", "File 'nix.txt' does not exist"
    ),
    "encode into a missing folder": Bad(f"encode c.txt --out nix/x.npy {M}", "nix"),
    "encode into a folder": Bad(
        f"encode c.txt --out d {M}", "d is a folder; give the name of", {"d/": ""}
    ),
    "encode what is not utf-8": Bad(
        f"encode e.txt --out x.npy {M}", "e.txt:2: not UTF-8: byte 0xff", {"e.txt": b"a\n\xff\n"}
    ),
    "encode without --out": Bad(f"encode c.txt {M}", "Missing option '--out'"),
    # typing
    "mistyped option": Bad("query index a --treshold 1", "'--threshold'?"),
    "mistyped command": Bad("bild c.txt", "No such command 'bild'. Did you mean 'build'?"),
    "missing argument": Bad("build", "Missing argument 'CORPUS...'"),
    "one text to compare": Bad("similarity a", "Missing argument 'TEXT_B'"),
    # and what once was taken wrongly
    "home of nobody": Bad("similarity a b --model ~nobody-of-this-name/m", "~nobody-of-this-name"),
    "eps is a word": Bad(
        "similarity a b --model m",
        "layer_norm_eps",
        {
            "m/model.safetensors": "",
            "m/config.json": '{"vocab_size": 9, "hidden_size": 2, "num_hidden_layers": 1,'
            '"num_attention_heads": 1, "intermediate_size": 2, "max_position_embeddings": 9,'
            '"layer_norm_eps": "small"}',
        },
    ),
    "static_mean on another index": Bad(
        "query index a --pooling static_mean", 'pooling: index "mean", given "static_mean"'
    ),
    "a file as index": Bad("query c.txt a", "c.txt is a file"),
    "whiten into a folder": Bad(f"whiten c.txt --out d {M}", "d", {"d/": ""}),
    "encode names a file that nobody named": Bad(f"encode c.txt --out nix/x.npy {M}", "nix/x.npy"),
    "whiten names a file that nobody named": Bad(f"whiten c.txt --out nix/w.npz {M}", "nix/w.npz"),
    "text that is not utf-8": Bad("similarity a 'b\udcff'", "not UTF-8"),
}


@pytest.fixture
def bad_folder(run: Run, index: Path) -> Path:
    """The working folder of ``run`` with a good corpus and a copy of an index."""
    shutil.copytree(index, "index")
    Path("c.txt").write_text("a b\nthe dog\n")
    return Path.cwd()


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_message_and_leaves_nothing_behind(
    run: Run, bad_folder: Path, tiny_bert: Path, name: str
) -> None:
    bad = BAD[name]
    if "parquet" in name:
        pytest.importorskip("pyarrow")
    bad.prepare()
    before = {name: content for name, (_, content) in everything_in(bad_folder).items()}
    arguments = [str(tiny_bert) if a == "MODEL" else a for a in shlex.split(bad.command)]
    ran = run(*arguments, stdin=bad.stdin)
    assert (ran.status, ran.out) == (2, "")
    assert bad.message in ran.err
    assert ran.err.count("simsearch: ") + ran.err.count("\nError: ") == 1
    assert "Traceback" not in ran.err
    after = {name: content for name, (_, content) in everything_in(bad_folder).items()}
    assert after == before


# What is known to go wrong: each of these has to become a line of BAD.
@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="no pipes with a path here")
def test_a_pipe_is_encoded_or_refused(run: Run, tiny_bert: Path) -> None:
    end, start = os.pipe()
    os.write(start, b"a b\nthe dog\n")
    os.close(start)
    ran = run("encode", f"/dev/fd/{end}", "--out", "x.npy", "--model", tiny_bert)
    os.close(end)
    if ran.status == 0:
        np.testing.assert_allclose(np.linalg.norm(np.load("x.npy"), axis=1), [1, 1], atol=1e-6)
    else:
        assert ran.status == 2


def test_texts_that_are_cut_are_reported(run: Run, index: Path, tiny_bert: Path) -> None:
    long = "a " * 20  # the model takes 16 tokens
    ran = run("query", index, long, "b", long, "--json")
    assert (ran.status, ran.err) == (0, "cut to the model's length: 2 texts\n")
    ran = run("similarity", long, "b", "--model", tiny_bert)
    assert (ran.status, ran.err) == (0, "cut to the model's length: 1 text\n")
    Path("pairs.tsv").write_text(f"1\ta\t{long}\n0\tb\tc\n", "utf-8")
    ran = run(
        "benchmark", "--pairs", "pairs.tsv", "--model", tiny_bert, "--pooling", "cls", "--json"
    )
    assert "cut to the model's length of 16 tokens: 1 of the texts" in ran.json()[0]["notes"]


# In a process of its own


def test_unicode_goes_in_and_out_whatever_the_locale_says(index: Path) -> None:
    stdin = f"{ROLE}\nthe dog\n".encode()
    locale = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    ran = process("query", index, "-k", 1, "--json", stdin=stdin, **locale)
    assert (ran.status, ran.err) == (0, "")
    first, _ = ran.json()
    assert (first["query"], first["hits"][0]["text"], first["hits"][0]["id"]) == (ROLE, ROLE, "甲")
    assert ROLE in ran.out  # as it is, not escaped


def test_a_reader_that_has_had_enough_is_no_failure(index: Path, tmp_path: Path) -> None:
    many = tmp_path / "many.txt"
    many.write_text("a b\n" * 3000)
    for options in ([], ["--json"]):
        with many.open("rb") as stdin:
            command = [sys.executable, "-m", "simsearch", "query", str(index), *options]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            pipe = subprocess.PIPE
            with subprocess.Popen(
                command, env=environment, stdin=stdin, stdout=pipe, stderr=pipe
            ) as started:
                assert started.stdout is not None
                assert started.stderr is not None
                assert started.stdout.readline().strip()
                started.stdout.close()
                assert started.stderr.read() == b""
        assert started.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
def test_closed_streams_are_no_failure(index: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m simsearch query {shlex.quote(str(index))}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    shell = f"{command} a >&- 2>&- && {command} --json <&-"
    ran = subprocess.run(["sh", "-c", shell], env=environment, capture_output=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


def test_a_query_never_imports_tensorflow(index: Path) -> None:
    code = (
        "import sys\nfrom simsearch.cli import main\n"
        f"sys.argv = ['simsearch', 'query', {str(index)!r}, 'a b', '--json']\n"
        "main()\n"
        "heavy = ('tensorflow', 'bert4keras', 'tf_keras', 'keras', 'h5py', 'openvino', 'faiss')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    answer, imported = ran.stdout.splitlines()
    assert len(json.loads(answer)["hits"]) == 6
    assert imported == "['openvino', 'faiss']"


def test_a_new_checkpoint_is_converted_without_noise(
    index: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    ran = process(
        "query", index, "a b", "-k", 1, "--json", SIMSEARCH_CACHE=str(tmp_path / "新 cache")
    )
    assert (ran.status, ran.err) == (0, "")
    assert len(ran.json()) == 1


def test_nothing_is_left_in_the_home_and_nobody_is_told(index: Path, tmp_path: Path) -> None:
    home = tmp_path / "家"
    home.mkdir()
    cache = {"SIMSEARCH_CACHE": str(tmp_path / "cache"), "CI": ""}  # a CI run tells nobody anyway
    for _ in ("converted", "cached"):
        ran = process("query", index, "a b", "--json", HOME=str(home), **cache)
        assert (ran.status, ran.err) == (0, "")
    assert list(home.iterdir()) == []


def test_without_bert4keras_the_line_that_installs_it_is_printed(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['bert4keras'] = None\n"  # as if it were not installed
        "sys.argv = ['simsearch', 'similarity', 'a', 'b']\n"
        "from simsearch.cli import main\nmain()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "SIMSEARCH_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        check=False,
        encoding="utf-8",
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("simsearch: bert4keras is not installed")
    assert ran.stderr.endswith("\n    pip install --no-deps bert4keras==0.11.5\n")


# Help and documentation


def test_the_commands_and_options_that_others_rely_on_are_there() -> None:
    relied_on = {
        "build": "--index --replace --model --pooling --layers --whitening --dim --precision"
        " --config --json --text-column --id-column --type --on-error --chunk",
        "query": "-k --threshold --model --pooling --config --json",
        "info": "--json",
        "encode": "--out --model --pooling --layers --whitening --dim --precision --config",
        "similarity": "--model --pooling --layers --whitening --dim --precision --config --json",
        "benchmark": "--pairs --retrieval --word-order --out --model --pooling --layers"
        " --whitening --dim --precision --config --json --classification --whiten-on",
        "whiten": "--out --model --pooling --text-column --on-error",
    }
    for name, options in relied_on.items():
        assert set(options.split()) <= {o for p in cli.commands[name].params for o in p.opts}
    repeatable = {p.name for p in cli.commands["benchmark"].params if getattr(p, "multiple", False)}
    assert repeatable == {
        *("pairs", "retrieval", "word_order", "classification"),
        *("models", "poolings", "layers", "whiten_on", "dims", "types"),
    }


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_and_option_is_explained_in_its_help(run: Run, name: str) -> None:
    overview = run("--help")
    assert (overview.status, overview.err) == (0, "")
    assert re.search(rf"^  {name} +[A-Z]", overview.out, re.MULTILINE)
    ran = run(name, "--help")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: simsearch {name} ")
    for parameter in cli.commands[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.opts} has no help"
            assert all(
                re.search(rf"^  .*{option}\b", ran.out, re.MULTILINE) for option in parameter.opts
            )
        else:
            assert parameter.make_metavar(click.Context(cli.commands[name])).strip("[].") in ran.out
