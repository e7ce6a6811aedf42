// Drives the pages of `countersign console --audit` in a real browser. Each story has the name of what it proves.
//
//   node auditor.mjs PROGRAM BROWSER     (scripts/check-pages installs what this needs, and calls it)
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { environment, findings, LOOKS, play, Served } from "./browser.mjs";

const golden = join(dirname(fileURLToPath(import.meta.url)), "../conformance/golden/valid");
const roster = join(golden, "roster.json");
const HOSTILE = `=1+1<script>document.title="owned"<img src=x onerror=alert(1)>\u202e.bundle.json`;

/** Starts the pages of an auditor over a directory with bundles. */
async function audited() {
  const home = mkdtempSync(join(tmpdir(), "countersign-auditor-"));
  const folder = join(home, "bundles");
  mkdirSync(folder);
  const bundle = readFileSync(join(golden, "bundle.json"));
  for (let at = 0; at < 240; at += 1) writeFileSync(join(folder, `run-${at}.json`), bundle);
  writeFileSync(join(folder, "cut.bundle.json"), bundle.subarray(0, 5000));
  writeFileSync(join(folder, HOSTILE), "{}");
  writeFileSync(join(folder, "notes.txt"), "no bundle");
  const served = await Served.start(["console", "--audit", folder, "--roster", roster], home, environment(home));
  const stop = () => {
    served.stop();
    rmSync(home, { recursive: true, force: true });
  };
  return [[Object.assign(served, { home, folder })], stop];
}

const rows = (page) => page.locator("table.decisions tbody tr");

const stories = {
  async "an auditor filters the table, reads the checks of a row, and adds a bundle, without JavaScript"(browser, audited) {
    const { page } = await audited.enter(browser, { javaScriptEnabled: false });
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
  },

  async "verdict and step stand in a window of 1280 px, and the terminal counts the bundles that are read"(browser, audited) {
    assert.match(audited.said(), /making each decision again[^]*\d+ of 243 files/);
    const { page } = await audited.enter(browser, { viewport: { width: 1280, height: 800 } });
    for (const name of ["Step", "Verdict"]) {
      const heading = page.locator("table.decisions thead th", { hasText: new RegExp(`^${name}$`) });
      const place = await heading.boundingBox();
      assert.ok(place && place.x >= 0 && place.x + place.width <= 1280, `${name}: ${JSON.stringify(place)}`);
    }
  },

  async "text of the evidence is never markup, and no request leaves the machine"(browser, audited) {
    const { page, origin } = await audited.enter(browser);
    await page.goto(`${origin}/?verdict=fails&person=%3Cscript%3E`);
    assert.equal(await page.getByLabel("Proposer or approver").inputValue(), "<script>");
    await page.goto(`${origin}/?verdict=fails`);
    assert.match(await rows(page).nth(0).textContent(), /=1\+1<script>document\.title="owned"<img .*\\u\{202e\}/);
    await rows(page).nth(0).getByRole("link").click();
    assert.match(await page.locator("main").textContent(), /NOT VERIFIED/);
    assert.equal(await page.locator("img, iframe, script:not([src])").count(), 0);
    assert.notEqual(await page.title(), "owned");
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
    const found = [];
    for (const [name, look] of Object.entries(LOOKS)) {
      const { page, origin } = await audited.enter(browser, look);
      for (const path of ["/", "/?verdict=fails", "/?since=never", "/?person=nobody", "/row/0", "/row/241", "/none"]) {
        await page.goto(origin + path);
        found.push(...(await findings(page, `${path}, ${name}`)));
      }
    }
    assert.deepEqual(found, []);
  },
};

await play(stories, audited);
