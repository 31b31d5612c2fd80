"""Sandboxes and containers: engine, state, spec, network, monitor, logs."""
