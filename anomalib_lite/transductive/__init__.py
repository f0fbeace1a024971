"""Unlabelled images judge each other: pools and what they say.

Nothing here promises a false-reject rate.
"""
