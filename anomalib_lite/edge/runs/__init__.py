"""One run over a source: who owns its folder, what it judged, what is on record.

No pictures and no pages.
"""
