"""Training on more than one device: which devices work together, and what each of them does.

`keras_vit.train(..., distribute="data-parallel")` is the way in.
"""
