"""Choices made on good images alone, before the fit.

Never looks at a test folder or a label.
"""
