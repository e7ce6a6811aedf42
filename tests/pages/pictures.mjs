// Makes the pictures of the docs: a notebook, a review and the table of an auditor.
//
//   node pictures.mjs PROGRAM BROWSER     (scripts/check-pages --pictures calls it)
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Boundary } from "./boundary.mjs";
import { environment, play, Served } from "./browser.mjs";

const docs = join(dirname(fileURLToPath(import.meta.url)), "../../docs/pictures");
const golden = join(dirname(fileURLToPath(import.meta.url)), "../conformance/golden/valid");
const look = { viewport: { width: 1000, height: 720 } };
const STEPS = `---
countersign: 1
title: A web server
params:
  host: {type: string, pattern: "^web-[0-9]+$", description: "Name of the server"}
approvals: {required: 1, from: [ops]}
defaults: {timeout: 60s, memory: 64MiB, processes: 20}
---

# Restart a web server

Look first, then restart. The restart takes about a second.

\`\`\`bash {#look}
echo "$PARAM_HOST answers"; printf '\\033[32mall workers are busy\\033[0m\\n'
\`\`\`

\`\`\`bash {#restart}
echo "restarting $PARAM_HOST"
\`\`\`
`;

async function notebook() {
  const home = mkdtempSync(join(tmpdir(), "countersign-pictures-"));
  writeFileSync(join(home, "web.md"), STEPS);
  const served = await Served.start(["open", "web.md", "--sandbox"], home, environment(home));
  return [[served], () => (served.stop(), rmSync(home, { recursive: true, force: true }))];
}

async function companion() {
  const boundary = await Boundary.start(STEPS);
  const served = await Served.start(["console"], boundary.home, boundary.env);
  return [[boundary, served], () => (served.stop(), boundary.stop())];
}

async function auditor() {
  const home = mkdtempSync(join(tmpdir(), "countersign-pictures-"));
  mkdirSync(join(home, "evidence"));
  const names = ["bundle.json", "bundle-outputs.json", "bundle-plan.json", "bundle-session.json", "bundle-sshsig.json"];
  for (const name of names) copyFileSync(join(golden, name), join(home, "evidence", name));
  const words = ["console", "--audit", "evidence", "--roster", join(golden, "roster.json")];
  const served = await Served.start(words, home, environment(home));
  return [[served], () => (served.stop(), rmSync(home, { recursive: true, force: true }))];
}

await play(
  {
    async "docs/pictures/notebook.png"(browser, served) {
      const { page } = await served.enter(browser, { viewport: { width: 1000, height: 1000 } });
      const step = page.locator('section[aria-label="look"]');
      await step.getByLabel("host").fill("web-3");
      await step.getByRole("button", { name: "Run look" }).click();
      await page.locator('section[aria-label="look"][data-state="passed"]').waitFor();
      await page.screenshot({ path: join(docs, "notebook.png") });
    },
  },
  notebook,
);
await play(
  {
    async "docs/pictures/review.png"(browser, boundary, served) {
      const words = ["propose", "steps:restart", "--reason", "p99 is up", "-p", "host=web-3", "--json", "--token-file", "agent.token"];
      const { id } = JSON.parse(boundary.run(words));
      const { page, origin } = await served.enter(browser, look);
      await page.goto(`${origin}/b/0/review/${id}`);
      await page.screenshot({ path: join(docs, "review.png"), fullPage: true });
    },
  },
  companion,
);
await play(
  {
    async "docs/pictures/auditor.png"(browser, served) {
      const { page } = await served.enter(browser, { viewport: { width: 1250, height: 800 } });
      await page.screenshot({ path: join(docs, "auditor.png") });
    },
  },
  auditor,
);
