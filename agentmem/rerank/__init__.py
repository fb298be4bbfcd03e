"""Candidates to scores: attention heads over memory structure, and the fusions to compare them with."""
