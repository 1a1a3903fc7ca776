"""python -m handmesh."""

from handmesh.cli.main import main

main()
