#!/usr/bin/env bash
# Fetches from npm the two libraries that report pages carry, and puts them with their licences into handsynth/core/page/vendor.
# To be run by hand when a version changes; needs node and npm. Both licences (MIT) allow this.
set -euo pipefail
PLOTLY=4.1.1 THREE=0.187.0 ESBUILD=0.28.2
vendor="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/handsynth/core/page/vendor"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
npm install --silent "plotly.js-cartesian-dist-min@$PLOTLY" "three@$THREE" "esbuild@$ESBUILD"

# Of three.js, what page.js uses: a third of the whole.
cat >three-entry.js <<'EOF'
export {
  BufferAttribute, BufferGeometry, Color, DirectionalLight, DoubleSide, Group, HemisphereLight, LineBasicMaterial, LineSegments, Mesh,
  MeshBasicMaterial, MeshLambertMaterial, PerspectiveCamera, Points, PointsMaterial, REVISION, Scene, SphereGeometry, SRGBColorSpace,
  Texture, Vector3, WebGLRenderer,
} from "three";
EOF
npx esbuild three-entry.js --bundle --minify --format=iife --global-name=THREE --legal-comments=inline --log-level=warning \
    --outfile="$vendor/three.min.js"
cp node_modules/plotly.js-cartesian-dist-min/plotly-cartesian.min.js "$vendor/plotly.min.js"
{ echo "plotly.min.js: plotly.js-cartesian-dist-min $PLOTLY, https://github.com/plotly/plotly.js"; echo
  cat node_modules/plotly.js-cartesian-dist-min/LICENSE; } >"$vendor/LICENSE-plotly.txt"
{ echo "three.min.js: parts of three $THREE, https://github.com/mrdoob/three.js"; echo; cat node_modules/three/LICENSE; } >"$vendor/LICENSE-three.txt"
ls -l "$vendor"
