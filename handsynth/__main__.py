"""python -m handsynth."""

from handsynth.cli import main

main()
