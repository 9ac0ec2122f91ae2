"""Training: what the stages read, and the stages."""
