"""Saved Keras models: opening older ones, and what stands in their files besides weights."""
