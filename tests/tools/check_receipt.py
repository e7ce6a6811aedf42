#!/usr/bin/env python3
"""Checks the signature of a signed document with securesystemslib and no code of ours.

usage: check_receipt.py ENVELOPE.json KEY

ENVELOPE.json is a DSSE envelope, or a bundle, whose receipt is checked. KEY is one of three files: a roster, whose
boundary keys are used; an OpenSSH public key line (`ssh-ed25519 AAAA…`); or an Ed25519 public key in PEM, as
`openssl pkey -pubin` reads it.

Exit 0: one of the keys has a valid signature over the payload, and the payload is an in-toto statement. Exit 1: no key
has. Exit 2: wrong usage, or a file that cannot be read.
"""

import base64
import hashlib
import json
import sys

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"


def fingerprint(key: Ed25519PublicKey) -> str:
    """The key id as `ssh-keygen -lf` prints it: SHA-256 over the OpenSSH form of the key."""
    line = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    digest = hashlib.sha256(base64.b64decode(line.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def keys_in(data: bytes) -> list[Ed25519PublicKey]:
    """The Ed25519 keys of a roster, a line or a PEM file. A roster's own signatures are not checked here."""
    if data.lstrip().startswith(b"{"):
        roster = json.loads(base64.b64decode(json.loads(data)["payload"]))
        lines = [line.encode() for boundary in roster["predicate"]["boundaries"].values() for line in boundary["keys"]]
        public = [serialization.load_ssh_public_key(line) for line in lines]
    elif data.startswith(b"ssh-"):
        public = [serialization.load_ssh_public_key(data)]
    else:
        public = [serialization.load_pem_public_key(data)]
    return [key for key in public if isinstance(key, Ed25519PublicKey)]


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with open(arguments[0], "rb") as file:
            document = json.load(file)
        with open(arguments[1], "rb") as file:
            public = keys_in(file.read())
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"cannot read: {error}", file=sys.stderr)
        return 2
    if not public:
        print(f"{arguments[1]} holds no Ed25519 key", file=sys.stderr)
        return 2
    keys = [SSlibKey.from_crypto(key, keyid=fingerprint(key)) for key in public]
    try:
        envelope = Envelope.from_dict(document.get("receipt", document))
        signers = envelope.verify(keys, 1)
        if envelope.payload_type != PAYLOAD_TYPE:
            raise VerificationError(f"payloadType is {envelope.payload_type}")
        statement = json.loads(envelope.payload)
        if statement.get("_type") != STATEMENT_TYPE:
            raise VerificationError(f"_type is {statement.get('_type')}")
    except (VerificationError, ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"refused: {error}")
        return 1
    print(f"ok: {statement['predicateType']} signed by {', '.join(signers)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
