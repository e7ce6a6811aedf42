// Shows the output of steps while they run, and sends forms without loading the page. Each page also works without this
// script. Text comes into the page only as text.
"use strict";

const live = document.getElementById("live");

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

async function send(event) {
  event.preventDefault();
  const form = event.target;
  const body = new URLSearchParams(new FormData(form));
  const button = find(form, "button");
  button.disabled = true;
  const answer = await fetch(form.action, { method: "POST", body, redirect: "manual" });
  if (answer.type !== "opaqueredirect") {
    const said = form.parentElement.querySelector(".state") || document.getElementById("said");
    said.textContent = "Not done: another step runs now, or the page is old. Load the page again.";
  }
  await renew(form);
  button.disabled = false;
}

const show = {
  begin(step) {
    step.dataset.state = "running";
    find(step, ".state").textContent = "runs";
    find(step, ".output").replaceChildren();
    find(step, ".output").hidden = true;
    find(step, ".facts").replaceChildren();
    find(step, ".files").replaceChildren();
    find(step, ".asks").replaceChildren();
  },
  output(step, event) {
    const output = find(step, ".output");
    const atEnd = output.scrollTop + output.clientHeight >= output.scrollHeight - 4;
    output.hidden = false;
    for (const [name, text] of event.parts) {
      output.append(name ? element("span", text, { class: name }) : document.createTextNode(text));
    }
    if (atEnd) output.scrollTop = output.scrollHeight;
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
    find(step, ".state").textContent = `${event.state}: ${event.words}`;
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
  events.onmessage = (message) => {
    const event = JSON.parse(message.data);
    if (event.type === "reload") return location.reload();
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
