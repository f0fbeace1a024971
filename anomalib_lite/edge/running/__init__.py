"""What computes a graph on this box: one file an engine, their options, and which is quickest.

What an engine promises is said in `edge.engines`; nothing here knows models or thresholds.
"""
