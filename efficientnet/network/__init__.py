"""Parts that a network is built with, for whichever Keras."""
