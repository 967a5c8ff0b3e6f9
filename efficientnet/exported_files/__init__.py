"""Exported models: their formats, what they record of themselves, and the runtimes that they run in."""
