// Drives the pages of `countersign console` and `open --boundary` in a real browser, against a real boundary. Each story has
// the name of what it proves.
//
//   node companion.mjs PROGRAM BROWSER     (scripts/check-pages installs what this needs, and calls it)
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Boundary, STEPS } from "./boundary.mjs";
import { findings, LOOKS, play, Served } from "./browser.mjs";

const HOSTILE = '<img src=http://192.0.2.1/x onerror=alert(1)><script>document.title="owned"</script> == Decision ==';

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
    assert.match(await page.getByRole("alert").textContent(), /Nothing was signed/);
    assert.equal(await page.getByLabel("The last 8 digits").inputValue(), "00000000");
    assert.deepEqual(await findings(page, "a review with an error"), []);
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

  async "the keyboard alone signs, and the tree of a screen reader names each field and its error"(browser, boundary, companion) {
    boundary.propose("steps:say", "keys", "by keyboard");
    const { page } = await companion.enter(browser);
    const tabTo = async (pattern) => {
      for (let at = 0; at < 40; at += 1) {
        await page.keyboard.press("Tab");
        const name = await page.evaluate(() => document.activeElement.labels?.[0]?.textContent ?? document.activeElement.textContent);
        if (pattern.test(name.trim())) return;
      }
      throw new Error(`Tab never reaches ${pattern}`);
    };
    await tabTo(/^Review steps:say/);
    await page.keyboard.press("Enter");
    await page.locator("#digits").waitFor();
    await tabTo(/^The last 8 digits/);
    await page.keyboard.type("00000000");
    await page.keyboard.press("Enter");
    await page.getByRole("alert").waitFor();
    const tree = await page.locator("main").ariaSnapshot();
    for (const named of [/- alert:/, /- textbox "The last 8 digits of the digest"/, /- button "Sign as alice"/, /- checkbox "I know that a denial/]) {
      assert.match(tree, named);
    }
    assert.match(await page.locator("#digits").evaluate((field) => document.getElementById(field.getAttribute("aria-describedby").split(" ").pop()).textContent), /these are not the last 8 digits/);
    // The link of the summary leads to the field.
    await tabTo(/^The last 8 digits/);
    await page.keyboard.press("Enter");
    await page.keyboard.press("Control+A");
    await page.keyboard.type(await digits(page));
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/run\//);
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

  async "a person signs a standing grant and reviews an emergency, and every look is accessible"(browser, boundary, companion) {
    const [, robot] = boundary.run(["key", "show", "robot.pem"]).trim().split("\n");
    const agent = ["--token-file", "agent.token"];
    const terms = ["--grantee", "robot", "--grantee-key", robot, "--any", "text", "--uses", "5", "--for", "1h"];
    const grant = boundary.run(["grant", "draft", "steps:say", ...terms, ...agent]).trim();
    const { id } = JSON.parse(boundary.run(["propose", "steps:say", "-p", "text=fire", "--emergency", "--json", ...agent]));
    const { digest } = JSON.parse(boundary.run(["review", id, "--json"]));
    boundary.run(["approve", id, "--yes", "--expect", digest]);
    const found = [];
    for (const [name, look] of Object.entries(LOOKS)) {
      const { context, page, origin } = await companion.enter(browser, look);
      for (const place of [`grant/${grant}`, `review-run/${id.replace("prp_", "rcp_")}`]) {
        await page.goto(`${origin}/b/0/${place}`);
        found.push(...(await findings(page, `${place.split("/")[0]}, ${name}`)));
      }
      await context.close();
    }
    const { page } = await companion.enter(browser);
    await page.getByRole("link", { name: "Review", exact: true }).click();
    assert.match(await page.locator("#review").textContent(), /STANDING GRANT: nobody is asked again/);
    for (const [typed, says] of [["00000000", /this is not the number of uses/], [(await page.locator("#answer-hint code").textContent()).slice(-8), /active/]]) {
      await page.getByLabel("The number of uses").fill(`5 ${typed}`);
      await page.getByRole("button", { name: "Sign this standing grant as alice" }).click();
      await page.getByText(says).first().waitFor();
      found.push(...(await findings(page, `grant after ${typed}`)));
    }
    await page.getByRole("link", { name: "Open", exact: true }).click();
    await page.getByRole("link", { name: "Review this run" }).click();
    await page.getByRole("button", { name: "Show the review to sign" }).click();
    assert.match(await page.getByRole("alert").textContent(), /Verdict[^]*Reason/);
    found.push(...(await findings(page, "a review of a run with errors")));
    await page.getByLabel("Verdict").selectOption("accept");
    await page.getByLabel("Reason").fill("the disk was full");
    await page.getByRole("button", { name: "Show the review to sign" }).click();
    assert.match(await page.locator("#review").textContent(), /verdict +accepted/);
    found.push(...(await findings(page, "a review of a run to sign")));
    await page.getByLabel("The word accept").fill("accept");
    await page.getByRole("button", { name: "Sign the review" }).click();
    await page.getByText(/is in the log .*the emergency needs more reviews/).waitFor();
    assert.deepEqual(found, []);
  },

  async "a person proposes a sealed step, the page follows signature and run, and every look is accessible"(browser, boundary) {
    const file = join(boundary.home, "steps.md");
    writeFileSync(file, STEPS.replace("echo started", "echo changed"));
    const proposing = await Served.start(["open", file, "--boundary", boundary.started.url, "--token-file", "agent.token"], boundary.home, boundary.env);
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
      await page.getByRole("button", { name: "Cancel", exact: true }).click();
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
        assert.equal(await step(page, "say").getByLabel("text").getAttribute("aria-invalid"), "true");
        await see("wrong");
        // Loading the page again sends nothing.
        await page.reload();
        await step(page, "say").getByLabel("text").fill(name);
        await step(page, "say").getByRole("button", { name: "Propose say" }).click();
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
    const found = [];
    let run;
    for (const [name, look] of Object.entries(LOOKS)) {
      const { context, page, origin } = await companion.enter(browser, look);
      const see = async (place) => found.push(...(await findings(page, `${place}, ${name}`)));
      await see("inbox");
      const review = await page.getByRole("link", { name: /^Review steps:say/ }).first().getAttribute("href");
      const compare = await page.getByRole("link", { name: /^Compare/ }).getAttribute("href");
      for (const [place, path] of [["review", review], ["compare", compare], ["steps", "/b/0/steps"], ...["sessions", "receipts", "open", "log"].map((name) => [name, `/b/0/${name}`])]) {
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

await play(stories, async () => {
  const boundary = await Boundary.start();
  const companion = await Served.start(["console"], boundary.home, boundary.env);
  const stop = async () => {
    companion.stop();
    await boundary.stop();
  };
  return [[boundary, companion], stop];
});
