"""What a method has to beat before its cost is worth paying: baselines of the papers.

Only what a paper itself compares with lives here; `knn` is a memory bank.
"""
