"""Adapters for frameworks. Each is imported only when it is used."""
