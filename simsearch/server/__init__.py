"""An index as a service over HTTP: JSON, OpenAI's embeddings, health and metrics."""

from simsearch.server.guard import Places
from simsearch.server.limits import Limits, Tokens, read_tokens
from simsearch.server.running import serve

__all__ = ["Limits", "Places", "Tokens", "read_tokens", "serve"]
