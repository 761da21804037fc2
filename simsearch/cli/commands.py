"""The verbs of the command line, together."""

from __future__ import annotations

import click

from simsearch import __version__
from simsearch.cli.benchmark_command import benchmark
from simsearch.cli.change_commands import (
    add,
    delete,
    export,
    import_,
    optimize,
    repair,
    verify,
)
from simsearch.cli.encoder_commands import calibrate, encode, similarity, whiten
from simsearch.cli.explain_command import explain
from simsearch.cli.index_commands import build, duplicates, info, query
from simsearch.cli.mine_command import mine
from simsearch.cli.model_commands import export_hf, models
from simsearch.cli.serve_command import serve
from simsearch.cli.train_command import predict, train


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="simsearch %(version)s")
def cli() -> None:
    """Semantic search over sentences, Chinese and English, with BERT.

    \b
    simsearch build faq.csv                      index the column "text" into indexes/faq
    simsearch query indexes/faq "怎么退款？"       the nearest sentences
    simsearch benchmark --pooling mean --pooling cls
                                                 what each pooling knows of word order
    """


_CHANGING = (add, delete, optimize, verify, repair, export, import_)
_ENCODER = (encode, similarity, whiten, calibrate)
for command in (
    build,
    query,
    explain,
    info,
    duplicates,
    *_CHANGING,
    *_ENCODER,
    benchmark,
    train,
    mine,
    predict,
    models,
    export_hf,
    serve,
):
    cli.add_command(command)
