"""The demo's steps; apart from `demo.py` so that the help stays quick."""
