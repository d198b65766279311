"""Rectified flow, as pure functions.

The direction of time, everywhere in this project: t = 0 is the image, t = 1 is Gaussian noise, and the velocity
is d x_t / d t = noise - image.
"""
