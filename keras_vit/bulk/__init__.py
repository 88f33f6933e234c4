"""Predictions of any number of images into a table, whatever happens on the way.

`keras_vit.predict(model, images, output="answers.parquet")` is the way in.
"""
