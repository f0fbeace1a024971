"""What every scorer that trains by steps shares: the loop, checkpoints, kept teacher answers.

No losses and no networks.
"""
