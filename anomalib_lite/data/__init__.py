"""Samples to fit and measure on: adapters, drawn parts and pictures, simulated defects.

Nothing that decides how a frame is prepared; that is `edge`.
"""
