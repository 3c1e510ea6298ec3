#!/usr/bin/env bash
# Runs the check twice: for the annotations and the step's summary, and for the document other steps read.
set -euo pipefail
hessent=${RUNNER_TEMP:-/tmp}/hessent-check/bin/hessent
report=${RUNNER_TEMP:-/tmp}/hessent-check.json
words=()
[[ -n ${POLICY:-} ]] && words+=(--policy "$POLICY")
[[ -n ${BASELINE:-} ]] && words+=(--baseline "$BASELINE")
[[ ${STRICT:-false} == true ]] && words+=(--strict)
# One argument per line: nothing in it is split, expanded or run.
while IFS= read -r word; do
  [[ -n $word ]] && words+=("$word")
done <<<"${ARGUMENTS:-}"
words+=(-- "$RUN")  # whatever its name begins with, it is no option

code=0
"$hessent" check --format github "${words[@]}" || code=$?
if [[ $code -le 1 ]]; then
  "$hessent" check --json --quiet "${words[@]}" >"$report" || true
  outcome=$(sed -n 's/^ "outcome": "\([a-z]*\)",$/\1/p' "$report")
  printf 'outcome=%s\nreport=%s\n' "$outcome" "$report" >>"${GITHUB_OUTPUT:-/dev/null}"
fi
exit "$code"
