"""Adversarial losses and the augmentation of what a discriminator sees, as pure functions."""
