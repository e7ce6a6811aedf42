// What all tests of pages share: a program that serves pages, a browser, and the search for barriers.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const load = createRequire(process.env.COUNTERSIGN_PAGES_PACKAGES);
const { chromium } = load("playwright-core");
const axe = load("axe-core");

/** The program under test, and the browser. */
export const [program, executablePath] = process.argv.slice(2);

/** A directory for pictures of all pages in all looks, for a person to look at. */
export const pictures = process.env.COUNTERSIGN_PAGES_PICTURES;

/** The ways to look at a page. */
export const LOOKS = {
  light: { colorScheme: "light" },
  dark: { colorScheme: "dark" },
  "forced colours": { forcedColors: "active" },
  "320 px": { viewport: { width: 320, height: 640 } },
  "forced colours, dark": { forcedColors: "active", colorScheme: "dark" },
  "200 %": { viewport: { width: 640, height: 400 }, deviceScaleFactor: 2 },
  "400 %": { viewport: { width: 320, height: 256 }, deviceScaleFactor: 4 },
};

/** Returns the environment of this process without variables that lead to files or boundaries of the person who tests. */
export function environment(home) {
  const env = { ...process.env, HOME: home };
  for (const name of Object.keys(env)) {
    if (/^(XDG_(CONFIG|STATE)_HOME|COUNTERSIGN_(?!PAGES)\w+|SSH_AUTH_SOCK)$/.test(name)) delete env[name];
  }
  return env;
}

/** Starts the program. Returns its process, its first line of output, and a function that returns its complaints until now. */
export async function firstLine(words, cwd, env) {
  const child = spawn(program, words, { cwd, env });
  let complaints = "";
  child.stderr.on("data", (data) => (complaints += data));
  for await (const line of createInterface(child.stdout)) return [child, line, () => complaints];
  throw new Error(`${words.join(" ")} printed nothing: ${complaints}`);
}

/** A running program with pages, and what no browser may have caused. */
export class Served {
  static async start(words, cwd, env) {
    const own = new this();
    own.cwd = cwd;
    own.wrong = [];
    const [child, line, said] = await firstLine(words, cwd, env);
    Object.assign(own, { process: child, said });
    own.link = line.match(/http:\/\/\S+/)?.[0];
    assert.ok(own.link, `no address: ${line}`);
    return own;
  }

  /** Opens the address in the first browser context. Later contexts get its cookie. Notes each request that leaves the machine
   * and each refusal of the content security policy. */
  async enter(browser, options = {}) {
    const context = await browser.newContext({ ...options, storageState: this.state });
    context.setDefaultTimeout(20_000);
    const { host } = new URL(this.link);
    context.on("request", (request) => {
      const { protocol, host: asked } = new URL(request.url());
      if (protocol !== "file:" && asked !== host) this.wrong.push(`a request to ${request.url()}`);
    });
    context.on("console", (message) => {
      if (/Content.Security.Policy|Refused to/.test(message.text())) this.wrong.push(message.text());
    });
    context.on("weberror", (error) => this.wrong.push(String(error.error())));
    const page = await context.newPage();
    await page.goto(this.state ? `http://${host}/` : this.link);
    if (!this.state) await page.waitForURL((url) => url.href !== this.link);
    this.state ??= await context.storageState();
    return { context, page, wrong: this.wrong, origin: `http://${host}` };
  }

  stop() {
    this.process.kill("SIGINT");
  }
}

/** What axe can't see. The functions run in the page, and return what is wrong. */
const BEYOND_AXE = {
  // A screen reader reads a message beside its field only if the field names the message.
  "an error without its field": () =>
    [...document.querySelectorAll("[aria-invalid=true]")].filter((field) => {
      const told = (field.getAttribute("aria-describedby") ?? "").split(" ").map((id) => document.getElementById(id)?.textContent);
      return !told.some((text) => text?.trim());
    }),
  // A region that changes says what it is.
  "a live region without a name": () =>
    [...document.querySelectorAll("[aria-live]:not([aria-live=off]), [role=log], [role=alertdialog]")].filter(
      (region) => !region.getAttribute("aria-label") && !document.getElementById(region.getAttribute("aria-labelledby")),
    ),
  // The Tab key follows the order of the text.
  "a place of its own in the order of Tab": () => [...document.querySelectorAll("[tabindex]")].filter((one) => one.tabIndex > 0),
  // A reader of headings misses nothing.
  "a heading that skips a level": () => {
    const all = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")];
    return all.filter((one, at) => Number(one.tagName[1]) > (at ? Number(all[at - 1].tagName[1]) : 0) + 1 && !one.closest(".prose"));
  },
  // The place of the focus can be seen.
  "a focus that nobody sees": () =>
    [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")].filter((one) => {
      one.focus({ focusVisible: true });
      const style = getComputedStyle(one);
      return document.activeElement === one && style.outlineStyle === "none" && style.boxShadow === "none";
    }),
};

/** Returns what axe finds under WCAG 2.2 A and AA on a page, what axe can't see, and whether the page is wider than its
 * window. */
export async function findings(page, place) {
  await page.evaluate(axe.source);
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"];
  const found = await page.evaluate((values) => window.axe.run(document, { runOnly: { type: "tag", values } }), tags);
  const list = found.violations.map((one) => `${place}: ${one.id}: ${one.nodes.map((node) => node.html).join(" | ")}`);
  for (const [name, look] of Object.entries(BEYOND_AXE)) {
    const wrong = await page.evaluate(`(${look})().map((one) => one.outerHTML.slice(0, 200))`);
    if (wrong.length > 0) list.push(`${place}: ${name}: ${wrong.join(" | ")}`);
  }
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (pictures) await page.screenshot({ path: `${pictures}/${place.replace(/[^\w.]+/g, "-")}.png`, fullPage: true });
  return wide > 0 ? [...list, `${place}: ${wide} px wider than the window`] : list;
}

/** Plays each story with what `setUp` starts. `setUp` returns the arguments of the story and a function that ends them. */
export async function play(stories, setUp, args = []) {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", ...args] });
  let failed = 0;
  for (const [name, story] of Object.entries(stories)) {
    const began = Date.now();
    let end;
    try {
      const [things, stop] = await setUp();
      end = stop;
      await story(browser, ...things);
      for (const one of things) assert.deepEqual(one.wrong ?? [], []);
      console.log(`ok      ${name} (${Date.now() - began} ms)`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${name}\n${error.stack}`);
    }
    for (const context of browser.contexts()) await context.close();
    await end?.();
  }
  await browser.close();
  if (failed) process.exitCode = 1;
}
