// Drives the pages of `countersign console` in a real browser, against a real boundary. Each story has the name of what it
// proves.
//
//   node companion.mjs PROGRAM BROWSER [--pictures DIR]     (scripts/check-pages installs what this needs, and calls it)
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const load = createRequire(process.env.COUNTERSIGN_PAGES_PACKAGES);
const { chromium } = load("playwright-core");
const axe = load("axe-core");
const [program, executablePath, option, pictures] = process.argv.slice(2);

const STEPS = `---
countersign: 1
title: Steps of a test
params:
  text: {type: string, default: hello, maxLength: 4000}
approvals: {required: 1, from: [ops]}
defaults: {timeout: 60s, memory: 64MiB, processes: 20}
---

\`\`\`bash {#say}
printf '%s\\n' "$PARAM_TEXT"
\`\`\`

\`\`\`bash {#wait}
echo started
exec sleep 600
\`\`\`
`;
const HOSTILE = '<img src=http://192.0.2.1/x onerror=alert(1)><script>document.title="owned"</script> == Decision ==';

/** A boundary with one approver, and programs that act as this approver and as an agent. */
class Boundary {
  static async start() {
    const own = new Boundary();
    own.home = mkdtempSync(join(tmpdir(), "countersign-companion-"));
    own.env = { ...process.env, HOME: own.home };
    for (const name of ["XDG_CONFIG_HOME", "COUNTERSIGN_URL", "COUNTERSIGN_TOKEN", "COUNTERSIGN_TRUST", "COUNTERSIGN_KEY", "SSH_AUTH_SOCK"]) {
      delete own.env[name];
    }
    own.run(["key", "generate", "--comment", "alice"]);
    const key = join(own.home, ".config/countersign/key.pem");
    own.run(["init", "b", "--yes", "--approver", `alice=${key}.pub`].map((word) => word.replace("key.pem.pub", "key.pub")), false) ||
      own.run(["init", "b", "--yes", "--approver", `alice=${key}.pub`]);
    spawnSync("sh", ["-c", "rm -f b/runbooks/*.md"], { cwd: own.home });
    writeFileSync(join(own.home, "b/runbooks/steps.md"), STEPS);
    own.service = spawn(program, ["serve", "--listen", "127.0.0.1:0", "--json", "b"], { cwd: own.home, env: own.env });
    let complaints = "";
    own.service.stderr.on("data", (data) => (complaints += data));
    for await (const line of createInterface(own.service.stdout)) {
      own.started = JSON.parse(line).started;
      break;
    }
    assert.ok(own.started, `no boundary: ${complaints}`);
    own.env.COUNTERSIGN_URL = own.started.url;
    own.env.COUNTERSIGN_TRUST = own.started.roster;
    own.token = own.run(["token", "create", "agent", "--owner", "bob", "--scope", "propose", "--boundary-dir", "b"], false);
    return own;
  }

  run(words, must = true) {
    const done = spawnSync(program, words, { cwd: this.home, env: this.env, encoding: "utf8" });
    if (must) assert.equal(done.status, 0, `${words.join(" ")}: ${done.stdout}${done.stderr}`);
    return done.status === 0 ? done.stdout || " " : "";
  }
}
