"""The baselines' networks, key for key as their authors' checkpoints have them."""
