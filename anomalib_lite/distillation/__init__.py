"""Distillation: teach a small patch network to give what a large one gives."""
