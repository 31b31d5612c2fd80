"""What there is to check, one module for each group."""
