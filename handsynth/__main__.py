"""python -m handsynth."""

from handsynth.cli.main import main

main()
