// The page: the conversation, what is typed, and the answer that is being written. Texts are only ever set as text.
"use strict";

const $ = (id) => document.getElementById(id);
const memory = {  // of this tab; a browser may forbid it
  get: (name) => { try { return sessionStorage.getItem(name); } catch { return null; } },
  set: (name, value) => { try { sessionStorage.setItem(name, value); } catch { /* not kept */ } },
};
const OPTIONS = ["system", "temperature", "length", "key"];

let turns = [];  // {role, content, note, element, left: no longer sent}
let model = null;
let running = null;  // the AbortController of the answer in work

function draw(turn) {
  const box = document.createElement("div"), body = document.createElement("div");
  box.className = `turn ${turn.role}`;
  body.className = "body";
  body.dir = "auto";
  turn.text = document.createTextNode(turn.content);
  body.append(turn.text);
  box.append(body);
  turn.element = box;
  $("talk").append(box);
  if (turn.note) remark(turn, turn.note);
}

function remark(turn, word, again, details) {
  const line = document.createElement("p");
  line.className = details === undefined ? "soft" : "wrong";
  line.textContent = details || say(word);
  if (again) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "retry";
    button.textContent = say("retry");
    button.addEventListener("click", again);
    line.append(button);
  }
  turn.element.append(line);
}

function redraw() {
  $("talk").replaceChildren();
  for (const turn of turns) draw(turn);
  settle();
}

/** Bring all that depends on the state into line with it, and keep the state for a reload. */
function settle() {
  const chat = !model || model.chat;
  $("send").hidden = Boolean(running);
  $("stop").hidden = !running;
  $("fresh").disabled = !turns.length;
  $("empty").hidden = turns.length > 0;
  $("empty").textContent = model ? say(chat ? "emptyChat" : "emptyText") : "";
  $("text").placeholder = say(chat ? "ask" : "continue");
  $("text").setAttribute("aria-label", $("text").placeholder);
  $("system").closest("label").hidden = !chat;
  if (model) $("model").textContent = document.title = model.id;
  memory.set("turns", JSON.stringify(turns.map(({ role, content, note }) => ({ role, content, note }))));
}

function fit() {
  $("text").style.height = "auto";
  $("text").style.height = `${$("text").scrollHeight + 2}px`;
}

const atEnd = () => $("scroll").scrollHeight - $("scroll").scrollTop - $("scroll").clientHeight < 60;
const toEnd = () => { $("scroll").scrollTop = $("scroll").scrollHeight; };

function wanted(messages) {
  const body = { model: model.id };
  if ($("temperature").value !== "") body.temperature = Number($("temperature").value);
  if ($("length").value !== "") body.max_tokens = Number($("length").value);
  if (!model.chat) return ["v1/completions", { ...body, prompt: messages.at(-1).content }];
  const system = $("system").value.trim() ? [{ role: "system", content: $("system").value }] : [];
  const plain = messages.map(({ role, content }) => ({ role, content }));
  return ["v1/chat/completions", { ...body, messages: [...system, ...plain] }];
}

/** Ask with all turns; where they no longer fit, without the oldest ones, now and from here on. */
async function ask(turn, show) {
  let messages = messagesOf(turns.slice(0, turns.indexOf(turn)));
  try {
    for (;;) {
      try {
        return await answer(...wanted(messages), $("key").value, running.signal, show);
      } catch (error) {
        if (!isTooLong(error) || messages.length < 2 || !model.chat) throw error;
        messages = shortened(messages, $("system").value, error);
      }
    }
  } finally {
    const since = turns.indexOf(messages[0].turn);
    if (turn.content) turns.slice(0, Math.max(since, 0)).forEach((older) => { older.left = true; });
  }
}

async function reply() {
  const turn = { role: "assistant", content: "", note: null };
  turns.push(turn);
  draw(turn);
  turn.element.classList.add("working");
  running = new AbortController();
  settle();
  toEnd();
  try {
    model = model || await firstModel($("key").value);
    const finish = await ask(turn, (piece) => {
      const follow = atEnd();
      turn.content += piece;
      turn.text.data = turn.content;
      if (follow) toEnd();
    });
    if (finish === "length") turn.note = "cut";
    if (turn.note) remark(turn, turn.note);
    if (turns.some((older) => older.left)) remark(turn, "forgot");
  } catch (error) {
    failed(turn, error);
  }
  running = null;
  turn.element.classList.remove("working");
  settle();
  toEnd();
  $("text").focus();
}

function failed(turn, error) {
  const again = () => { if (!running && turns.at(-1) === turn) { drop(turn); reply(); } };
  if (error.name === "AbortError") {
    turn.note = "stopped";
    remark(turn, "stopped", again);
  } else {
    turn.element.querySelector(".body").hidden = !turn.content;
    remark(turn, "", again, reason(error));
    if (error.status === 401) showOptions(true);
  }
}

function reason(error) {
  if (error.status === 401) return say("badKey");
  if (isTooLong(error)) return say("tooLong");
  if (error.code === "broken") return say("broken");
  return error instanceof Refused ? error.message : say("noServer");
}

function drop(turn) {
  turns = turns.filter((other) => other !== turn);
  turn.element.remove();
}

function submit() {
  const content = $("text").value;
  if (running || !content.trim()) return;
  const turn = { role: "user", content, note: null };
  turns.push(turn);
  draw(turn);
  $("text").value = "";
  fit();
  reply();
}

function showOptions(shown) {
  $("panel").hidden = !shown;
  $("options").setAttribute("aria-expanded", String(shown));
}

function start() {
  for (const name of OPTIONS) {
    $(name).value = memory.get(name) || "";
    $(name).addEventListener("change", () => {
      memory.set(name, $(name).value);
      for (const turn of turns) turn.left = false;  // a shorter answer or system message leaves more room
    });
  }
  try { turns = JSON.parse(memory.get("turns")) || []; } catch { turns = []; }
  turns = turns.filter((turn) => turn.content);
  if (turns.at(-1)?.role === "user") $("text").value = turns.pop().content;  // the page was left before an answer
  redraw();
  toEnd();
  fit();
  connect();
}

/** Learn what is served. */
async function connect() {
  try {
    model = await firstModel($("key").value);
  } catch (error) {
    $("empty").textContent = reason(error);
    if (error.status === 401) showOptions(true);
    return;
  }
  settle();
}

$("ask").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
$("panel").addEventListener("submit", (event) => event.preventDefault());
$("key").addEventListener("change", () => { if (!model) connect(); });
$("text").addEventListener("input", fit);
$("text").addEventListener("keydown", (event) => {
  // While an input method composes a word, Enter chooses it. (Safari ends the composition first: keyCode 229.)
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  submit();
});
$("stop").addEventListener("click", () => running && running.abort());
$("fresh").addEventListener("click", () => { if (running) running.abort(); turns = []; redraw(); $("text").focus(); });
$("options").addEventListener("click", () => showOptions($("panel").hidden));
start();
