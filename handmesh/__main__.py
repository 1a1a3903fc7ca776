"""python -m handmesh."""

from handmesh.cli import main

main()
