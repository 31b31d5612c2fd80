"""Checks of a host that is to run pods: what is so, why it matters, and what mends it."""
