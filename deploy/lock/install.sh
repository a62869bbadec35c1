#!/bin/sh
# Installs normfed from this folder into FOLDER/.venv: sh install.sh [FOLDER]. Nothing is fetched from anywhere.
# FOLDER is /opt/normfed unless given; PYTHON the interpreter to use, of the version that the wheels are for.
set -eu
kit=$(cd "$(dirname "$0")" && pwd)
environment=${1:-/opt/normfed}/.venv
python=${PYTHON:-python3}

# In an image only a part of the kit is there, and pip checks the wheels alone.
[ ! -e "$kit/SHA256SUMS" ] || (cd "$kit" && sha256sum --check --strict --quiet SHA256SUMS) || {
  echo "Something in $kit is not what was packed. Copy the kit anew." >&2
  exit 2
}
"$python" -m venv --without-pip "$environment"
# pip runs out of its own wheel: many systems have Python without it.
set -- "$kit"/wheels/pip-*.whl
"$environment/bin/python" "$1/pip" --isolated install --quiet --disable-pip-version-check --no-cache-dir --no-compile \
  --no-index --find-links "$kit/wheels" --only-binary :all: --require-hashes --requirement "$kit/requirements.txt"
# Compiled by content, not by time: the same files on every machine, also where the folder is read-only later.
"$environment/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$environment/lib" > /dev/null || true
"$environment/bin/normfed" --version
