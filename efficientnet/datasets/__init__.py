"""Labelled images, from folders, tables, arrays and other packages."""
