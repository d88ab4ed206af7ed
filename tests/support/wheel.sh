#!/usr/bin/env bash
# The wheel, installed into a new environment and used in an empty folder, without a checkout: make test-wheel.
# Then `pip install` of the wheel alone into another environment: the clients, and nothing heavy.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
accel=${1:-cpu}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH CONCH_ARTIFACTS VIRTUAL_ENV
pip_quietly=(-m pip --quiet --disable-pip-version-check)

git -C "$root" archive HEAD | tar -x -C "$work" --one-top-level=source # what is committed, and nothing else
"$root/.venv/bin/python" -m build --wheel --outdir "$work/dist" "$work/source" >/dev/null
if ls -d "$work"/source/build "$work"/source/*.egg-info 2>/dev/null; then
    echo "error: building the wheel leaves this in the checkout" >&2
    exit 1
fi

"$root/.venv/bin/python" -m venv "$work/kit"
"$work/kit/bin/python" "${pip_quietly[@]}" install --constraint "$root/constraints.txt" "$(echo "$work"/dist/conch-*.whl)[$accel]"
mkdir "$work/empty"
cd "$work/empty"
export PATH="$work/kit/bin:$PATH" ORT_DISABLE_TELEMETRY=1
conch train cnn
conch export cnn
conch serve --http-port 0 --grpc-port 0 --metrics-port 0 -- conch load run cnn --duration 10s
python -c "import sys; from importlib.resources import files; sys.exit(not (files('serving') / 'deploy' / 'alerts.yaml').is_file())"
conch report >/dev/null || test $? -eq 1 # without a live score the page says what was not run

"$root/.venv/bin/python" -m venv "$work/clients"
"$work/clients/bin/python" "${pip_quietly[@]}" install --constraint "$root/constraints.txt" "$(echo "$work"/dist/conch-*.whl)"
"$work/clients/bin/conch" call --help >/dev/null
for heavy in torch lightning onnx onnxruntime locust; do
    if "$work/clients/bin/python" -c "import $heavy" 2>/dev/null; then
        echo "error: pip install conch alone brings $heavy" >&2
        exit 1
    fi
done
{ "$work/clients/bin/conch" train cnn 2>&1 || true; } | grep -q "pip install 'conch\[cpu\]'"
echo "The wheel trains, exports, serves, loads and calls."
