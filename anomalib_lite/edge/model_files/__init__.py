"""What a model file holds and may hold: descriptions with bounds, seals, the graph's rules.

Nothing is computed here; that is `engines` and `model`.
"""
