"""Tests of the data set adapters; `trees` builds what they read."""
