#!/usr/bin/env python3
"""Checks the signature of a signed document with securesystemslib and no code of ours.

usage: check_receipt.py ENVELOPE.json PUBKEY.pem

ENVELOPE.json is a DSSE envelope, or a bundle (then its receipt is taken). PUBKEY.pem is an Ed25519 public key as
SubjectPublicKeyInfo, as `openssl pkey -pubin` reads it.

Exit 0: the signature over the payload holds under this key and the payload is an in-toto statement. Exit 1: it does
not. Exit 2: wrong usage, or a file that can't be read.
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


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with open(arguments[0], "rb") as file:
            document = json.load(file)
        with open(arguments[1], "rb") as file:
            public = serialization.load_pem_public_key(file.read())
    except (OSError, ValueError) as error:
        print(f"cannot read: {error}", file=sys.stderr)
        return 2
    if not isinstance(public, Ed25519PublicKey):
        print(f"{arguments[1]} is no Ed25519 key", file=sys.stderr)
        return 2
    key = SSlibKey.from_crypto(public, keyid=fingerprint(public))
    try:
        envelope = Envelope.from_dict(document.get("receipt", document))
        envelope.verify([key], 1)
        if envelope.payload_type != PAYLOAD_TYPE:
            raise VerificationError(f"payloadType is {envelope.payload_type}")
        statement = json.loads(envelope.payload)
        if statement.get("_type") != STATEMENT_TYPE:
            raise VerificationError(f"_type is {statement.get('_type')}")
    except (VerificationError, ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"refused: {error}")
        return 1
    print(f"ok: {statement['predicateType']} signed by {key.keyid}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
