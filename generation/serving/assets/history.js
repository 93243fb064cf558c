// Which messages of a conversation are sent: all, until the server finds them too long; then the latest.
"use strict";

const FILLED = 0.75;  // of the room: the answer needs some, and so do the next turns, which else would lose more each time

/** The turns as messages {role, content, turn}, without those that were left out before. */
function messagesOf(turns) {
  const messages = [];
  for (const turn of turns) {
    if (!turn.content || turn.left) continue;
    if (messages.at(-1)?.role === turn.role) messages.pop();  // a message that got no answer: roles take turns
    messages.push({ role: turn.role, content: turn.content, turn });
  }
  return messages;
}

/** Whether fewer messages might not be refused: more tokens, bytes or messages than the server takes. */
function isTooLong(error) {
  const tooMany = error.code === "invalid_value" && error.param === "messages";
  return error.code === "context_length_exceeded" || error.status === 413 || tooMany;
}

/** The share of a refused conversation that fits, by the counts of tokens that the refusal names; else a half. */
function fitting(error) {
  if (error.code !== "context_length_exceeded") return 0.5;
  const [context, prompt, answer = 1] = (error.message.match(/\d+/g) || []).map(Number);
  const share = FILLED * (context - answer) / prompt;
  return share > 0 && share < 1 ? share : 0.5;
}

const weight = (text) => text.length + 20;  // a template writes something around each

/** `messages` without the oldest ones that the refusal `error` speaks against; the last one always stays. */
function shortened(messages, system, error) {
  let left = messages.reduce((sum, { content }) => sum + weight(content), weight(system)), first = 0;
  const most = left * fitting(error);
  while (first < messages.length - 1 && (!first || left > most || messages[first].role === "assistant")) {
    left -= weight(messages[first].content);
    first += 1;
  }
  return messages.slice(first);
}
