"""Pure functions of numbers: covariance, whitening, the outlier rule.

No images, no files, no state.
"""
