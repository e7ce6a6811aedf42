// Shows the output of steps while they run, sends forms without loading the page, and asks passkeys. Each page also works
// without this script, except that only the script can ask a passkey. Text comes into the page only as text.
"use strict";

const live = document.getElementById("live");
// Outputs that scroll to their end in the next animation frame.
const follows = new Set();

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function find(step, selector) {
  return step.querySelector(selector);
}

// A form works once, so each form that was sent gets new hidden fields.
async function renew(form) {
  const path = new URL(form.action).pathname;
  const fields = await (await fetch(`/fresh?path=${encodeURIComponent(path)}`)).json();
  for (const [name, value] of Object.entries(fields)) {
    const field = form.elements.namedItem(name) || form.appendChild(element("input", "", { type: "hidden", name }));
    field.value = value;
  }
}

// Says why a form did nothing, until the next step begins or ends.
function tell(form, text) {
  forget(".told");
  form.after(element("p", text, { class: "told error", role: "alert" }));
}

function forget(selector, below = document) {
  for (const one of below.querySelectorAll(selector)) one.remove();
}

function lost(is) {
  forget("#lost");
  if (is) document.querySelector("main").prepend(element("p", "The program does not answer. If it has ended, start it again, and open its new address.", { id: "lost", class: "admonition", role: "alert" }));
}

async function send(event) {
  event.preventDefault();
  const form = event.target;
  const body = new URLSearchParams(new FormData(form));
  const button = find(form, "button");
  button.disabled = true;
  try {
    const answer = await fetch(form.action, { method: "POST", body, redirect: "manual", headers: { accept: "application/json" } });
    // The page shows the errors beside their fields. The form was not used.
    if (answer.status === 422) return location.reload();
    if (answer.type !== "opaqueredirect") tell(form, answer.headers.get("x-said") || (answer.status === 413 ? "Not done: the form has more than 64 KiB. Make it shorter." : "Not done. Load the page again."));
    await renew(form);
  } catch {
    lost(true);
  }
  button.disabled = false;
}

const show = {
  begin(step) {
    step.dataset.state = "running";
    find(step, ".state").textContent = "runs";
    find(step, ".stop").hidden = false;
    forget(".error", step);
    for (const field of step.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
    forget("#errors");
    find(step, ".output").replaceChildren();
    find(step, ".output").hidden = true;
    find(step, ".facts").replaceChildren();
    find(step, ".files").replaceChildren();
    find(step, ".asks").replaceChildren();
    find(step, ".passes").replaceChildren();
  },
  pass(step, event) {
    const pass = element("li", "", { class: "pass", "data-state": "running" });
    pass.append(element("p", event.heading, { class: "unit" }));
    if (event.prompt) pass.append(element("p", event.prompt, { class: "prompt" }));
    const output = element("pre", "", { class: "output", tabindex: "0", "aria-label": `Output of ${event.heading}` });
    output.hidden = true;
    pass.append(output, element("p", "", { class: "ended" }));
    find(step, ".passes").append(pass);
    find(step, ".state").textContent = `runs: ${event.heading}`;
  },
  passed(step, event) {
    const pass = find(step, ".passes")?.lastElementChild;
    if (!pass) return;
    pass.dataset.state = event.state;
    find(pass, ".ended").textContent = event.words;
  },
  output(step, event) {
    const output = find(find(step, ".passes")?.lastElementChild || step, ".output");
    // Scroll once in each animation frame, because the layout of a long line is slow.
    if (!follows.has(output)) {
      const atEnd = output.scrollTop + output.clientHeight >= output.scrollHeight - 4;
      follows.add(output);
      requestAnimationFrame(() => {
        follows.delete(output);
        if (atEnd) output.scrollTop = output.scrollHeight;
      });
    }
    output.hidden = false;
    for (const [name, text] of event.parts) {
      output.append(name ? element("span", text, { class: name }) : document.createTextNode(text));
    }
  },
  fact(step, event) {
    find(step, ".facts").append(element("li", event.text));
  },
  async question(step, event) {
    const question = element("div", "", { class: "question", role: "alertdialog", "aria-label": "Policy asks" });
    const row = element("div", "", { class: "row" });
    question.append(element("pre", event.text, { tabindex: "0" }), row);
    for (const [letter, words] of event.buttons) {
      const form = element("form", "", { method: "post", action: `/answer/${event.number}/${letter}` });
      form.append(element("button", words, { type: "submit" }));
      await renew(form);
      row.append(form);
    }
    find(step, ".asks").replaceChildren(question);
    find(row, "button").focus();
  },
  answered(step) {
    find(step, ".asks").replaceChildren();
  },
  end(step, event) {
    step.dataset.state = event.state;
    find(step, ".state").textContent = event.words;
    find(step, ".stop").hidden = true;
    find(step, ".asks").replaceChildren();
    const link = ([path, words]) => {
      const item = element("li", "");
      item.append(element("a", words, { href: path }));
      return item;
    };
    find(step, ".files").replaceChildren(...event.files.map(link));
    find(step, ".facts").replaceChildren(...event.facts.map((fact) => element("li", fact)));
  },
};

function listen() {
  const events = new EventSource(live.dataset.events || `/events?after=${live.dataset.after}`);
  // The stream of one run ends with the run.
  if (!live.dataset.events) {
    events.onerror = () => lost(true);
    events.onopen = () => lost(false);
  }
  events.onmessage = (message) => {
    const event = JSON.parse(message.data);
    if (event.page !== undefined && live.dataset.page && live.dataset.page !== String(event.page)) return;
    if (event.type === "reload") return location.reload();
    const session = document.getElementById("session");
    if (event.type === "session" && session) {
      session.replaceChildren(...event.facts.map((fact) => element("li", fact)));
    }
    if (event.type === "begin" || event.type === "end") {
      forget(".told");
      const stop = document.getElementById("stop");
      if (stop) stop.hidden = event.type === "end";
    }
    const step = document.getElementById(event.at);
    if (step && show[event.type]) show[event.type](step, event);
  };
}

if (live) {
  listen();
  // The page of one run has its own stream, and its forms lead to other pages.
  if (!live.dataset.events) document.addEventListener("submit", send);
  const waiting = document.querySelector(".question button");
  if (waiting) waiting.focus();
}

function bytes(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
}

function base64url(buffer) {
  return btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// Makes a passkey of this desk, for P-256 (-7). The number of the user is random, so no passkey is replaced.
async function make(form) {
  const name = form.elements.namedItem("name").value;
  const made = await navigator.credentials.create({ publicKey: {
    challenge: crypto.getRandomValues(new Uint8Array(32)),
    rp: { id: form.dataset.host, name: form.dataset.host },
    user: { id: crypto.getRandomValues(new Uint8Array(16)), name, displayName: name },
    pubKeyCredParams: [{ type: "public-key", alg: -7 }],
    authenticatorSelection: { residentKey: "required", userVerification: "preferred" },
    attestation: "none",
  } });
  return { public_key: made.response.getPublicKey() };
}

async function sign(form) {
  const { response } = await navigator.credentials.get({ publicKey: {
    challenge: bytes(form.dataset.challenge),
    rpId: form.dataset.host,
    userVerification: "preferred",
  } });
  return { client_data: response.clientDataJSON, authenticator_data: response.authenticatorData, signature: response.signature };
}

async function askPasskey(event) {
  event.preventDefault();
  const form = event.target;
  const [button, said] = [find(form, "button"), find(form, ".said")];
  said.textContent = "";
  button.disabled = true;
  try {
    const answer = await (form.dataset.passkey === "make" ? make : sign)(form);
    for (const [name, value] of Object.entries(answer)) form.elements.namedItem(name).value = base64url(value);
    form.submit();
  } catch (error) {
    said.textContent = `Nothing was signed: the passkey did not answer (${error.name}). Try again, or use a device with your passkey.`;
    button.disabled = false;
  }
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });
}

for (const form of document.querySelectorAll("form[data-passkey]")) form.addEventListener("submit", askPasskey);
