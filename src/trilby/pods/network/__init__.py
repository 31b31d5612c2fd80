"""CNI: conflists, plugins, results."""
