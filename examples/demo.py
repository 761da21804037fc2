"""The three uses of simsearch on the sample corpus: build an index, query it, compare poolings.

Every step is a command that you can type yourself.
"""

import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

CORPUS = "examples/corpus.jsonl"
STEPS = [
    (
        "An index of 612 sentences: a shop's FAQ and everyday life, in Chinese and English.",
        ["build", CORPUS, "--index", "indexes/demo"],
    ),
    (
        "Six questions. Answers come in either language. Look at the last two: the right sentence "
        "and the one that swaps the roles are equally near.",
        [
            *("query", "indexes/demo", "-k", "3"),
            "东西显示送到了，但我没拿到",
            "从国外买东西要交关税吗",
            "Why did my purchase arrive in two separate boxes?",
            "still waiting for the refund after returning my order",
            "李四昨晚请张三吃了顿饭",
            "A man was bitten by a dog",
        ],
    ),
    (
        "Why: a mean of word vectors forgets their order exactly, and a trained BERT nearly so.",
        [
            *("similarity", "张三请李四吃饭。", "李四请张三吃饭。"),
            *("--pooling", "static_mean", "--pooling", "mean", "--pooling", "cls"),
        ],
    ),
    (
        "The useful side of that: an index that forgets order finds sentences of the same words.",
        ["build", CORPUS, "--index", "indexes/same-words", "--pooling", "static_mean"],
    ),
    (
        "",
        [
            *("query", "indexes/same-words", "--threshold", "0.99999"),
            *("我昨天去了图书馆。", "The man bit the dog."),
        ],
    ),
    (
        "How often each pooling finds a paraphrase closer than the same words in another order.",
        ["benchmark"],
    ),
]


def main() -> None:
    """Run the steps; stop at the first that fails."""
    root = Path(__file__).parent.parent
    for title, arguments in STEPS:
        if title:
            print("\n" + textwrap.fill(f"# {title}", 80, subsequent_indent="# "))
        print(f"$ simsearch {shlex.join(arguments)}", flush=True)
        step = subprocess.run(
            [sys.executable, "-m", "simsearch", *arguments], cwd=root, check=False
        )
        if step.returncode:
            sys.exit(step.returncode)


if __name__ == "__main__":
    main()
