"""The exit statuses of the command."""

SUCCESS = 0
SOME_FAILED = 1  # an image cannot be read, or the output is gone
USAGE = 2  # the command line, or a file that it names, is wrong
INTERRUPTED = 130  # Ctrl-C
