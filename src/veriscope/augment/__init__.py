"""Training policies (albumentations) and test-time corruptions (none)."""
