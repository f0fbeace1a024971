"""Kinds of sources and the one listing of pictures behind them.

Nothing here knows a model; `sources` opens them by name.
"""
