"""The front desk: parse, call a workflow, print. Only here is anything printed.

One file per command; each imports what it needs only when it runs, so that `--help` is fast.
"""
