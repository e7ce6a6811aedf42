"""Parts of sessions, artifacts, plans, manifests and steps. From `formats.md`, sections 10, 12, 14, 15 and 19."""

from shapes import (
    ARTIFACT_NAME,
    BLAKE3,
    DIGEST,
    OUTPUT_NAME,
    SECRET_NAME,
    SESSION_ID,
    VARIABLE,
    arr,
    at_most,
    boolean,
    free,
    number,
    obj,
    one_of,
    path_ref,
    rel_path,
    wrong,
)

MONTH = 2_592_000
TYPES = ("string", "integer", "boolean")
# In bytes: of one artifact, and of all together.
MOST_ARTIFACTS = 64 << 20
# What a step gives on, as a file that its run left.
OUTPUTS = ".outputs.json"
SESSION = obj({"id": SESSION_ID, "state": DIGEST})
ARTIFACT = obj({"name": ARTIFACT_NAME, "digest": DIGEST, "bytes": number(high=MOST_ARTIFACTS)})


def artifacts(low):
    def check(value, place):
        arr(ARTIFACT, low=low, high=16, by="name")(value, place)
        if sum(one["bytes"] for one in value) > MOST_ARTIFACTS:
            raise wrong(place, "more than 64 MiB of artifacts")

    return check


def only_true(value, place):
    if value is not True:
        raise wrong(place, "true, or not there")


OF_AUTHORIZATION = {
    "emergency": only_true,
    "grant": DIGEST,
    "session": SESSION,
    "artifacts": artifacts(1),
    "plan": obj({"receipt": DIGEST, "output": DIGEST}),
}


OF_RECEIPT = {
    "session": obj({"before": DIGEST, "after": DIGEST}),
}
OF_ITEM = {"grant": DIGEST, "use": number(1, 1000), "session": SESSION}
FILE = obj({"path": rel_path, "bytes": number(), "sha256": DIGEST, "blake3": BLAKE3, "executable": boolean})
MANIFEST = at_most(1 << 20, arr(FILE, low=1, high=1000, by="path"))


# Steps.


def secret(value, place):
    obj({"name": SECRET_NAME, "as": one_of("file", "env")}, {"variable": VARIABLE})(value, place)
    if value["as"] == "env" and "variable" not in value:
        raise wrong(f"{place}/variable", "needed where the secret is in a variable")


def secrets(value, place):
    arr(secret, high=32, by="name")(value, place)
    seen = set()
    for at, one in enumerate(value):
        if "variable" in one and one["variable"] in seen:
            raise wrong(f"{place}/{at}/variable", "a variable twice")
        seen.add(one.get("variable"))


def schema_of_output(value, place):
    free(value, place)
    if value.get("type") not in TYPES:
        raise wrong(place, "no text, no integer and no boolean")
    for keyword in ("default", "x-secret"):
        if keyword in value:
            raise wrong(f"{place}/{keyword}", "not in an output")


OUTPUT = obj({"name": OUTPUT_NAME, "schema": schema_of_output})
STEP_FILE = obj({"path": rel_path, "bytes": number(high=1 << 20), "digest": DIGEST, "executable": boolean})


def files(value, place):
    arr(STEP_FILE, high=256, by="path")(value, place)
    if sum(one["bytes"] for one in value) > 4 << 20:
        raise wrong(place, "more than 4 MiB of files")
    paths = {one["path"] for one in value}
    for at, one in enumerate(value):
        parts = one["path"].split("/")
        if any("/".join(parts[:end]) in paths for end in range(1, len(parts))):
            raise wrong(f"{place}/{at}/path", "below a file of the step")


OF_STEP = {
    "format": one_of("markdown", "gruntwork", "rundown", "runnable"),
    "template": one_of("none", "gruntwork"),
    "session": one_of("none", "read", "write"),
    "secrets": secrets,
    "outputs": arr(OUTPUT, high=64, by="name"),
    "files": files,
}
MORE_OF_STEP = {
    "plan": obj({"step": path_ref, "max_age_s": number(1, MONTH)}),
}


def check_step(step, place):
    """What one field of a step says of another."""
    if step.get("plan", {}).get("step") == step["ref"]:
        raise wrong(f"{place}/plan/step", "a step plans itself")
    secret_parameters(step["params"], f"{place}/params")


def secret_parameters(schema, place, above=False):
    """The places of parameters that are secret. `above`: a schema around this one gives values."""
    if not isinstance(schema, dict):
        return []
    found, given = [], above or bool(set(schema) & {"default", "enum", "const"})
    if "x-secret" in schema:
        if schema["x-secret"] is not True or schema.get("type") != "string":
            raise wrong(f"{place}/x-secret", "true, in a schema of type string")
        if given or "pattern" in schema:
            raise wrong(f"{place}/x-secret", "a schema that says which text it is")
        found.append(f"{place}/x-secret")
    properties = schema.get("properties")
    for name, item in properties.items() if isinstance(properties, dict) else ():
        found += secret_parameters(item, f"{place}/properties/{name.replace('~', '~0').replace('/', '~1')}", given)
    return found + secret_parameters(schema.get("items"), f"{place}/items", given)
