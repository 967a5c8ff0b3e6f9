"""The command ``efficientnet``: one module per subcommand."""
