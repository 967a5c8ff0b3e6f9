"""What reports share: the theme of figures, and tables."""
