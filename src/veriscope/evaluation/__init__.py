"""Judging: from a PredictionTable to metrics, intervals, pictures and the report."""
