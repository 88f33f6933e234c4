"""The papers' experiments, each with one call: `keras_vit.experiment("position-embedding", "out")`.

What each of them does is data, `zoo/experiments/*.toml`; see `experiments.specs`.
"""
