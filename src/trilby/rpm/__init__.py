"""The packaging toolkit: from a project's own metadata to a signed repository of RPMs."""
