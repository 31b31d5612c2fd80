"""The trilby config commands."""
