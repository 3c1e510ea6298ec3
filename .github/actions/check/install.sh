#!/usr/bin/env bash
# Installs hessent, as it lies in this repository, without torch: a gate only reads.
set -euo pipefail
repository=$(cd "$(dirname "$0")/../../.." && pwd)
environment=${RUNNER_TEMP:-/tmp}/hessent-check
"${PYTHON:-python3}" -m venv "$environment"
pip=("$environment/bin/python" -m pip install --quiet --disable-pip-version-check -c "$repository/.ci/constraints.txt")
"${pip[@]}" h5py numpy rich safetensors scipy typer
"${pip[@]}" --no-deps "$repository" # last: pip would miss torch otherwise
"$environment/bin/hessent" --version
