// Drives the pages of `countersign open` in a real browser. Each story has the name of what it proves.
//
//   node notebook.mjs PROGRAM BROWSER     (scripts/check-pages installs what this needs, and calls it)
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { environment, findings, LOOKS, play, Served } from "./browser.mjs";

const PAGE = `---
countersign: 1
params:
  who: {type: string, pattern: "^[a-z]+$", description: "Name of a person"}
  how: {type: string, enum: [fast, slow], default: slow}
---
# Deploy

Some **prose** with a [link](https://example.com/), a list:

- one
- two

| a | b |
|---|---|
| 1 | 2 |

\`\`\`bash {#hello params=who,how}
echo "hello $PARAM_WHO"; export LEFT="$PARAM_WHO"; n=$((n + 1)); export n; echo "run $n"
\`\`\`

## Later

\`\`\`bash {#warned params=""}
echo "left: $LEFT"; exit 2
\`\`\`

\`\`\`bash {#asks params=""}
sleep 0; echo after
\`\`\`

\`\`\`bash {#long params=""}
echo begun; while :; do :; done
\`\`\`

\`\`\`bash {#hostile params=""}
printf '<img src=http://192.0.2.1/x onerror=alert(1)><script>document.title="owned"</script>\\033]0;title\\007\\033[31mred\\033[0m\\n'
\`\`\`

\`\`\`bash {#wide params=""}
printf '%010485760d' 0; echo; echo end
\`\`\`
`;

const FLOW = `# Flow

## 1. Start
- PASS: GOTO 3

\`\`\`bash
echo "the start"
\`\`\`

## 2. Never

\`\`\`bash
echo never
\`\`\`

## 3. Look
- PASS: COMPLETE "all is well"
- FAIL: RETRY 1 STOP "it is red"

Is it green?
`;

const HOSTILE = `---
countersign: 1
---
# <script>document.title="owned"</script> <img src=http://192.0.2.1/y onerror=alert(1)>

![a](http://192.0.2.1/z.png) [b](javascript:alert(1)) <iframe src="http://192.0.2.1/"></iframe>

\`\`\`bash {#only params=""}
echo "</code></pre><script>document.title='owned'</script>"
\`\`\`
`;

/** Opens a directory with these files. */
async function open(files, ...options) {
  const home = mkdtempSync(join(tmpdir(), "countersign-pages-"));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(home, name), text);
  const opened = await Served.start(["open", ".", "--sandbox", ...options], home, environment(home));
  const stop = () => {
    opened.stop();
    rmSync(home, { recursive: true, force: true });
  };
  return [[Object.assign(opened, { home })], stop];
}

const step = (page, name) => page.locator(`section[aria-label="${name}"]`);
const run = (page, name) => step(page, name).getByRole("button", { name: `Run ${name}` }).click();
const until = (page, name, state) => page.locator(`section[aria-label="${name}"][data-state="${state}"]`).waitFor();
const output = (page, name) => step(page, name).locator(".output").textContent();

const stories = {
  async "a person fills in a form, runs steps in one session and answers a question"(browser, opened) {
    const { page } = await opened.enter(browser);
    await page.getByRole("link", { name: "page.md" }).click();
    assert.equal(await page.title(), "page.md - countersign");
    const hello = step(page, "hello");
    await hello.getByLabel("who").fill("BAD");
    await run(page, "hello");
    await page.getByRole("alert").waitFor();
    assert.match(await hello.locator(".error").textContent(), /does not match \^\[a-z\]\+\$/);
    assert.equal(await hello.getByLabel("who").inputValue(), "BAD");
    assert.deepEqual(await findings(page, "a form with an error"), []);
    await hello.getByLabel("who").fill("anna");
    await hello.getByLabel("how").selectOption("fast");
    await run(page, "hello");
    await until(page, "hello", "passed");
    assert.equal(await output(page, "hello"), "hello anna\nrun 1\n");
    await run(page, "warned");
    await until(page, "warned", "warned");
    assert.equal(await output(page, "warned"), "left: anna\n");
    await run(page, "asks");
    const question = step(page, "asks").getByRole("alertdialog");
    await question.waitFor();
    assert.equal(await question.getByRole("button").count(), 5);
    assert.ok(await question.getByRole("button").first().evaluate((button) => button === document.activeElement));
    await question.getByRole("button", { name: "allow once" }).click();
    await until(page, "asks", "passed");
    assert.match(await output(page, "asks"), /after/);
    await page.getByRole("button", { name: "Begin a new session" }).click();
    await until(page, "warned", "ready");
    await run(page, "warned");
    await until(page, "warned", "warned");
    assert.equal(await output(page, "warned"), "left: \n");
  },

  async "output appears while the step runs, in two tabs, and Stop ends the step"(browser, opened) {
    const { context, page } = await opened.enter(browser);
    await page.getByRole("link", { name: "page.md" }).click();
    const second = await context.newPage();
    await second.goto(page.url());
    await run(page, "long");
    for (const tab of [page, second]) await tab.locator('section[aria-label="long"] .output', { hasText: "begun" }).waitFor();
    assert.equal(await step(second, "long").getAttribute("data-state"), "running");
    await second.getByRole("button", { name: "Stop the step that runs" }).click();
    for (const tab of [page, second]) await until(tab, "long", "stopped");
  },

  async "a double click and a reload run nothing twice"(browser, opened) {
    const { page } = await opened.enter(browser);
    await page.getByRole("link", { name: "page.md" }).click();
    await step(page, "hello").getByLabel("who").fill("b");
    await step(page, "hello").getByRole("button", { name: "Run hello" }).dblclick();
    await until(page, "hello", "passed");
    await page.reload();
    await page.waitForTimeout(300);
    assert.equal(await output(page, "hello"), "hello b\nrun 1\n");
  },

  async "the page says that the program has ended, and a button that failed works again"(browser, opened) {
    const { page } = await opened.enter(browser);
    await page.getByRole("link", { name: "page.md" }).click();
    await step(page, "warned").waitFor();
    await page.waitForLoadState();
    const ended = new Promise((resolve) => opened.process.once("exit", resolve));
    opened.stop();
    await ended;
    const lost = page.getByRole("alert").filter({ hasText: "The program does not answer." });
    await lost.waitFor();
    await run(page, "warned");
    await page.waitForTimeout(300);
    assert.ok(await step(page, "warned").getByRole("button", { name: "Run warned" }).isEnabled());
    assert.equal(await lost.count(), 1);
    assert.deepEqual(await findings(page, "a program that has ended"), []);
  },

  async "Stop stands at the step that runs, and Run of another step names that step until it ends"(browser, opened) {
    const { page } = await opened.enter(browser);
    await page.getByRole("link", { name: "page.md" }).click();
    assert.equal(await page.getByRole("button", { name: /^Stop/ }).count(), 0, "nothing runs");
    await run(page, "long");
    const stop = step(page, "long").getByRole("button", { name: "Stop" });
    await stop.waitFor();
    await run(page, "warned");
    const told = step(page, "warned").getByRole("alert");
    assert.match(await told.textContent(), /^Not done: long runs now, and only one step runs at a time/);
    assert.equal(await step(page, "warned").getByRole("button", { name: "Stop" }).count(), 0);
    await stop.click();
    await until(page, "long", "stopped");
    assert.equal(await page.getByRole("alert").count(), 0, "the refusal is over");
    assert.equal(await page.getByRole("button", { name: /^Stop/ }).count(), 0);
    await run(page, "warned");
    await until(page, "warned", "warned");
  },

  async "errors of a corrected field are gone before the step ends"(browser, opened) {
    const { page } = await opened.enter(browser);
    await page.getByRole("link", { name: "page.md" }).click();
    await step(page, "hello").getByLabel("who").fill("BAD");
    await run(page, "hello");
    await page.getByText("The step did not run").waitFor();
    await step(page, "hello").getByLabel("who").fill("anna");
    await run(page, "hello");
    await until(page, "hello", "passed");
    assert.equal(await page.getByText("The step did not run").count(), 0);
    assert.equal(await page.locator("[aria-invalid], .error").count(), 0);
  },

  async "the keyboard alone runs a step"(browser, opened) {
    const { page } = await opened.enter(browser);
    await page.getByRole("link", { name: "page.md" }).click();
    const reached = [];
    for (let at = 0; at < 40; at += 1) {
      await page.keyboard.press("Tab");
      const here = await page.evaluate(() => {
        const active = document.activeElement;
        return active.labels?.[0]?.textContent.trim() || active.textContent.trim() || active.tagName;
      });
      reached.push(here);
      if (here.startsWith("who")) await page.keyboard.type("kim");
      if (here === "Run hello") break;
    }
    assert.equal(reached.at(-1), "Run hello", reached.join(" > "));
    const order = ["Skip to the page", "hello", "Begin a new session", "how", "who", "Run hello"].map((name) => reached.findIndex((one) => one.startsWith(name)));
    assert.deepEqual(order, [...order].sort((a, b) => a - b), reached.join(" > "));
    await page.keyboard.press("Enter");
    await until(page, "hello", "passed");
  },

  async "text of a runbook, of its output and of its name is never markup, and no request leaves the machine"(browser, opened) {
    const { page, origin } = await opened.enter(browser);
    await page.getByRole("link", { name: "page.md" }).click();
    await run(page, "hostile");
    await until(page, "hostile", "passed");
    assert.match(await output(page, "hostile"), /<script>document\.title="owned"<\/script>\\x1b\]0;title\\x07red/);
    assert.equal(await step(page, "hostile").locator(".output span.c1").textContent(), "red");
    await page.goto(`${origin}/`);
    assert.match(await page.locator("main").textContent(), /<b>name\.md: can't be opened/);
    await page.getByRole("link", { name: "hostile" }).click();
    await run(page, "only");
    await until(page, "only", "passed");
    assert.equal(await page.locator("iframe, img, script:not([src])").count(), 0);
    assert.equal(await page.locator('a[href^="javascript:"]').count(), 0);
    assert.notEqual(await page.title(), "owned");
  },

  async "10 MB of output in one line end, and the page says what it leaves out"(browser, opened) {
    const { page } = await opened.enter(browser);
    await page.getByRole("link", { name: "page.md" }).click();
    await run(page, "wide");
    await page.locator('section[aria-label="wide"]:not([data-state="ready"]):not([data-state="running"])').waitFor();
    const text = await output(page, "wide");
    assert.ok(text.length < 3 << 20 && /shows no more/.test(text), String(text.length));
  },

  async "all but live output works without JavaScript"(browser, opened) {
    const { page } = await opened.enter(browser, { javaScriptEnabled: false });
    await page.getByRole("link", { name: "page.md" }).click();
    await step(page, "hello").getByLabel("who").fill("plain");
    await run(page, "hello");
    for (let at = 0; at < 50 && (await step(page, "hello").getAttribute("data-state")) !== "passed"; at += 1) {
      await page.waitForTimeout(200);
      await page.goto(page.url().split("#")[0]);
    }
    assert.equal(await output(page, "hello"), "hello plain\nrun 1\n");
    await run(page, "asks");
    for (let at = 0; at < 50 && !(await step(page, "asks").getByRole("button", { name: "deny", exact: true }).count()); at += 1) {
      await page.waitForTimeout(200);
      await page.goto(page.url().split("#")[0]);
    }
    await step(page, "asks").getByRole("button", { name: "deny", exact: true }).click();
  },

  async "a workflow shows its visits while it walks, and asks with buttons"(browser, opened) {
    const { page } = await opened.enter(browser);
    await page.getByRole("link", { name: "flow.runbook.md" }).click();
    await page.getByRole("button", { name: "Run the workflow" }).click();
    const whole = step(page, "The whole workflow");
    const answer = async (name) => whole.getByRole("alertdialog").getByRole("button", { name }).click();
    await answer("no, it failed");
    await whole.locator(".pass").nth(2).waitFor();
    await answer("yes, it passed");
    await until(page, "The whole workflow", "passed");
    assert.match(await whole.locator(".state").first().textContent(), /the workflow is complete: all is well/);
    const visits = await whole.locator(".pass .unit").allTextContents();
    assert.deepEqual(visits, ["1 Start", "3 Look", "3 Look (visit 2)"]);
    assert.equal(await whole.locator(".pass .output").first().textContent(), "the start\n");
    const told = await whole.locator(".pass .ended").allTextContents();
    await page.reload();
    assert.deepEqual(await whole.locator(".pass .ended").allTextContents(), told);
  },

  async "a saved file loads the page and its preview again, and the preview shows the screen of an approver"(browser, opened) {
    const [[watched], stop] = await open({ "page.md": PAGE }, "--watch");
    const { page, context } = await watched.enter(browser);
    await page.getByRole("button", { name: "Run hello" }).waitFor();
    const preview = await context.newPage();
    await preview.goto(new URL("/page/0/preview/0", page.url()).href);
    assert.match(await preview.locator("pre.screen").first().textContent(), /page:hello at example/);
    const hello = PAGE.replace("hello $PARAM_WHO", "welcome $PARAM_WHO");
    const began = Date.now();
    writeFileSync(join(watched.home, "page.md"), hello);
    await preview.locator("pre.screen", { hasText: "welcome $PARAM_WHO" }).first().waitFor();
    const took = Date.now() - began;
    await page.locator(".admonition", { hasText: "the step hello changed" }).waitFor();
    assert.match(await step(page, "hello").locator("pre").first().textContent(), /welcome/);
    assert.ok(took < 5000, `${took} ms`);
    writeFileSync(join(watched.home, "page.md"), hello.replace("{#warned", "{#warned {"));
    await preview.locator(".admonition", { hasText: "the saved file has errors" }).first().waitFor();
    assert.deepEqual(watched.wrong, []);
    stop();
  },

  async "axe finds nothing under WCAG 2.2 A and AA in any look"(browser, opened) {
    const found = [];
    let ran;
    for (const [name, look] of Object.entries(LOOKS)) {
      const { page, origin } = await opened.enter(browser, look);
      found.push(...(await findings(page, `list, ${name}`)));
      await page.getByRole("link", { name: "page.md" }).click();
      if (!ran) {
        await step(page, "hello").getByLabel("who").fill("anna");
        await run(page, "hello");
        await until(page, "hello", "passed");
        await run(page, "warned");
        await until(page, "warned", "warned");
        await run(page, "asks");
        await step(page, "asks").getByRole("alertdialog").waitFor();
      }
      const see = async (what) => found.push(...(await findings(page, `${what}, ${name}`)));
      await see("page");
      for (const path of ["preview/", "preview/0", "preview/2"]) {
        await page.goto(new URL(path, page.url().replace(/preview.*/, "")).href);
        await see(path.replace("/", " "));
      }
      await page.goto(`${origin}/`);
      await page.getByRole("link", { name: "flow.runbook.md" }).click();
      if (!ran) await page.getByRole("button", { name: "Run the workflow" }).waitFor();
      ran = true;
      await see("flow");
    }
    assert.deepEqual(found, []);
  },
};

await play(stories, () => open({ "page.md": PAGE, "hostile.md": HOSTILE, "<b>name.md": HOSTILE, "flow.runbook.md": FLOW }));
