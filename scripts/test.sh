#!/usr/bin/env bash
# Fresh machine -> installed -> style, types, import contracts and every test. Arguments go to pytest.
set -euo pipefail
EXTRAS=dev source "$(dirname "$0")/setup.sh"

say "style"
ruff check .
ruff format --check .
say "types"
mypy
say "import contracts"
lint-imports
say "tests"
exec python -m pytest -n "$(nproc)" "$@"
