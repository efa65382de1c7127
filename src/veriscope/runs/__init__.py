"""Many runs: each an OS process of its own, planned, resumed, and brought together."""
