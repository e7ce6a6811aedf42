"""Validates documents with the Python package jsonschema, which shares no code with this repository.

    schemas.py DIRECTORY < CASES

DIRECTORY contains the schemas. Each line of CASES is a JSON array: the name of a schema, and a document. A document of null
asks whether the schema itself is valid. Each line of the output answers one line of CASES: a JSON array with the places of
the errors, which is empty if the document fits.
"""

import json
import pathlib
import sys

from jsonschema import Draft202012Validator


def main(directory):
    validators = {}
    for line in sys.stdin:
        name, document = json.loads(line)
        if name not in validators:
            schema = json.loads((directory / f"{name}.v1.json").read_text())
            Draft202012Validator.check_schema(schema)
            validators[name] = Draft202012Validator(schema)
        errors = () if document is None else validators[name].iter_errors(document)
        print(json.dumps([f"{error.json_path}: {error.message:.200}" for error in errors]))


main(pathlib.Path(sys.argv[1]))
