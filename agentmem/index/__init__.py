"""Candidate generation: immutable segments (mapped columns and graph), the growing tail, and the views over both."""
