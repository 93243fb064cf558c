// Ask the server and read its answer piece by piece (server-sent events).
"use strict";

class Refused extends Error {
  constructor(status, error) {
    super(error.message || `HTTP ${status}`);
    this.status = status;
    this.code = error.code;
    this.param = error.param;
  }
}

async function refusal(response) {
  let error = {};
  try { error = (await response.json()).error || {}; } catch { /* not JSON: the status says enough */ }
  return new Refused(response.status, error);
}

function headers(key) {
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

/** The server's first model: {id, chat, …}. */
async function firstModel(key) {
  const response = await fetch("v1/models", { headers: headers(key) });
  if (!response.ok) throw await refusal(response);
  return (await response.json()).data[0];
}

/** Hands each piece of the answer's text to `show`; why the answer ended. Throws Refused, or what fetch throws. */
async function answer(path, body, key, signal, show) {
  const response = await fetch(path, {
    method: "POST", headers: headers(key), signal, body: JSON.stringify({ ...body, stream: true }),
  });
  if (!response.ok) throw await refusal(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "", finish = null;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Refused(0, { code: "broken" });
    waiting += value;
    const lines = waiting.split("\n");
    waiting = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ")) continue;
      if (line === "data: [DONE]") return finish;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new Refused(200, event.error);
      const choice = event.choices[0];
      if (!choice) continue;
      const text = choice.delta ? choice.delta.content : choice.text;
      if (text) show(text);
      finish = choice.finish_reason || finish;
    }
  }
}
