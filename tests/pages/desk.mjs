// Drives the pages of `countersign console --desk` in a real browser with virtual passkeys, against a real boundary. Each story
// has the name of what it proves.
//
//   node desk.mjs PROGRAM BROWSER     (scripts/check-pages installs what this needs, and calls it)
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { appendFileSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Boundary, STEPS } from "./boundary.mjs";
import { findings, firstLine, LOOKS, play } from "./browser.mjs";

const HOST = "desk.example";
/** With these lines, the text of a review has 60 lines. */
const LINES = Array.from({ length: 42 }, (_, at) => `echo "this is line ${at}"`).join("\n");
const WITH_LINES = `${STEPS}
\`\`\`bash {#lines}
${LINES}
\`\`\`
`;

function must(command, words, options = {}) {
  const done = spawnSync(command, words, { encoding: "utf8", ...options });
  assert.equal(done.status, 0, `${command} ${words.join(" ")}: ${done.stdout}${done.stderr}`);
  return done.stdout;
}

/** A certificate for the desk, and the hash by which the browser of the tests trusts it. */
const tls = mkdtempSync(join(tmpdir(), "countersign-desk-"));
writeFileSync(join(tls, "cnf"), `[req]\ndistinguished_name=d\nx509_extensions=e\n[d]\n[e]\nsubjectAltName=DNS:${HOST}\nbasicConstraints=CA:FALSE\n`);
const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem"];
must("openssl", ["req", "-x509", "-config", "cnf", ...key, "-days", "2", "-subj", `/CN=${HOST}`, "-out", "cert.pem"], { cwd: tls });
const spki = new X509Certificate(readFileSync(join(tls, "cert.pem"))).publicKey.export({ type: "spki", format: "der" });
const pin = createHash("sha256").update(spki).digest("base64");

/** A running desk. */
class Desk {
  static async start(boundary) {
    const own = new Desk();
    own.wrong = [];
    own.showRoster(boundary);
    const options = ["--host", HOST, "--certificate", join(tls, "cert.pem"), "--certificate-key", join(tls, "key.pem")];
    const words = ["console", "--desk", ...options, "--listen", "127.0.0.1:0", "--roster", "roster.json"];
    const [child, line] = await firstLine(words, boundary.home, boundary.env);
    own.process = child;
    own.origin = line.match(/https:\/\/\S+/)?.[0];
    assert.ok(own.origin, line);
    return own;
  }

  /** Gives the desk the roster in force. */
  showRoster(boundary) {
    writeFileSync(join(boundary.home, "roster.json"), boundary.run(["roster", "show", "--json", "--config", "b"]));
  }

  /** Opens a page with a virtual authenticator: a phone, unless the options say otherwise. */
  async open(browser, device = {}, look = {}) {
    const context = await browser.newContext({ viewport: { width: 390, height: 844 }, ...look });
    context.setDefaultTimeout(20_000);
    context.on("request", (request) => {
      if (!request.url().startsWith(this.origin)) this.wrong.push(`a request to ${request.url()}`);
    });
    context.on("console", (message) => {
      if (/Content.Security.Policy|Refused to/.test(message.text())) this.wrong.push(message.text());
    });
    const page = await context.newPage();
    const cdp = await context.newCDPSession(page);
    await cdp.send("WebAuthn.enable");
    const phone = { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true };
    const options = { ...phone, automaticPresenceSimulation: true, ...device };
    const { authenticatorId } = await cdp.send("WebAuthn.addVirtualAuthenticator", { options });
    return { context, page, device: (change) => cdp.send("WebAuthn.setUserVerified", { authenticatorId, ...change }) };
  }

  /** Makes a passkey on the page, puts its line into the roster of the boundary, and returns the line. */
  async enrol(page, boundary, policy = "{most: 1, alone: false, synced: false}") {
    await page.goto(`${this.origin}/enrol`);
    await page.getByLabel("Your name in the roster").fill("alice");
    await page.getByRole("button", { name: "Make the passkey" }).click();
    const line = await page.locator("#line").textContent();
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin: this.origin });
    await page.getByRole("button", { name: "Copy the line" }).click();
    await page.getByRole("button", { name: "Copied" }).waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), line);
    const fingerprint = await page.locator("#fingerprint").textContent();
    writeFileSync(join(boundary.home, "phone.pub"), `${line}\n`);
    assert.ok(must("ssh-keygen", ["-lf", "phone.pub"], { cwd: boundary.home }).includes(fingerprint), fingerprint);
    appendFileSync(join(boundary.home, "b/boundary/policy.yaml"), `passkeys: ${policy}\n`);
    const added = ["roster", "add", "approver", "alice", "--key", "phone.pub", "--config", "b", "--json"];
    const { digest } = JSON.parse(boundary.run(added));
    const draft = "b/boundary/roster.d/next.json";
    for (const own of [[], ["--key", "bob.pem"]]) {
      boundary.run(["roster", "sign", draft, "--yes", "--expect", digest, ...own]);
    }
    boundary.run(["seal", "--config", "b"]);
    this.showRoster(boundary);
    return line;
  }

  async logIn(page, path = "/login") {
    await page.goto(this.origin + path);
    await page.getByLabel("Your name in the roster").fill("alice");
    await page.getByRole("button", { name: "Log in with your passkey" }).click();
    await page.getByRole("button", { name: "Use your passkey" }).click();
    await page.waitForURL((url) => !url.pathname.startsWith("/login"));
  }

  /** Signs the review that the page shows. */
  async sign(page) {
    const digits = (await page.locator("#digits-hint code").textContent()).slice(-8);
    await page.getByLabel("The last 8 digits").fill(digits);
    await page.getByRole("button", { name: "Sign as alice, with your passkey" }).click();
  }

  stop() {
    this.process.kill("SIGINT");
  }
}

const view = (boundary, id) => JSON.parse(boundary.run(["review", id, "--json"]));

function approve(boundary, id, words) {
  boundary.run(["approve", id, "--yes", "--expect", view(boundary, id).digest, ...words]);
}

async function verified(page) {
  for (let at = 0; at < 50 && !(await page.getByText("Verified on this machine").count()); at += 1) {
    await page.waitForTimeout(200);
    await page.reload();
  }
  return page.locator("main").textContent();
}

const stories = {
  async "a person makes a passkey, and with the link of a message and another person the run starts"(browser, boundary, desk) {
    const { page } = await desk.open(browser);
    const line = await desk.enrol(page, boundary);
    const id = boundary.propose("steps:say", "from a phone", "p99 is up");
    await desk.logIn(page, `/p/prod/${id}`);
    assert.equal(new URL(page.url()).pathname, `/b/0/review/${id}`);
    await page.getByLabel("The last 8 digits").fill("00000000");
    await page.getByRole("button", { name: "Sign as alice, with your passkey" }).click();
    await page.getByText("Nothing was signed. This page shows the review again").waitFor();
    await desk.sign(page);
    await page.waitForURL(/\/run\//);
    assert.match(await page.locator("main").textContent(), /pending[^]*1 of 1 signatures, by alice[^]*with another key than a passkey/);
    approve(boundary, id, ["--key", "bob.pem"]);
    assert.match(await verified(page), /from a phone[^]*approved by alice, bob/);
    // The standard tool verifies the signature that the desk sent.
    const token = readFileSync(join(boundary.home, "agent.token"), "utf8").trim();
    const bundle = await fetch(`${boundary.started.url}/v1/receipts/${id.replace("prp_", "rcp_")}/bundle`, { headers: { authorization: `Bearer ${token}` } });
    const { authorization } = await bundle.json();
    const { payload, payloadType, signatures } = authorization;
    const body = Buffer.from(payload, "base64");
    const message = Buffer.concat([Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${body.length} `), body]);
    const blob = signatures.map(({ sig }) => sig).find((sig) => sig.length > 200);
    writeFileSync(join(boundary.home, "sig"), `-----BEGIN SSH SIGNATURE-----\n${blob.replace(/.{70}/g, "$&\n")}\n-----END SSH SIGNATURE-----\n`);
    writeFileSync(join(boundary.home, "allowed"), `alice namespaces="countersign" ${line}\n`);
    const words = ["-Y", "verify", "-f", "allowed", "-I", "alice", "-n", "countersign", "-s", "sig"];
    assert.match(must("ssh-keygen", words, { cwd: boundary.home, input: message }), /Good "countersign" signature for alice/);
  },

  async "a person denies a run, and freezes the boundary, with a passkey"(browser, boundary, desk) {
    const { page } = await desk.open(browser);
    await desk.enrol(page, boundary);
    await desk.logIn(page);
    const id = boundary.propose("steps:say", "no", "just so");
    await page.goto(`${desk.origin}/b/0/review/${id}`);
    await page.getByLabel("Reason of a denial").fill("not now");
    await page.getByLabel("I know that a denial").check();
    await page.getByRole("button", { name: "Deny" }).click();
    assert.match(await page.locator("#review").textContent(), /You deny this statement[^]*"not now"/);
    await page.getByRole("button", { name: "Sign with your passkey" }).click();
    await page.waitForURL(/\/run\//);
    assert.match(await page.locator("main").textContent(), /denied[^]*alice's words: "not now"/);
    await page.getByRole("link", { name: "Freeze" }).click();
    await page.getByLabel("Reason").fill("a test");
    await page.getByLabel("Type freeze").fill("freeze");
    await page.getByRole("button", { name: "Sign the freeze" }).click();
    await page.getByRole("button", { name: "Sign with your passkey" }).click();
    await page.getByText("the boundary is frozen").waitFor();
    assert.equal((await fetch(`${boundary.started.url}/ready`)).status, 503);
  },

  async "a security key with a PIN signs, and a device without the person or the passkey signs nothing"(browser, boundary, desk) {
    const { page, device } = await desk.open(browser, { transport: "usb" });
    await desk.enrol(page, boundary);
    await desk.logIn(page);
    const id = boundary.propose("steps:say", "touched", "with a PIN");
    await page.goto(`${desk.origin}/b/0/review/${id}`);
    await device({ isUserVerified: false });
    await desk.sign(page);
    await page.getByText(/Nothing was signed: the passkey did not answer/).waitFor();
    assert.equal(view(boundary, id).signed_by.length, 0);
    await device({ isUserVerified: true });
    await page.getByRole("button", { name: "Sign as alice, with your passkey" }).click();
    await page.waitForURL(/\/run\//);
    assert.match(await page.locator("main").textContent(), /by alice/);
    const other = await desk.open(browser);
    await other.page.goto(`${desk.origin}/login`);
    await other.page.getByLabel("Your name in the roster").fill("alice");
    await other.page.getByRole("button", { name: "Log in with your passkey" }).click();
    await other.page.getByRole("button", { name: "Use your passkey" }).click();
    await other.page.getByText(/Nothing was signed: the passkey did not answer/).waitFor();
    // Without the script, no passkey is asked.
    const plain = await desk.open(browser, {}, { javaScriptEnabled: false });
    await plain.page.goto(`${desk.origin}/enrol`);
    assert.match(await plain.page.locator("main").textContent(), /A passkey needs JavaScript/);
  },

  async "a copied passkey signs only if policy permits copies"(browser, boundary, desk) {
    const { page } = await desk.open(browser, { defaultBackupEligibility: true, defaultBackupState: true });
    await desk.enrol(page, boundary, "{most: 1, alone: true, synced: true}");
    await desk.logIn(page);
    const id = boundary.propose("steps:say", "copied", "policy permits it");
    await page.goto(`${desk.origin}/b/0/review/${id}`);
    await desk.sign(page);
    await page.waitForURL(/\/run\//);
    // With `alone: true`, this signature is enough.
    assert.match(await verified(page), /copied[^]*approved by alice/);
  },

  async "a review of 60 lines takes two screens of a phone and at most 100 KB"(browser, boundary, desk) {
    const { context, page } = await desk.open(browser);
    await desk.enrol(page, boundary);
    await desk.logIn(page);
    const id = boundary.propose("steps:lines", "", "p99 is up");
    const cdp = await context.newCDPSession(page);
    await cdp.send("Network.enable");
    let bytes = 0;
    cdp.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
    await cdp.send("Emulation.setCPUThrottlingRate", { rate: 4 });
    await page.goto(`${desk.origin}/b/0/review/${id}`, { waitUntil: "networkidle" });
    const ready = await page.evaluate(() => performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd);
    const end = await page.locator("#review").evaluate((review) => Math.round(review.getBoundingClientRect().bottom));
    console.log(`review of 60 lines: ${bytes} bytes, ${end} px, DOM ready after ${Math.round(ready)} ms at a quarter of the speed (goal 300)`);
    assert.equal(await page.locator("#review .line").count(), 60);
    assert.ok(end <= 2 * 844 && bytes <= 100_000, `${end} px, ${bytes} bytes`);
  },

  async "axe finds nothing under WCAG 2.2 A and AA in any look"(browser, boundary, desk) {
    const first = await desk.open(browser);
    await desk.enrol(first.page, boundary);
    const found = [...(await findings(first.page, "enrolled"))];
    await desk.logIn(first.page);
    const id = boundary.propose("steps:say", "one", "p99 is up");
    const state = await first.context.storageState();
    for (const [name, look] of Object.entries(LOOKS)) {
      const { context, page } = await desk.open(browser, {}, { ...look, storageState: state });
      const see = async (place) => found.push(...(await findings(page, `${place}, ${name}`)));
      for (const path of ["/login", "/enrol", "/", `/b/0/review/${id}`, "/b/0/freeze", "/b/0/my-key"]) {
        await page.goto(desk.origin + path);
        await see(path);
      }
      await page.goto(`${desk.origin}/login`);
      await page.getByLabel("Your name in the roster").fill("alice");
      await page.getByRole("button", { name: "Log in with your passkey" }).click();
      await see("passkey of the login");
      // This device has no passkey.
      await page.getByRole("button", { name: "Use your passkey" }).click();
      await page.getByText(/Nothing was signed/).waitFor();
      await see("no passkey");
      await page.goto(`${desk.origin}/b/0/my-key`);
      await page.getByLabel("Type revoke").fill("revoke");
      await page.getByRole("button", { name: "Show the revocation to sign" }).click();
      await see("revocation");
      await context.close();
    }
    assert.deepEqual(found, []);
  },
};

const setUp = async () => {
  const boundary = await Boundary.start(WITH_LINES);
  const desk = await Desk.start(boundary);
  const stop = async () => {
    desk.stop();
    await boundary.stop();
  };
  return [[boundary, desk], stop];
};

await play(stories, setUp, [`--host-resolver-rules=MAP ${HOST} 127.0.0.1`, `--ignore-certificate-errors-spki-list=${pin}`]);
