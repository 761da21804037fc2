"""Vectors to row numbers and scores: the FAISS search, and what a score means in a corpus."""
