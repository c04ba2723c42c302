"""Engines: extraction by several processes, on one machine or on a cluster, that together write one target."""
