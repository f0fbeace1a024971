"""Networks that redraw the picture without its defects: `draem`, and the plain autoencoder.

They see pixels only. The loop that trains them is `scorers.training`.
"""
