"""`python -m featscope`."""

from featscope.cli import main

main()
