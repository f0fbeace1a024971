"""Banks of normal patches: `patchcore`, `knn`, coresets and nearest neighbours.

Nothing that trains.
"""
