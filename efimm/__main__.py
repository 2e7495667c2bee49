"""`python -m efimm` is the `efimm` command."""

from .cli import main

main()
