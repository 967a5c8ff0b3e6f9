"""How each publisher names the weights of a network: one module per origin."""
