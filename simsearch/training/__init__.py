"""Train an encoder on the user's own texts: methods, the loop, what it leaves on disk."""

from simsearch.training.loop import Training
from simsearch.training.methods import make
from simsearch.training.result import claimed, finish
from simsearch.training.start import first_variables

__all__ = ["Training", "claimed", "finish", "first_variables", "make"]
