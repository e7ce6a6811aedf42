it's $(a)
#!/usr/bin/env bash
set -euo pipefail
ORG="{{ .inputs.Org }}"
gh repo create {{ .inputs.Org }}/{{ .inputs.Repo }} --public
{{ if eq .inputs.Language "Go" -}}
ARGS=(--go "{{ .outputs.my-block.key }}")
{{ else -}}
ARGS=()
{{ end -}}
cat > notes.txt <<EOF
{{ range $index, $item := .inputs.List }}{{ $index }} {{ $item }}
{{ end }}
EOF
echo 'done {{ .inputs.Org }}' "${ARGS[@]}" # {{ .inputs.Repo }}
