// Drives the pages of `countersign console --audit` in a real browser. Each story has the name of what it proves.
//
//   node auditor.mjs PROGRAM BROWSER [PICTURE]     (scripts/check-pages installs what this needs, and calls it)
//
// With PICTURE, a picture of the table is written to this file.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const load = createRequire(process.env.COUNTERSIGN_PAGES_PACKAGES);
const { chromium } = load("playwright-core");
const axe = load("axe-core");
const [program, executablePath, picture] = process.argv.slice(2);
const golden = join(dirname(fileURLToPath(import.meta.url)), "../conformance/golden/valid");
const roster = join(golden, "roster.json");
const HOSTILE = `=1+1<script>document.title="owned"<img src=x onerror=alert(1)>\u202e.bundle.json`;

/** The pages of an auditor over a directory with bundles. */
class Audited {
  static async start() {
    const audited = new Audited();
    audited.home = mkdtempSync(join(tmpdir(), "countersign-auditor-"));
    audited.folder = join(audited.home, "bundles");
    mkdirSync(audited.folder);
    const bundle = readFileSync(join(golden, "bundle.json"));
    for (let at = 0; at < 240; at += 1) writeFileSync(join(audited.folder, `run-${at}.json`), bundle);
    writeFileSync(join(audited.folder, "cut.bundle.json"), bundle.subarray(0, 5000));
    writeFileSync(join(audited.folder, HOSTILE), "{}");
    writeFileSync(join(audited.folder, "notes.txt"), "no bundle");
    const env = { ...process.env, HOME: audited.home };
    for (const name of ["XDG_CONFIG_HOME", "COUNTERSIGN_TRUST", "COUNTERSIGN_TOKEN"]) delete env[name];
    const words = ["console", "--audit", audited.folder, "--roster", roster];
    audited.process = spawn(program, words, { cwd: audited.home, env });
    let complaints = "";
    audited.process.stderr.on("data", (data) => (complaints += data));
    for await (const line of createInterface(audited.process.stdout)) {
      audited.link = line.match(/http:\/\/\S+/)?.[0];
      break;
    }
    assert.ok(audited.link, `no address: ${complaints}`);
    return audited;
  }

  /** Opens the address in a new browser context, which notes each request that leaves the machine and each refusal of the
   * content security policy. */
  async enter(browser, options = {}) {
    const context = await browser.newContext(options);
    context.setDefaultTimeout(20_000);
    const wrong = [];
    const { host } = new URL(this.link);
    context.on("request", (request) => {
      if (new URL(request.url()).host !== host) wrong.push(`a request to ${request.url()}`);
    });
    context.on("console", (message) => {
      if (/Content.Security.Policy|Refused to/.test(message.text())) wrong.push(message.text());
    });
    context.on("weberror", (error) => wrong.push(String(error.error())));
    const page = await context.newPage();
    await page.goto(this.link);
    await page.getByRole("heading", { level: 1 }).waitFor();
    return { context, page, wrong, origin: `http://${host}` };
  }

  stop() {
    this.process.kill("SIGINT");
    rmSync(this.home, { recursive: true, force: true });
  }
}

async function findings(page, context) {
  await page.evaluate(axe.source);
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"];
  const found = await page.evaluate((values) => window.axe.run(document, { runOnly: { type: "tag", values } }), tags);
  return found.violations.map((one) => `${context}: ${one.id}: ${one.nodes.map((node) => node.html).join(" | ")}`);
}

const rows = (page) => page.locator("table.decisions tbody tr");

const stories = {
  async "an auditor filters the table, reads the checks of a row, and adds a bundle, without JavaScript"(browser, audited) {
    const { page, wrong } = await audited.enter(browser, { javaScriptEnabled: false });
    assert.equal(await rows(page).count(), 200);
    await page.getByRole("link", { name: "Further rows" }).first().click();
    assert.equal(await rows(page).count(), 42);
    await page.getByLabel("Verdict").selectOption("fails");
    await page.getByRole("button", { name: "Filter" }).click();
    assert.equal(await rows(page).count(), 2);
    await page.getByRole("link", { name: "Show every row" }).click();
    await page.getByRole("link", { name: "nginx:restart" }).first().click();
    assert.match(await page.getByLabel("All checks").textContent(), /established +quorum .*\n[^]*verdict +verified/);
    await page.getByRole("link", { name: "Back to the table" }).click();
    await page.getByLabel("Bundles").setInputFiles([join(golden, "bundle-sshsig.json"), roster]);
    await page.getByRole("button", { name: "Verify and add" }).click();
    assert.match(await page.locator("main").textContent(), /added 1 rows\. 1 of its files are no bundles/);
    assert.deepEqual(wrong, []);
  },

  async "a report that the browser saved is equal to its evidence, and is a page without a script"(browser, audited) {
    const { context, page, wrong } = await audited.enter(browser);
    const saved = page.waitForEvent("download");
    await page.getByRole("link", { name: "All rows as one HTML file" }).click();
    const file = join(audited.home, "report.html");
    await (await saved).saveAs(file);
    const words = ["audit", audited.folder, "--roster", roster, "--check-report", file];
    const checked = spawnSync(program, words, { env: { HOME: audited.home } });
    assert.equal(checked.status, 0, String(checked.stdout) + String(checked.stderr));
    assert.deepEqual(wrong, []);
    const report = await context.newPage();
    await report.goto(`file://${file}`);
    assert.equal(await report.locator("tbody").last().locator("tr").count(), 242);
    assert.equal(await report.locator("script, img").count(), 0);
    assert.equal(await report.title(), "Report of an audit");
    assert.deepEqual(await findings(report, "report"), []);
  },

  async "text of the evidence is never markup, and no request leaves the machine"(browser, audited) {
    const { page, wrong, origin } = await audited.enter(browser);
    await page.goto(`${origin}/?verdict=fails&person=%3Cscript%3E`);
    assert.equal(await page.getByLabel("Proposer or approver").inputValue(), "<script>");
    await page.goto(`${origin}/?verdict=fails`);
    assert.match(await rows(page).nth(0).textContent(), /=1\+1<script>document\.title="owned"<img .*\\u\{202e\}/);
    await rows(page).nth(0).getByRole("link").click();
    assert.match(await page.locator("main").textContent(), /NOT VERIFIED/);
    assert.equal(await page.locator("img, iframe, script:not([src])").count(), 0);
    assert.notEqual(await page.title(), "owned");
    assert.deepEqual(wrong, []);
  },

  async "the keyboard alone filters the table and scrolls it"(browser, audited) {
    const { page } = await audited.enter(browser, { viewport: { width: 320, height: 640 } });
    const reached = [];
    for (let at = 0; at < 30; at += 1) {
      await page.keyboard.press("Tab");
      reached.push(
        await page.evaluate(() => {
          const active = document.activeElement;
          return active.labels?.[0]?.textContent || active.getAttribute("aria-labelledby") || active.textContent.trim();
        }),
      );
      if (reached.at(-1) === "decisions") break;
    }
    const order = ["Skip to the page", "Step (", "Proposer or", "Outcome", "Verdict", "Since", "Until", "Filter", "decisions"];
    const places = order.map((name) => reached.findIndex((one) => one.startsWith(name)));
    assert.ok(!places.includes(-1), reached.join(" > "));
    assert.deepEqual(places, [...places].sort((a, b) => a - b), reached.join(" > "));
    for (let at = 0; at < 5; at += 1) await page.keyboard.press("ArrowRight");
    await page.waitForFunction(() => document.activeElement.scrollLeft > 0);
  },

  async "axe finds nothing under WCAG 2.2 A and AA in any look"(browser, audited) {
    const looks = {
      light: { colorScheme: "light" },
      dark: { colorScheme: "dark" },
      "forced colours": { forcedColors: "active" },
      "320 px": { viewport: { width: 320, height: 640 } },
      "200 %": { viewport: { width: 640, height: 400 }, deviceScaleFactor: 2 },
    };
    const found = [];
    let state;
    for (const [name, look] of Object.entries(looks)) {
      let page;
      if (state) {
        const context = await browser.newContext({ ...look, storageState: state.cookies });
        page = await context.newPage();
      } else {
        const entered = await audited.enter(browser, look);
        page = entered.page;
        state = { cookies: await entered.context.storageState(), origin: entered.origin };
      }
      for (const path of ["/", "/?verdict=fails", "/?since=never", "/?person=nobody", "/row/0", "/row/241", "/none"]) {
        await page.goto(state.origin + path);
        found.push(...(await findings(page, `${path}, ${name}`)));
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        if (wide > 0) found.push(`${path}, ${name}: ${wide} px wider than the window`);
      }
      if (picture) {
        await page.goto(state.origin);
        await page.screenshot({ path: picture.replace(/\.png$/, `-${name.replace(/\W+/g, "-")}.png`) });
        await page.goto(`${state.origin}/row/0`);
        await page.screenshot({ path: picture.replace(/\.png$/, `-row-${name.replace(/\W+/g, "-")}.png`) });
      }
    }
    assert.deepEqual(found, []);
  },
};

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
let failed = 0;
for (const [name, story] of Object.entries(stories)) {
  const audited = await Audited.start();
  const began = Date.now();
  try {
    await story(browser, audited);
    console.log(`ok      ${name} (${Date.now() - began} ms)`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n${error.stack}`);
  }
  for (const context of browser.contexts()) await context.close();
  audited.stop();
}
await browser.close();
process.exit(failed ? 1 : 0);
