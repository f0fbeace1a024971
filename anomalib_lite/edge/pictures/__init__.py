"""Picture files beside decoding: kind and size from the first bytes, and damage.

What becomes of a decoded frame is `frames` and `prepare`.
"""
