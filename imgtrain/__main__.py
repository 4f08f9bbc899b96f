"""`python -m imgtrain`."""

from imgtrain.cli.main import main

main()
