"""Keras models as graphs: walking, folding, converting and profiling them."""
