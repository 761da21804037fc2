"""An encoder written to a folder: in Google's layout, or for sentence-transformers."""

from simsearch.saving.google import save_google
from simsearch.saving.huggingface import save_huggingface

__all__ = ["save_google", "save_huggingface"]
