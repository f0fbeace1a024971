"""The machine: memory, disk, threads, seeds, versions.

Nothing here knows what an anomaly is.
"""
