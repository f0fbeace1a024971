"""The machine: memory, threads, seeds, versions.

Nothing here knows what an anomaly is.
"""
