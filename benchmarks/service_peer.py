"""The peer of service.py: sentence-transformers and FAISS behind FastAPI, as one writes it.

    PEER/bin/python benchmarks/service_peer.py DATA MODEL hnsw

DATA holds vectors.npy, texts.txt and queries.txt, as service.py writes them. Needs
sentence-transformers, faiss-cpu, fastapi and uvicorn. The graph's efSearch is the smallest power of
2 that finds 0.95 of the ten nearest of 200 queries.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

_DATA, _MODEL, _KIND = Path(sys.argv[1]), sys.argv[2], sys.argv[3]


class Body(BaseModel):
    """What is asked."""

    query: str
    k: int = 10


def said(text: str) -> None:
    """To whoever started this."""
    print(text, file=sys.stderr, flush=True)


def indexed(model: SentenceTransformer) -> faiss.Index:
    """The index, built once."""
    path = _DATA / f"{_KIND}.faiss"
    if path.exists():
        index = faiss.read_index(str(path))
    else:
        vectors = np.load(_DATA / "vectors.npy")
        dim = vectors.shape[1]
        index = faiss.IndexFlatIP(dim)
        if _KIND == "hnsw":
            index = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
        began = time.perf_counter()
        index.add(vectors)
        said(f"built in {time.perf_counter() - began:.0f} s")
        faiss.write_index(index, str(path))
    if _KIND == "hnsw":
        queries = (_DATA / "queries.txt").read_text("utf-8").splitlines()[:200]
        tune(index, model.encode(queries, normalize_embeddings=True))
    return index


def tune(index: Any, queries: np.ndarray) -> None:
    """Set efSearch."""
    scores = queries @ np.load(_DATA / "vectors.npy").T
    nearest = np.argpartition(-scores, 10, axis=1)[:, :10]
    for breadth in (16, 32, 64, 128, 256, 512, 1024):
        index.hnsw.efSearch = breadth
        _, found = index.search(queries, 10)
        recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(nearest, found, strict=True)])
        said(f"efSearch {breadth}: recall@10 {recall:.3f}")
        if recall >= 0.95:
            return


def main() -> None:
    """Load, index, serve."""
    model = SentenceTransformer(_MODEL, device="cpu")
    index = indexed(model)
    texts = (_DATA / "texts.txt").read_text("utf-8").split("\n")
    app = FastAPI()

    @app.post("/v1/search")
    def search(body: Body) -> dict[str, Any]:
        vector = model.encode([body.query], normalize_embeddings=True)
        scores, rows = index.search(vector, body.k)
        found = zip(scores[0].tolist(), rows[0].tolist(), strict=True)
        hits = [{"score": score, "text": texts[row]} for score, row in found]
        return {"query": body.query, "hits": hits}

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            port = self.servers[0].sockets[0].getsockname()[1]
            said(f"serving on http://127.0.0.1:{port}")

    Server(uvicorn.Config(app, port=0, log_level="warning", access_log=False)).run()


if __name__ == "__main__":
    main()
