"""Helpers without a subject: arguments, files, text, threads."""
