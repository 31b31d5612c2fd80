"""The trilby pod commands, one file each."""
