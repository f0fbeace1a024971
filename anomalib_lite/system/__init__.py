"""The machine: memory, disk, threads, signals, seeds, versions.

Nothing here knows what an anomaly is.
"""
