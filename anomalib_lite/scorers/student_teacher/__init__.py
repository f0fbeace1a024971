"""Students that imitate a frozen teacher on good images: `efficientad`, `stfpm`.

The loop that trains them is `scorers.training`.
"""
