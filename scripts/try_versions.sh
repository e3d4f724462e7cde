#!/usr/bin/env bash
# Tries the versions that pyproject.toml claims, in environments below build/versions: the lowest version of every direct
# dependency, and the newest ones on another Python. Runs the tests of `make test-fast`.
#
#     scripts/try_versions.sh lowest python3.11
#     scripts/try_versions.sh highest python3.13
#
# TORCH names a build of torch for the CPU, as a file or a requirement; the one of the index may be gigabytes.
set -euo pipefail
cd "$(dirname "$0")/.."
resolution=$1 python=$2
folder=build/versions/$resolution
environment=$folder/$(basename "$python")

[ -x build/versions/uv/bin/uv ] || { python3 -m venv build/versions/uv; build/versions/uv/bin/pip install --quiet uv; }
uv=build/versions/uv/bin/uv
case $resolution in
lowest) how=lowest-direct ;;
*) how=$resolution ;;
esac

mkdir -p "$folder"
$uv venv --quiet --clear --python "$python" "$environment"
$uv pip compile --quiet --no-annotate --all-extras --resolution "$how" --python "$environment" pyproject.toml \
    --output-file "$folder/all.txt"
if [ -n "${TORCH:-}" ]; then
    grep -vE '^(torch==|nvidia-|triton==|cuda-)' "$folder/all.txt" >"$folder/chosen.txt"
    echo "$TORCH" >>"$folder/chosen.txt"
else
    cp "$folder/all.txt" "$folder/chosen.txt"
fi
$uv pip install --quiet --python "$environment" --no-deps --requirement "$folder/chosen.txt"
$uv pip install --quiet --python "$environment" grimp hypothesis pytest pytest-xdist
$uv pip install --quiet --python "$environment" --no-deps --editable .
# Old versions warn about new ones; that is no fault of this package.
OMP_NUM_THREADS=1 "$environment/bin/python" -m pytest -n 2 --dist loadfile --max-worker-restart 0 -m "not slow" --override-ini filterwarnings=default
