"""Measure an encoder: tasks, metrics, and the word-order suite."""
