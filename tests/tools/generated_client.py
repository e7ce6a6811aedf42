"""Has openapi-python-client write a client from openapi.json, and goes through the whole exchange with it.

    generated_client.py OPENAPI DIRECTORY < FACTS

FACTS is a JSON object: url, agent and reader (tokens), step (a reference with a parameter `text`), slow (a step that runs
until it is killed), keyid and seed (base64) of an approver's Ed25519 key. The client is written to DIRECTORY.
Each call below is one of the generated client's: nothing else here speaks HTTP. Exit 0 when all went as asserted.
"""

import base64
import importlib
import json
import pathlib
import subprocess
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from openapi_spec_validator import OpenAPIV31SpecValidator

IN_TOTO = "application/vnd.in-toto+json"
CHALLENGE = "application/vnd.countersign.challenge.v1"


def main(description, directory):
    facts = json.load(sys.stdin)
    OpenAPIV31SpecValidator(json.loads(description.read_text())).validate()
    generate(description, directory)
    client = importlib.import_module("boundary")
    models = importlib.import_module("boundary.models")
    exchange(facts, client, models)


def generate(description, directory):
    """Writes the package `boundary`. A warning means that the generator left something out, and fails."""
    config = directory / "config.json"
    # The generator does not know that the media type of OpenMetrics is text.
    metrics = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    config.write_text(json.dumps({"post_hooks": [], "content_type_overrides": {metrics: "text/plain"}}))
    words = ["generate", "--path", description, "--meta", "none", "--fail-on-warning"]
    words += ["--config", config, "--output-path", directory / "boundary"]
    made = subprocess.run(
        [sys.executable, "-c", "from openapi_python_client.cli import app; app()", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert made.returncode == 0, made.stdout
    sys.path.insert(0, str(directory))


def exchange(facts, client, models):
    def call(name, caller, wanted=200, /, **arguments):
        # The generator converts camelCase names to snake_case.
        snake = "".join("_" + c.lower() if c.isupper() else c for c in name)
        operation = importlib.import_module(f"boundary.api.default.{snake}")
        answer = operation.sync_detailed(client=caller, **arguments)
        assert answer.status_code == wanted, (name, answer.status_code, answer.content)
        return answer.parsed

    key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(facts["seed"]))

    def signature(kind, body):
        pae = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(body), body)
        return models.EnvelopeSignature(keyid=facts["keyid"], sig=base64.b64encode(key.sign(pae)).decode())

    options = {"base_url": facts["url"], "raise_on_unexpected_status": True, "timeout": 60.0}
    stranger = client.Client(**options)
    agent = client.AuthenticatedClient(token=facts["agent"], **options)
    reader = client.AuthenticatedClient(token=facts["reader"], **options)
    status = models.ProposalStatus

    assert call("ready", stranger).ready
    assert call("version", stranger).api == "v1"
    registry = call("registry", agent)
    assert facts["step"] in [step.ref for step in registry.steps]
    step = call("step", agent, ref=facts["step"])
    assert step.sandbox.to_dict() and step.definition.to_dict()["ref"] == facts["step"]

    # A proposal with wrong parameters gets a problem document that names the wrong fields.
    wrong = propose(models, facts["step"], {"text": 1})
    problem = call("propose", agent, 422, body=wrong)
    assert isinstance(problem, models.Problem) and problem.type_ == "/problems/invalid-params", problem
    assert [error.pointer for error in problem.errors] == ["/params/text"], problem

    # Propose, list, sign, wait.
    proposal = call("propose", agent, 201, body=propose(models, facts["step"], {"text": "héllo"}))
    assert proposal.status is status.PENDING and proposal.params.to_dict() == {"text": "héllo"}
    assert call("propose", agent, 200, body=propose(models, facts["step"], {"text": "héllo"})).id == proposal.id
    listed = call("proposals", reader, status="pending")
    assert [one.id for one in listed.proposals] == [proposal.id]
    signed = models.Signatures(signatures=[signature(IN_TOTO, base64.b64decode(proposal.payload))])
    assert call("sign", stranger, id=proposal.id, body=signed).status is not status.PENDING
    while (finished := call("proposal", agent, id=proposal.id, wait="20")).status is not status.FINISHED:
        assert finished.status in (status.APPROVED, status.RUNNING), finished
    assert finished.outcome.status is models.Status.SUCCEEDED, finished
    events = call("events", agent, id=proposal.id).splitlines()
    assert any("héllo" in line for line in events), events

    # Fetch the receipt, the output, the bundle and proofs, and let the boundary verify the bundle.
    receipt = call("receipt", agent, id=finished.receipt)
    statement = json.loads(base64.b64decode(receipt.envelope.payload))
    output = statement["predicate"]["output"]["stdout"]["blake3"]
    raw = importlib.import_module("boundary.api.default.output").sync_detailed(client=agent, digest=output)
    assert raw.content.decode() == "héllo\n", raw
    bundle = call("bundle", agent, id=finished.receipt)
    assert bundle.receipt.payload == receipt.envelope.payload
    assert call("verify", reader, body=bundle).verified
    checkpoint = call("checkpoint", stranger)
    assert int(checkpoint.splitlines()[1]) > receipt.index
    assert call("consistencyProof", stranger, old="1", new=checkpoint.splitlines()[1]).old == 1

    # Submit a signed envelope twice: the refusal of the second submission names the receipt of the first.
    offline = call("propose", agent, 201, body=propose(models, facts["step"], {"text": "again"}))
    envelope = models.Envelope(
        payload=offline.payload,
        payload_type=IN_TOTO,
        signatures=[signature(IN_TOTO, base64.b64decode(offline.payload))],
    )
    crossed = call("submit", agent, body=envelope)
    replayed = call("submit", agent, 409, body=envelope)
    assert replayed.type_ == "/problems/nonce-replayed", replayed
    assert call("receipt", agent, id=replayed.receipt).envelope.payload == crossed.receipt.payload

    # Cancel one proposal before its run and another proposal during its run.
    waiting = call("propose", agent, 201, body=propose(models, facts["slow"], {}))
    assert call("cancel", agent, id=waiting.id).status is status.CANCELLED
    again = propose(models, facts["slow"], {}, reason="another")
    assert call("propose", agent, 200, body=again).reason_not_taken
    again.new = True
    running = call("propose", agent, 201, body=again)
    signed = models.Signatures(signatures=[signature(IN_TOTO, base64.b64decode(running.payload))])
    call("sign", stranger, id=running.id, body=signed)
    while call("proposal", agent, id=running.id, wait="1").status is not status.RUNNING:
        pass
    call("cancel", agent, id=running.id)
    while (ended := call("proposal", agent, id=running.id, wait="5")).status is not status.FINISHED:
        pass
    assert ended.outcome.status is models.Status.CANCELLED, ended

    # An approver who signs a challenge may read proposals.
    text = call("challenge", stranger, body=models.ChallengeRequest(keyid=facts["keyid"])).challenge
    answer = models.ChallengeAnswer(challenge=text, signature=signature(CHALLENGE, text.encode()))
    admission = call("answerChallenge", stranger, body=answer)
    approver = client.AuthenticatedClient(token=admission.bearer, **options)
    assert len(call("proposals", approver).proposals) == 4
    assert call("proposals", stranger, 401).type_ == "/problems/unauthenticated"


def propose(models, step, params, reason="asked by a generated client"):
    return models.Propose(step=step, params=models.ProposeParams.from_dict(params), reason=reason)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
