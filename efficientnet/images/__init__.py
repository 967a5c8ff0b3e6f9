"""Images: reading, cropping and resizing, scaling of pixels, and ImageNet's names."""
