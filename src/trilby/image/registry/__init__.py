"""The client of the OCI distribution API."""
