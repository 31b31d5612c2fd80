"""The trilby command: the only room that prints."""
