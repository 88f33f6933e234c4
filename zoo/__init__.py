"""The catalogue itself: one TOML file a family, and the label sets. `keras_vit.catalogue` reads it."""
