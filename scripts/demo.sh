#!/usr/bin/env bash
# Fresh machine -> installed -> ManoRender and AngRender in small, verified, with a contact sheet each; a net trained on them for a
# minute or two, evaluated and drawn on hands it has not seen. Results in demo/.
set -euo pipefail
EXTRAS=train source "$(dirname "$0")/setup.sh"

samples=${1:-256}
say "what this machine has"
handsynth doctor
for name in manorender angrender; do
    say "$name: $samples samples of $(handsynth plan $name --json | python -c 'import json, sys; print(json.load(sys.stdin)["samples"])'), verified"
    handsynth generate $name demo/$name --samples "$samples" --shard-size 64 --passes depth,parts,normal,uv --jobs "$(nproc)" --overwrite
    handsynth verify demo/$name --replay 4
    handsynth preview $name demo/$name.jpg -n 64
done
say "unseen: 48 hands of another seed, to evaluate a net on"
handsynth generate manorender demo/unseen --samples 48 --seed 7 --shard-size 48 --jobs "$(nproc)" --overwrite

say "training: $((2 * samples)) images, a minute or two. Far too little for a good net: it shows that every step works. The README has real runs."
rm -rf demo/run demo/images demo/predictions
mkdir -p demo/images
handmesh train mesh demo --data demo/manorender --data demo/angrender --val demo/unseen --out demo/run --workers 0
handmesh evaluate demo/run --data demo/unseen
tar -xf demo/unseen/shard-000000.tar -C demo/images --wildcards '*.jpg'
handmesh predict demo/run demo/images --out demo/predictions

say "done: open demo/manorender.jpg and demo/angrender.jpg, then demo/run/validation.png and demo/predictions.
The datasets are demo/manorender and demo/angrender. The net saw $((2 * samples)) images for a minute or two: expect rough hands."
