"""The trilby rpm commands."""
