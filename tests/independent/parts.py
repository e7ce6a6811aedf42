"""Parts of sessions, artifacts, plans, manifests and steps. From `formats.md`, sections 10, 12, 14, 15 and 19."""

from shapes import (
    ARTIFACT_NAME,
    BLAKE3,
    DIGEST,
    NAME,
    OUTPUT_NAME,
    SECRET_NAME,
    SESSION_ID,
    VARIABLE,
    arr,
    at_most,
    boolean,
    named,
    number,
    obj,
    one_of,
    path_ref,
    rel_path,
    text,
    wrong,
)

MONTH = 2_592_000
MAX_USES = 100_000
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
    "by": obj({"token": NAME}, {"jti": text()}),
    "session": SESSION,
    "artifacts": artifacts(1),
    "plan": obj({"receipt": DIGEST, "output": DIGEST}),
}


OF_RECEIPT = {
    "session": obj({"before": DIGEST, "after": DIGEST}),
}
OF_ITEM = {"grant": DIGEST, "use": number(1, MAX_USES), "session": SESSION}
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


def anything(value, place):
    if value is None:
        raise wrong(place, "null is not a value")


def parameter(value, place):
    """A declaration: its words and their types. `rules.Schema` reads what one word says of another."""
    PARAMETER(value, place)


def any_of(declared, holds):
    """Whether it holds for this declaration or for one inside it."""
    inner = [*declared.get("properties", {}).values(), *([declared["items"]] if "items" in declared else [])]
    return holds(declared) or any(any_of(one, holds) for one in inner)


def has_secret(declared):
    return any_of(declared, lambda one: "x-secret" in one)


LIMITS = ("minLength", "maxLength", "minItems", "maxItems")
PARAMETER = obj(
    {"type": one_of("string", "integer", "boolean", "array", "object")},
    {
        "description": text(),
        "default": anything,
        "enum": arr(anything),
        "pattern": text(),
        **dict.fromkeys(LIMITS, number()),
        "minimum": number(1 - 2**53),
        "maximum": number(1 - 2**53),
        "items": parameter,
        "properties": named(text(), parameter),
        "required": arr(text()),
        "x-leading-dash": boolean,
        "x-secret": boolean,
    },
)


def schema_of_output(value, place):
    parameter(value, place)
    if value["type"] not in TYPES:
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
