"""What exists and how it grows: the variants, their blocks, their cost and their arrays. Imports no framework."""
