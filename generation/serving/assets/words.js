// The page's words in English and Chinese, by the browser's language.
"use strict";

const WORDS = {
  en: {
    options: "Options", fresh: "New conversation", send: "Send", stop: "Stop", retry: "Try again",
    system: "System message (what the assistant should be like)",
    temperature: "Temperature (empty: the server's)", length: "Longest answer in tokens (empty: the server's)",
    key: "API key (only if the server asks for one; kept until this tab closes)",
    optionsNote: "They count from the next message on.",
    ask: "Write a message",
    continue: "Write the beginning of a text",
    emptyChat: "Say something.",
    emptyText: "This model was not trained to chat: it continues the text you write.",
    keys: "Enter sends, Shift+Enter starts a new line.", caution: "A small model's answers may be wrong.",
    stopped: "stopped", cut: "cut at the longest answer", forgot: "The oldest messages no longer fit and were left out.",
    noServer: "The server does not answer. Is it still running?",
    badKey: "The server wants its API key: see Options.",
    broken: "The answer broke off.",
    tooLong: "This message is longer than the model can read.",
  },
  zh: {
    options: "选项", fresh: "新对话", send: "发送", stop: "停止", retry: "重试",
    system: "系统消息（助手应当如何表现）",
    temperature: "温度（留空用服务器的设置）", length: "回答的最大词元数（留空用服务器的设置）",
    key: "API 密钥（仅在服务器要求时填写；关闭本标签页后不再保留）",
    optionsNote: "从下一条消息起生效。",
    ask: "输入消息",
    continue: "输入一段文字的开头",
    emptyChat: "说点什么吧。",
    emptyText: "这个模型没有经过对话训练：它会接着你写的文字往下写。",
    keys: "按 Enter 发送，按 Shift+Enter 换行。", caution: "小模型的回答可能有误。",
    stopped: "已停止", cut: "已达到最大长度", forgot: "最早的消息已放不下，未再发送。",
    noServer: "服务器没有响应。它还在运行吗？",
    badKey: "服务器要求 API 密钥：请在“选项”中填写。",
    broken: "回答中断了。",
    tooLong: "这条消息超出了模型能读的长度。",
  },
};

const LANGUAGE = /^zh\b/i.test(navigator.language) ? "zh" : "en";
const say = (word) => WORDS[LANGUAGE][word];

document.documentElement.lang = LANGUAGE === "zh" ? "zh-CN" : "en";
for (const element of document.querySelectorAll("[data-word]")) element.textContent = say(element.dataset.word);
