#!/usr/bin/env bash
# Fresh machine -> installed -> training and held-out images at full size -> lite-fast trained for N minutes, evaluated, exported; its
# IK net; both as weights in half precision with cards; CSV files, curves, sheets, and what machine and commit made them. All in OUT.
#
#     bash scripts/full_run.sh OUT --minutes N [--wheels DIR] [--preset PRESET] [--start RUN] [--device DEVICE] [--jobs J]
#
# The minutes are those of training; making the images and the rest come on top. Fewer images are made when the minutes are few. Killed
# at any moment, the same command goes on. Without a network, --wheels DIR holds every package, as this makes it elsewhere:
#     pip download -d DIR '.[train,onnx]' pip 'setuptools>=77'
set -euo pipefail
usage="usage: bash scripts/full_run.sh OUT --minutes N [--wheels DIR] [--preset PRESET] [--start RUN] [--device DEVICE] [--jobs J]"
wheels=""
arguments=()
while [ $# -gt 0 ]; do
    case $1 in
    --wheels)
        wheels=$(cd "${2:?$usage}" && pwd) || exit 2
        shift 2
        ;;
    -h | --help)
        echo "$usage"
        exit 0
        ;;
    --*)
        arguments+=("$1" "${2:?$usage}")
        shift 2
        ;;
    *)
        arguments+=("$(realpath -m "$1")") # setup.sh changes the folder
        shift
        ;;
    esac
done
if [ -n "$wheels" ]; then
    export PIP_NO_INDEX=1 PIP_FIND_LINKS="$wheels"
fi
EXTRAS=train,onnx source "$(dirname "$0")/setup.sh"
exec python scripts/full_run.py "${arguments[@]}"
