#!/usr/bin/env bash
# Fresh machine -> installed -> ManoRender and AngRender in small, verified, with a contact sheet each; a net trained on them for half a
# minute, which shows that training works; the weights that come with the package, evaluated and drawn on hands that they have not
# seen. Results in demo/. On two quiet cores it takes less than four minutes when everything is installed.
set -euo pipefail
EXTRAS=train source "$(dirname "$0")/setup.sh"

samples=${1:-128}
say "what this machine has"
handsynth doctor
for name in manorender angrender; do
    say "$name: $samples samples of $(handsynth plan $name --json | python -c 'import json, sys; print(json.load(sys.stdin)["samples"])'), verified"
    handsynth generate $name demo/$name --samples "$samples" --shard-size 64 --passes depth,parts,normal,uv --jobs "$(nproc)" --overwrite
    handsynth verify demo/$name --replay 4
    handsynth preview $name demo/$name.jpg -n 64
done
say "unseen: 32 hands of another seed"
handsynth generate manorender demo/unseen --samples 32 --seed 7 --shard-size 32 --jobs "$(nproc)" --overwrite

say "training: $((2 * samples)) images, half a minute. It shows that training works, and learns next to nothing"
rm -rf demo/run demo/images demo/predictions demo/evaluation
mkdir -p demo/images
handmesh train mesh demo --data demo/manorender --data demo/angrender --val demo/unseen --out demo/run --workers 0

say "the weights that come with the package, on the same unseen hands"
handmesh weights list
handmesh evaluate --data demo/unseen --out demo/evaluation
tar -xf demo/unseen/shard-000000.tar -C demo/images --wildcards '*.jpg'
handmesh predict demo/images --detector none --out demo/predictions >demo/predictions.txt

say "done: open demo/manorender.jpg and demo/angrender.jpg, demo/run/curves.png (the loss falls), then demo/predictions: meshes that
the shipped weights draw over hands they have not seen, and joint angles in demo/predictions.txt. The datasets are demo/manorender and
demo/angrender; your own images: handmesh predict photo.jpg."
