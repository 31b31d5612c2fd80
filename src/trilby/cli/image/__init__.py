"""The trilby image commands, one file each."""
