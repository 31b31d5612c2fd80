"""The other side of the CRI: a running daemon, with the methods that the engine has."""
