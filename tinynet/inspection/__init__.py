"""Looking into networks: what a trained one answers, the outputs of its layers, its mistakes, what an answer rests on,
the pictures of a run; how long layers take, and whether their gradients are right.
"""
