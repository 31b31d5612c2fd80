"""Names, registries, transports, copying and trust of images."""
