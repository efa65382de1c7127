"""Benchmarks as plain functions; `veriscope bench` prints what they return."""
