"""What the OCI specifications say: digests, descriptors, manifests, configs. Pure data, no I/O."""
