// Measures how fast pages are, in a real browser. Nothing here fails because of a time.
//
//   node speed.mjs PROGRAM BROWSER     (scripts/check-pages --speed calls it with a release build)
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Boundary, STEPS } from "./boundary.mjs";
import { environment, play, Served } from "./browser.mjs";

const golden = join(dirname(fileURLToPath(import.meta.url)), "../conformance/golden/valid");
const LONG = Array.from({ length: 2000 }, (_, at) => `echo "this is line ${at}"`).join("\n");
const WITH_LONG = `${STEPS}
\`\`\`bash {#long}
${LONG}
\`\`\`
`;
const PACED = `---
countersign: 1
---

\`\`\`bash {#paced params=""}
for ((i = 0; i < 200; i++)); do
  next=$((\${EPOCHREALTIME/./} + 20000)); echo "at $EPOCHREALTIME"
  while ((\${EPOCHREALTIME/./} < next)); do :; done
done
\`\`\`
`;

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
const inMemory = (pid) => Number(readFileSync(`/proc/${pid}/status`, "utf8").match(/VmRSS:\s+(\d+) kB/)[1]);

/** Loads a page five times. Returns the median time until its DOM is ready, in milliseconds. */
async function ready(page, url) {
  const times = [];
  for (let at = 0; at < 5; at += 1) {
    await page.goto(url);
    times.push(await page.evaluate(() => performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd));
  }
  return Math.round(median(times));
}

async function companionPages() {
  const boundary = await Boundary.start(WITH_LONG);
  const companion = await Served.start(["console"], boundary.home, boundary.env);
  const stop = async () => {
    companion.stop();
    await boundary.stop();
  };
  return [[boundary, companion], stop];
}

const companionFigures = {
  async "a review of 2,000 lines, and an inbox of 500 proposals"(browser, boundary, companion) {
    const { page, origin } = await companion.enter(browser);
    const id = boundary.propose("steps:long", "", "long");
    console.log(`review of ${LONG.split("\n").length} lines: DOM ready after ${await ready(page, `${origin}/b/0/review/${id}`)} ms (goal 150)`);
    // A token has at most 20 pending proposals.
    for (let agent = 0; agent < 25; agent += 1) {
      boundary.run(["token", "create", `agent-${agent}`, "--config", "b", "--out", `${agent}.token`]);
      for (let at = 0; at < 20 - !agent; at += 1) boundary.propose("steps:say", `text ${at}`, "many", `${agent}.token`);
      // The complaints of the service are read only between calls that wait.
      await new Promise((resolve) => setTimeout(resolve));
    }
    console.log(`inbox of 500 proposals: DOM ready after ${await ready(page, `${origin}/`)} ms (goal 200)`);
  },

  async "100 pages that follow a run"(browser, boundary, companion) {
    const { context, page, origin } = await companion.enter(browser);
    const id = boundary.propose("steps:wait", "", "watched");
    await page.goto(`${origin}/b/0/review/${id}`);
    await page.getByLabel("The last 8 digits").fill((await page.locator("#digits-hint code").textContent()).slice(-8));
    await page.getByRole("button", { name: "Sign as alice" }).click();
    await page.locator("pre.output", { hasText: "started" }).waitFor();
    const [{ name, value }] = await context.cookies();
    const { hostname, port } = new URL(origin);
    const before = [inMemory(companion.process.pid), inMemory(boundary.service.pid)];
    const watch = () =>
      new Promise((resolve, reject) => {
        const headers = { host: `${hostname}:${port}`, cookie: `${name}=${value}` };
        const asked = http.get({ host: "127.0.0.1", port, path: `/b/0/events/${id}`, headers, agent: false }, (answer) => {
          if (answer.statusCode !== 200) reject(new Error(`status ${answer.statusCode}`));
          answer.once("data", () => resolve(asked));
        });
        asked.on("error", () => {});
      });
    /** Returns the median time of a proposal with its durable commit, in milliseconds. A token has at most 20 of them. */
    const proposals = async (agent) => {
      boundary.run(["token", "create", agent, "--config", "b", "--out", `${agent}.token`]);
      const token = readFileSync(join(boundary.home, `${agent}.token`), "utf8").trim();
      const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
      const times = [];
      for (let at = 0; at < 19; at += 1) {
        const began = performance.now();
        const body = JSON.stringify({ step: "steps:say", params: { text: `${agent} ${at}` }, reason: "measured" });
        const made = await fetch(`${boundary.started.url}/v1/proposals`, { method: "POST", headers, body });
        if (made.status !== 201) throw new Error(`status ${made.status}: ${await made.text()}`);
        times.push(performance.now() - began);
      }
      return median(times);
    };
    const alone = [await proposals("alone-1"), await proposals("alone-2")];
    const watchers = await Promise.all(Array.from({ length: 100 }, watch));
    const after = [inMemory(companion.process.pid), inMemory(boundary.service.pid)];
    const [own, served] = after.map((size, at) => Math.round((size - before[at]) / 100));
    console.log(`100 watchers: ${own} KiB each in the console, ${served} KiB each in the boundary (goal 290 KB)`);
    const watched = [await proposals("watched-1"), await proposals("watched-2")];
    console.log(`a proposal: ${Math.min(...alone).toFixed(2)} ms alone, ${Math.min(...watched).toFixed(2)} ms with 100 watchers`);
    for (const one of watchers) one.destroy();
    await page.close();
  },
};

async function notebookPages() {
  const home = mkdtempSync(join(tmpdir(), "countersign-pages-"));
  writeFileSync(join(home, "page.md"), PACED);
  const opened = await Served.start(["open", "page.md", "--sandbox", "--watch"], home, environment(home));
  const stop = () => {
    opened.stop();
    rmSync(home, { recursive: true, force: true });
  };
  return [[Object.assign(opened, { home })], stop];
}

const notebookFigures = {
  async "live output, from the write of a line to its place on the page"(browser, opened) {
    const { page } = await opened.enter(browser);
    await page.evaluate(() => {
      window.late = [];
      const output = document.querySelector('section[aria-label="paced"] .output');
      new MutationObserver((changes) => {
        const now = performance.timeOrigin + performance.now();
        for (const change of changes) {
          for (const node of change.addedNodes) {
            for (const [, at] of node.textContent.matchAll(/at (\d+\.\d+)/g)) window.late.push(now - at * 1000);
          }
        }
      }).observe(output, { childList: true });
    });
    await page.getByRole("button", { name: "Run paced" }).click();
    await page.locator('section[aria-label="paced"][data-state="passed"]').waitFor();
    const late = (await page.evaluate(() => window.late)).sort((a, b) => a - b);
    const at = (part) => late[Math.floor(late.length * part)].toFixed(1);
    console.log(`live output: ${late.length} lines, write to page p50 ${at(0.5)} ms, p99 ${at(0.99)} ms (goal 30)`);
  },

  async "a preview after a save"(browser, opened) {
    const { page, origin } = await opened.enter(browser);
    await page.goto(`${origin}/page/0/preview/0`);
    const times = [];
    for (let at = 0; at < 9; at += 1) {
      const began = Date.now();
      writeFileSync(join(opened.home, "page.md"), PACED.replace("at $EPOCH", `change ${at} $EPOCH`));
      await page.locator("pre.screen", { hasText: `change ${at} ` }).first().waitFor();
      times.push(Date.now() - began);
    }
    console.log(`preview: ${median(times)} ms after a save (goal 300)`);
  },
};

async function auditorPages() {
  const home = mkdtempSync(join(tmpdir(), "countersign-auditor-"));
  mkdirSync(join(home, "bundles"));
  const bundle = readFileSync(join(golden, "bundle.json"));
  for (let at = 0; at < 10_000; at += 1) writeFileSync(join(home, `bundles/run-${at}.json`), bundle);
  const began = Date.now();
  const words = ["console", "--audit", "bundles", "--roster", join(golden, "roster.json")];
  const audited = await Served.start(words, home, environment(home));
  const stop = () => {
    audited.stop();
    rmSync(home, { recursive: true, force: true });
  };
  return [[Object.assign(audited, { began })], stop];
}

const auditorFigures = {
  async "10,000 decisions in the table of an auditor"(browser, audited) {
    const { page } = await audited.enter(browser);
    await page.locator("table.decisions tbody tr").first().waitFor();
    console.log(`10,000 bundles: table ${((Date.now() - audited.began) / 1000).toFixed(1)} s after the start of the command (goal 3)`);
    console.log(`a filter over 10,000 rows: DOM ready after ${await ready(page, `${page.url()}?verdict=fails`)} ms`);
  },
};

await play(notebookFigures, notebookPages);
await play(companionFigures, companionPages);
await play(auditorFigures, auditorPages);
