"""The command line: parse arguments, call a workflow, print the result. No other package prints.

There is one module per command. Heavy imports happen inside the commands, so that `--help` is fast.
"""
