#!/usr/bin/env bash
# Fresh machine -> installed -> ManoRender and AngRender in small, verified, with a contact sheet each. Results in demo/.
set -euo pipefail
EXTRAS="" source "$(dirname "$0")/setup.sh"

samples=${1:-256}
say "what this machine has"
handsynth doctor
for name in manorender angrender; do
    say "$name: $samples samples of $(handsynth plan $name --json | python -c 'import json, sys; print(json.load(sys.stdin)["samples"])'), verified"
    handsynth generate $name demo/$name --samples "$samples" --shard-size 64 --passes depth,parts,normal,uv --jobs "$(nproc)" --overwrite
    handsynth verify demo/$name --replay 4
    handsynth preview $name demo/$name.jpg -n 64
done
say "done: open demo/manorender.jpg and demo/angrender.jpg; the datasets are demo/manorender and demo/angrender"
