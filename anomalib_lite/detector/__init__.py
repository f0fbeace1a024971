"""One fitted thing and its record: fit, predict, save, load, learn more, explain.

Nothing that measures on labelled data, and no judgement of which images are good.
"""
