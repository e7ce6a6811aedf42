#!/usr/bin/env bash
set -euo pipefail
# it's a step
deploy() {
  local target="${1:?target}"
  kubectl --context "$target" apply -f - <<EOF
name: ${NAME:-x} $(date +%s)
EOF
}
if ! git diff --quiet; then git stash; fi
for f in *.yaml "$@"; do
  case "$f" in
    *.tmp|'a b') continue ;;
    *) deploy "$f" 2>&1 | tee -a log ;;
  esac
done
while read -r line; do echo $((n + 1)) "$line"; done < <(find . -name '*.log' -exec grep -l err {} \;)
trap 'rm -f "$tmp"' EXIT
env A=1 timeout -k 5 30 bash -lc 'make test && echo "done"'
[[ -n "$x" && $y == a* ]] || exit 1
