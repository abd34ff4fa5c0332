"""Measured proofs: each prints a table for people and writes json."""
