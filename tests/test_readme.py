"""The READMEs: what they show is run, on files such as a reader has."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from shown_code import Block, Reader, blocks

import simsearch
from simsearch.cli.commands import cli

ROOT = Path(__file__).parent.parent

# Tested elsewhere, for they take long, fetch models or never end; that they and their options are
# there is tested with those of all pages.
ELSEWHERE = (
    r"simsearch (train|mine|predict|models|serve|benchmark$)|hfl/|tuned|--layers each|engine ray"
)

CORPUS = [
    json.loads(line)["text"]
    for line in (ROOT / "examples/corpus.jsonl").read_text("utf-8").splitlines()
]
FAQ = io.StringIO()
csv.writer(FAQ).writerows(
    [
        ("number", "question", "year", "language"),
        *((number, text, 2000 + number % 25, "zh") for number, text in enumerate(CORPUS, 1)),
    ]
)
FILES = {
    "faq.csv": FAQ.getvalue(),
    "new.csv": "number,question,year,language\n999,可以开发票吗？,2025,zh\n",
    "questions.txt": "".join(f"第 {number} 条新闻\n" for number in range(32)),
    "sentences.txt": "今天天气很好。\nNice weather today.\n",
    "notes.txt": "今天天气很好。\n",
    "dev.tsv": "1\t怎么退款？\t如何退款？\n0\t怎么退款？\t下雨吗\n1\ta dog barks\tdogs bark\n",
    "intents/train.tsv": "text\tlabel\n退款\tmoney\nrefund\tmoney\n下雨\tsky\nrain\tsky\n",
    "intents/test.tsv": "text\tlabel\n我要退钱\tmoney\n会下雨吗\tsky\n",
    "faq-beir/corpus.jsonl": '{"_id": "1", "title": "", "text": "怎么申请退款？"}\n'
    '{"_id": "2", "title": "", "text": "今天天气很好。"}\n',
    "faq-beir/queries.jsonl": '{"_id": "q", "text": "我要退钱"}\n',
    "faq-beir/qrels/test.tsv": "query-id\tcorpus-id\tscore\nq\t1\t1\n",
    "news.jsonl": "".join(f'{{"text": "新闻第 {i} 条"}}\n' for i in range(200)),
    "articles.jsonl": json.dumps({"text": "退款会在三个工作日内原路退回。" * 40}) + "\n",
}


def commands(readme: str) -> list[str]:
    return [line for block in blocks(ROOT / readme, "sh", "console") for line in block.commands()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """A folder with the files that the README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(content, "utf-8")
    shutil.copytree(folder / "faq-beir", folder / "beir-folder")
    shutil.copytree(tiny_bert, folder / "path/to/checkpoint")
    shutil.make_archive(str(folder / "chinese_L-12_H-768_A-12"), "zip", tiny_bert)
    simsearch.build(ROOT / "examples/corpus.jsonl", folder / "indexes/demo")
    return folder


def test_both_show_the_same_and_every_command() -> None:
    english, chinese = map(commands, ("README.md", "README.zh-CN.md"))
    assert english == chinese
    assert {line.split()[1] for line in english} == set(cli.commands)


def test_its_commands_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    reader = Reader(monkeypatch, capsys)
    for line in commands("README.md"):
        if not re.search(ELSEWHERE, line):
            ran = reader.run(Block("sh", "", line, ""))
            assert ran.status == 0, f"{line}\n{ran.err}"


def test_its_answers_are_those_it_shows(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    shown = "".join(block.code for block in blocks(ROOT / "README.md", "console"))
    parts = re.split(r"^\$ (simsearch query .+)\n", shown, flags=re.MULTILINE)[1:]
    assert len(parts) == 2 * 3
    for line, answer in zip(parts[::2], parts[1::2], strict=True):
        ran = Reader(monkeypatch, capsys).command(line)
        assert unnumbered(ran.out) == unnumbered(answer)


def unnumbered(table: str) -> list[str]:
    """The lines without scores, whose last digit depends on the machine."""
    return [" ".join(re.sub(r"\d+\.\d+", "…", line).split()) for line in table.strip().split("\n")]


def test_its_python_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    shutil.rmtree("indexes/faq", ignore_errors=True)  # what the commands made
    for block in blocks(ROOT / "README.md", "python"):
        Reader(monkeypatch, capsys).run(block)
