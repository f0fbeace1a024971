"""Unlabelled images score each other: `musc`, its pools on disk and its frozen form.

What is said about a pool is `transductive`.
"""
