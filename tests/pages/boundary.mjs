// A boundary for the tests of pages.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { environment, firstLine, program } from "./browser.mjs";

export const STEPS = `---
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
const POLICY = `version: 1
extends: none
default:
  mode: execute
  approvals: {required: 1, from: [ops]}
  standing: {max_uses: 20, max_days: 7}
  emergency: {required: 1, from: [ops], max_unreviewed: 9, max_window_s: 600, review: {required: 1, from: [ops]}}
`;
/** A boundary with two approvers and a proposer with a key, and programs that act as the first approver and as an agent. */
export class Boundary {
  static async start(steps = STEPS) {
    const own = new Boundary();
    own.home = mkdtempSync(join(tmpdir(), "countersign-companion-"));
    own.env = environment(own.home);
    own.run(["key", "generate", "--comment", "alice"]);
    for (const name of ["bob", "robot"]) own.run(["key", "generate", "--out", `${name}.pem`, "--comment", name]);
    const people = [`alice=${join(own.home, ".config/countersign/key.pub")}`, "bob=bob.pub"].flatMap((one) => ["--approver", one]);
    own.run(["init", "b", "--yes", "--name", "prod", ...people]);
    const robot = readFileSync(join(own.home, "robot.pub"), "utf8").trim();
    own.run(["roster", "--config", "b", "add", "proposer", "robot", "--owner", "rita", "--key", robot]);
    for (const name of readdirSync(join(own.home, "b/runbooks"))) rmSync(join(own.home, "b/runbooks", name));
    writeFileSync(join(own.home, "b/runbooks/steps.md"), steps);
    writeFileSync(join(own.home, "b/boundary/policy.yaml"), POLICY);
    const [service, line] = await firstLine(["serve", "--listen", "127.0.0.1:0", "--json", "b"], own.home, own.env);
    own.service = service;
    own.started = JSON.parse(line).started;
    assert.ok(own.started, `no boundary: ${line}`);
    own.env.COUNTERSIGN_URL = own.started.url;
    own.env.COUNTERSIGN_TRUST = own.started.roster;
    own.run(["token", "create", "agent", "--config", "b", "--out", "agent.token"]);
    return own;
  }

  run(words) {
    const done = spawnSync(program, words, { cwd: this.home, env: this.env, encoding: "utf8" });
    assert.equal(done.status, 0, `${words.join(" ")}: ${done.stdout}${done.stderr}`);
    return done.stdout;
  }

  /** Proposes as the agent. Returns the id. */
  propose(step, text, reason, token = "agent.token") {
    const words = ["propose", step, "--reason", reason, "--json", "--token-file", token];
    return JSON.parse(this.run(text ? [...words, "-p", `text=${text}`] : words)).id;
  }

  async stop() {
    const ended = new Promise((resolve) => this.service.once("exit", resolve));
    this.service.kill("SIGTERM");
    await ended;
    rmSync(this.home, { recursive: true, force: true });
  }
}
