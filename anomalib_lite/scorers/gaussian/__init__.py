"""Gaussians of normal features: `padim`, `mvg`, `gda`, and the moments behind them.

Only closed forms live here; whatever trains by steps is elsewhere.
"""
