"""Candidates to scores: attention heads over memory structure, fusions to compare them with, and what is learned."""
