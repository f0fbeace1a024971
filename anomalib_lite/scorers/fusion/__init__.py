"""Several scorers over one backbone pass, as one scorer.

Knows its members by the scorer contract only, never by name.
"""
