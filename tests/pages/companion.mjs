// Drives the pages of `countersign console` and `open --boundary` in a real browser, against a real boundary. Each story has the name of what it
// proves.
//
//   node companion.mjs PROGRAM BROWSER [--pictures DIR]     (scripts/check-pages installs what this needs, and calls it)
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
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
const POLICY = "version: 1\nextends: none\ndefault:\n  mode: execute\n  approvals: {required: 1, from: [ops]}\n";
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
    own.run(["init", "b", "--yes", "--name", "prod", "--approver", `alice=${join(own.home, ".config/countersign/key.pub")}`]);
    for (const name of readdirSync(join(own.home, "b/runbooks"))) rmSync(join(own.home, "b/runbooks", name));
    writeFileSync(join(own.home, "b/runbooks/steps.md"), STEPS);
    writeFileSync(join(own.home, "b/boundary/policy.yaml"), POLICY);
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
    own.run(["token", "create", "agent", "--config", "b", "--out", "agent.token"]);
    return own;
  }

  run(words) {
    const done = spawnSync(program, words, { cwd: this.home, env: this.env, encoding: "utf8" });
    assert.equal(done.status, 0, `${words.join(" ")}: ${done.stdout}${done.stderr}`);
    return done.stdout;
  }

  /** Proposes as the agent. Returns the id. */
  propose(step, text, reason) {
    const words = ["propose", step, "--reason", reason, "--json", "--token-file", "agent.token"];
    return JSON.parse(this.run(text ? [...words, "-p", `text=${text}`] : words)).id;
  }

  async stop() {
    const ended = new Promise((resolve) => this.service.once("exit", resolve));
    this.service.kill("SIGTERM");
    await ended;
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** A running `countersign console`, or another command with pages, with what no browser may have caused. */
class Companion {
  static async start(boundary, words = ["console"]) {
    const own = new Companion();
    own.process = spawn(program, words, { cwd: boundary.home, env: boundary.env });
    let complaints = "";
    own.process.stderr.on("data", (data) => (complaints += data));
    for await (const line of createInterface(own.process.stdout)) {
      own.link = line.match(/http:\/\/\S+/)?.[0];
      break;
    }
    assert.ok(own.link, `no address: ${complaints}`);
    own.wrong = [];
    return own;
  }

  /** Opens the address in the first browser context. Later contexts get its cookie. */
  async enter(browser, options = {}) {
    const context = await browser.newContext({ ...options, storageState: this.state });
    context.setDefaultTimeout(20_000);
    const { host } = new URL(this.link);
    context.on("request", (request) => {
      if (new URL(request.url()).host !== host) this.wrong.push(`a request to ${request.url()}`);
    });
    context.on("console", (message) => {
      if (/Content.Security.Policy|Refused to/.test(message.text())) this.wrong.push(message.text());
    });
    context.on("weberror", (error) => this.wrong.push(String(error.error())));
    const page = await context.newPage();
    await page.goto(this.state ? `http://${host}/` : this.link);
    if (!this.state) await page.waitForURL((url) => url.host === host && !url.pathname.startsWith("/enter/"));
    this.state ??= await context.storageState();
    return { context, page, origin: `http://${host}` };
  }

  stop() {
    this.process.kill("SIGINT");
  }
}

async function findings(page, place) {
  await page.evaluate(axe.source);
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"];
  const found = await page.evaluate((values) => window.axe.run(document, { runOnly: { type: "tag", values } }), tags);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  const list = found.violations.map((one) => `${place}: ${one.id}: ${one.nodes.map((node) => node.html).join(" | ")}`);
  return wide > 0 ? [...list, `${place}: ${wide} px wider than the window`] : list;
}

async function digits(page) {
  return (await page.locator("#digits-hint code").textContent()).slice(-8);
}

const stories = {
  async "a person approves, watches the run and reads the verified receipt, and a double click signs once"(browser, boundary, companion) {
    boundary.propose("steps:say", "once <b>only</b>", "p99 is up");
    const { page } = await companion.enter(browser);
    await page.getByRole("link", { name: /^Review steps:say/ }).click();
    assert.match(await page.locator("#review").textContent(), /once <b>only<\/b>/);
    await page.getByLabel("The last 8 digits").fill("00000000");
    await page.getByRole("button", { name: "Sign as alice" }).click();
    assert.match(await page.getByRole("alert").textContent(), /nothing was signed/);
    await page.getByRole("link", { name: "Load the review again" }).click();
    await page.getByLabel("The last 8 digits").fill(await digits(page));
    await page.getByRole("button", { name: "Sign as alice" }).dblclick();
    await page.getByRole("link", { name: /Inbox|state of this proposal/ }).last().waitFor();
    await page.goto(new URL("/", page.url()).href);
    await page.getByRole("link", { name: /^Show steps:say/ }).first().click();
    for (let at = 0; at < 50 && !(await page.getByText("Verified on this machine").count()); at += 1) {
      await page.waitForTimeout(200);
      await page.reload();
    }
    assert.match(await page.locator("pre.output").first().textContent(), /once <b>only<\/b>/);
    assert.ok((await page.getByRole("row").count()) > 20);
  },

  async "output appears while the step runs, and a denial ends the run"(browser, boundary, companion) {
    boundary.propose("steps:wait", "", "watch");
    const { page } = await companion.enter(browser);
    await page.getByRole("link", { name: /^Review steps:wait/ }).click();
    await page.getByLabel("The last 8 digits").fill(await digits(page));
    await page.getByRole("button", { name: "Sign as alice" }).click();
    await page.locator("pre.output", { hasText: "started" }).waitFor();
    await page.getByRole("link", { name: "review and deny" }).click();
    await page.getByLabel("Reason of a denial").fill("enough");
    await page.getByLabel("I know that a denial").check();
    await page.getByRole("button", { name: "Deny, and end the run" }).click();
    for (let at = 0; at < 50 && !(await page.getByText("Verified on this machine").count()); at += 1) {
      await page.waitForTimeout(200);
      await page.reload();
    }
    assert.match(await page.locator("main").textContent(), /alice's words: "enough"/);
  },

  async "hostile text runs nothing, asks nobody and looks like no line of the program"(browser, boundary, companion) {
    boundary.propose("steps:say", HOSTILE.repeat(4), HOSTILE);
    boundary.propose("steps:say", `other ${HOSTILE}`, HOSTILE);
    const { page } = await companion.enter(browser, { viewport: { width: 320, height: 640 } });
    await page.getByRole("link", { name: /^Compare 2 proposals/ }).click();
    assert.equal(await page.locator("img, iframe, script:not([src])").count(), 0);
    await page.getByRole("link", { name: /^Review prp_/ }).first().click();
    assert.equal(await page.locator("img, iframe, script:not([src])").count(), 0);
    assert.equal(await page.locator("#review h2", { hasText: "Decision" }).count(), 0);
    // Each line of external text stays to the right of its prefix, however the browser wraps it.
    const outside = await page.locator("#review .line").evaluateAll((lines) =>
      lines.filter((line) => {
        const [before, after] = [line.querySelector(".before"), line.querySelector(".after")];
        if (!before || !after) return false;
        const range = document.createRange();
        range.selectNodeContents(after);
        const [first, ...others] = [...range.getClientRects()];
        // The first line begins after the prefix, and a line that continues is further right.
        return first.left < line.getBoundingClientRect().left + 10 || others.some((box) => box.left < first.left + 8);
      }).map((line) => line.textContent),
    );
    assert.deepEqual(outside, []);
    assert.notEqual(await page.title(), "owned");
  },

  async "every decision works without JavaScript"(browser, boundary, companion) {
    boundary.propose("steps:say", "plain", "without a script");
    const { page } = await companion.enter(browser, { javaScriptEnabled: false });
    await page.getByRole("link", { name: /^Review steps:say/ }).click();
    await page.getByLabel("The last 8 digits").fill(await digits(page));
    await page.getByRole("button", { name: "Sign as alice" }).click();
    for (let at = 0; at < 50 && !(await page.getByText("Verified on this machine").count()); at += 1) {
      await page.waitForTimeout(200);
      await page.goto(page.url());
    }
    assert.match(await page.locator("pre.output").first().textContent(), /plain/);
  },

  async "a person proposes a sealed step, the page follows signature and run, and every look is accessible"(browser, boundary) {
    const file = join(boundary.home, "steps.md");
    writeFileSync(file, STEPS.replace("echo started", "echo changed"));
    const proposing = await Companion.start(boundary, ["open", file, "--boundary", boundary.started.url, "--token-file", "agent.token"]);
    const step = (page, name) => page.locator(`section[aria-label="${name}"]`);
    const approve = (page) => {
      const id = page.url().split("/").at(-1);
      const { digest } = JSON.parse(boundary.run(["review", id, "--json"]));
      boundary.run(["approve", id, "--yes", "--expect", digest]);
    };
    try {
      const { page, origin } = await proposing.enter(browser);
      assert.match(await step(page, "wait").textContent(), /The file's step differs from the sealed step/);
      await step(page, "say").getByLabel("text").fill("x <b>only</b>");
      await step(page, "say").getByLabel("Reason").fill("p99 is up");
      await step(page, "say").getByRole("button", { name: "Propose say" }).dblclick();
      // The browser leaves the first answer for the second, which refuses the form.
      await page.getByText(/This form was sent before|0 of 1 signatures/).waitFor();
      if (!page.url().includes("/run/")) {
        await page.goto(`${origin}/page/0/`);
        await step(page, "say").getByRole("link", { name: /^…/ }).click();
      }
      await page.waitForURL(/\/run\//);
      const run = page.url().replace("?known", "");
      await page.goto(run);
      await page.getByText("0 of 1 signatures").waitFor();
      approve(page);
      await page.getByText("Verified on this machine").waitFor();
      assert.match(await page.locator("pre.output").first().textContent(), /x <b>only<\/b>/);
      await page.goto(`${origin}/page/0/`);
      assert.equal(await step(page, "say").getByRole("link", { name: /^…/ }).count(), 1);
      await step(page, "wait").getByRole("button", { name: "Propose wait" }).click();
      await page.waitForURL(/\/run\//);
      approve(page);
      await page.locator("pre.output", { hasText: "started" }).waitFor();
      await page.getByRole("button", { name: "Cancel as the proposer" }).click();
      await page.locator('#run[data-state="failed"]').waitFor();
      const found = [];
      const looks = { dark: { colorScheme: "dark" }, "320 px": { viewport: { width: 320, height: 640 } }, plain: { javaScriptEnabled: false } };
      for (const [name, look] of Object.entries(looks)) {
        const { context, page } = await proposing.enter(browser, look);
        const see = async (place) => name === "plain" || found.push(...(await findings(page, `${place}, ${name}`)));
        await page.goto(`${origin}/page/0/`);
        await step(page, "wait").locator("summary").click();
        await see("runbook");
        await step(page, "say").getByLabel("text").fill("-dash");
        await step(page, "say").getByRole("button", { name: "Propose say" }).click();
        await page.getByText("Nothing was proposed. The errors stand beside their fields.").waitFor();
        assert.equal(await page.getByLabel("text").getAttribute("aria-invalid"), "true");
        await see("wrong");
        await page.getByLabel("text").fill(name);
        await page.getByRole("button", { name: "Propose say" }).click();
        await page.getByText("0 of 1 signatures").waitFor();
        await see("waiting");
        await page.goto(run);
        await see("run");
        await context.close();
      }
      assert.deepEqual([...found, ...proposing.wrong], []);
    } finally {
      proposing.stop();
    }
  },

  async "axe finds nothing under WCAG 2.2 A and AA in any look"(browser, boundary, companion) {
    boundary.propose("steps:say", "one", "p99 is up");
    boundary.propose("steps:say", `two ${HOSTILE}`, "p99 is up");
    const looks = {
      light: { colorScheme: "light" },
      dark: { colorScheme: "dark" },
      "forced colours": { forcedColors: "active" },
      "320 px": { viewport: { width: 320, height: 640 } },
      "200 %": { viewport: { width: 640, height: 400 }, deviceScaleFactor: 2 },
    };
    const found = [];
    let run;
    for (const [name, look] of Object.entries(looks)) {
      const { context, page, origin } = await companion.enter(browser, look);
      const see = async (place) => {
        found.push(...(await findings(page, `${place}, ${name}`)));
        if (option === "--pictures") await page.screenshot({ path: join(pictures, `${place}-${name.replace(/\W+/g, "-")}.png`), fullPage: true });
      };
      await see("inbox");
      const review = await page.getByRole("link", { name: /^Review steps:say/ }).first().getAttribute("href");
      const compare = await page.getByRole("link", { name: /^Compare/ }).getAttribute("href");
      for (const [place, path] of [["review", review], ["compare", compare], ["steps", "/b/0/steps"]]) {
        await page.goto(origin + path);
        if (place === "review") await page.locator("summary").click();
        await see(place);
      }
      if (!run) {
        run = boundary.propose("steps:say", "three", "for the receipt");
        await page.goto(`${origin}/b/0/review/${run}`);
        await page.getByLabel("The last 8 digits").fill(await digits(page));
        await page.getByRole("button", { name: "Sign as alice" }).click();
        for (let at = 0; at < 50 && !(await page.getByText("Verified on this machine").count()); at += 1) {
          await page.waitForTimeout(200);
          await page.reload();
        }
      }
      await page.goto(`${origin}/b/0/run/${run}`);
      await see("run");
      await page.goto(`${origin}/b/0/review/${run}`);
      await see("refusal");
      await context.close();
    }
    assert.deepEqual(found, []);
  },
};

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
let failed = 0;
for (const [name, story] of Object.entries(stories)) {
  const began = Date.now();
  let boundary, companion;
  try {
    boundary = await Boundary.start();
    companion = await Companion.start(boundary);
    await story(browser, boundary, companion);
    assert.deepEqual(companion.wrong, []);
    console.log(`ok      ${name} (${Date.now() - began} ms)`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n${error.stack}`);
  }
  for (const context of browser.contexts()) await context.close();
  companion?.stop();
  await boundary?.stop();
}
await browser.close();
process.exit(failed ? 1 : 0);
