"""``python -m simsearch``: the command line."""

from simsearch.cli import main

main()
