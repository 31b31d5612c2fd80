"""Storage drivers: how a layer becomes a root file system."""
