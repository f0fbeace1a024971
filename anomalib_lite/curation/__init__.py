"""Which images should a detector learn: audits, down-weighting, the gate before an update.

No fitting of its own and no page layout; those are `detector` and `report`.
"""
