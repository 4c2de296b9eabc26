"""The arithmetic of the layers: pure functions on batch-last arrays (C, H, W, N) and (features, N), written against xp.

Each function writes into the array it is given for its result. What an array means to a user, its parameters and what
is kept for the backward pass lives in layers/.
"""
