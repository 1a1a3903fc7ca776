# Sourced by demo.sh and test.sh: makes .venv with the package (and the extras named in EXTRAS) and OpenGL without a display.
# Says what it installs; does nothing that is already done.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

say() { printf '\n== %s\n' "$*" >&2; }

apt_install() {
    command -v apt-get >/dev/null || { echo "please install: $*" >&2; exit 3; }
    local sudo=""
    [ "$(id -u)" -eq 0 ] || sudo="sudo"
    say "installing system packages: $*"
    $sudo apt-get update -q >&2 && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends "$@" >&2 ||
        { echo "could not install $*: please install them and start again" >&2; exit 3; }
}

python=""
for candidate in python3 python3.13 python3.12 python3.11; do
    if command -v $candidate >/dev/null && $candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || { echo "Python 3.11 or newer is needed (apt-get install python3 python3-venv)" >&2; exit 3; }

# Names of the libraries and not of the packages: what counts is whether they can be loaded.
if ! $python -c 'import ctypes; ctypes.CDLL("libEGL.so.1"); ctypes.CDLL("libEGL_mesa.so.0")' 2>/dev/null &&
    ! $python -c 'import ctypes; ctypes.CDLL("libEGL.so.1"); ctypes.CDLL("libEGL_nvidia.so.0")' 2>/dev/null; then
    apt_install libegl1 libegl-mesa0 libgl1-mesa-dri
fi
# pyrender looks for libGL by its name.
$python -c 'import ctypes; ctypes.CDLL("libGL.so.1")' 2>/dev/null || apt_install libgl1

# Report pages are tested in a browser; without one those tests are skipped.
if [ "${EXTRAS:-}" = dev ] && ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null; then
    (apt_install chromium) || say "no Chromium here: the tests of report pages are skipped"
fi

if [ ! -x .venv/bin/python ]; then
    say "making .venv with $($python --version)"
    $python -m venv .venv 2>/dev/null || { apt_install python3-venv; rm -rf .venv; $python -m venv .venv; } || exit 3
fi
stamp=".venv/.installed-${EXTRAS:-plain}"
wanted=$(sha256sum pyproject.toml | cut -d' ' -f1)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    say "installing handsynth${EXTRAS:+ with extras: $EXTRAS} into .venv (a few minutes the first time)"
    # Python 3.11 brings a pip that searches for many minutes where a newer one takes one.
    # With PIP_NO_INDEX everything comes from a folder of wheels, which decides the versions.
    .venv/bin/python -m pip install -q --disable-pip-version-check --upgrade "pip>=25" || [ -n "${PIP_NO_INDEX:-}" ] || exit 3
    if [ -n "${EXTRAS:-}" ] && [ -z "${PIP_NO_INDEX:-}" ] && ! .venv/bin/python -c 'import torch' 2>/dev/null; then
        # The release that the tests were run with; an open range would take the newest build.
        .venv/bin/python -m pip install -q --disable-pip-version-check "torch==2.13.0" || exit 3
    fi
    .venv/bin/python -m pip install -q --disable-pip-version-check -e ".${EXTRAS:+[$EXTRAS]}" || exit 3
    echo "$wanted" >"$stamp"
fi
export PATH="$PWD/.venv/bin:$PATH"
