"""The commands below ``trilby node``."""
