"""The command line: one file per command.

No logic of its own: a command reads options, calls one room and prints.
"""
