it's "$(a)"
# a script

name = {{ .inputs.Name }}
print('hello {{ .inputs.Name }}', name, f"{name}")  # {{ .inputs.Count }}
