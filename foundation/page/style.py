"""The style sheet of every page: light and dark by the reader's preference, one column on a narrow screen."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark;
  --page: #f5f5f2; --card: #ffffff; --ink: #1d2023; --soft: #646b73; --line: #e3e3de; --sunk: #f3f3ef;
  --accent: #2f6db5; --mark: #fff0b8; }
@media (prefers-color-scheme: dark) { :root {
  --page: #131518; --card: #1b1e22; --ink: #e6e7e8; --soft: #9aa1a9; --line: #2d3238; --sunk: #23272c;
  --accent: #6aa5ea; --mark: #5a4a12; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.5; font-size: 15px;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "PingFang SC",
    "Microsoft YaHei", "Noto Sans CJK SC", sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 0 0 4px; }
h3 { font-size: 15px; margin: 18px 0 8px; }
p { margin: 0 0 10px; }
.lead { font-size: 17px; max-width: 46em; margin-bottom: 20px; }
.over { color: var(--soft); font-size: 13px; margin-bottom: 4px; }
.soft, .note { color: var(--soft); }
.note { font-size: 13px; }
section, .card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 20px 22px;
  margin-top: 18px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 18px;
  margin-top: 18px; }
.pair > section { margin-top: 0; min-width: 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px 16px; }
.tile b { display: block; font-size: 25px; line-height: 1.25; font-weight: 650; white-space: nowrap; }
.tile span { color: var(--soft); font-size: 13px; }
svg { display: block; width: 100%; height: auto; margin: 8px 0 2px; overflow: visible; }
svg text { fill: var(--ink); font-size: 14px; font-family: inherit; white-space: pre; }
svg text.axis { fill: var(--soft); font-size: 12px; }
svg text.strong { font-size: 19px; font-weight: 650; }
svg text.halo { paint-order: stroke; stroke: var(--card); stroke-width: 4px; stroke-linejoin: round;
  font-weight: 600; }
svg text.small { font-size: 12px; font-weight: 500; }
svg .grid { stroke: var(--line); } svg .tick { stroke: var(--soft); }
svg .mark { stroke: var(--soft); stroke-dasharray: 3 3; }
svg .bar { fill: var(--accent); } svg .point { fill: var(--accent); stroke: var(--card); stroke-width: 1.5; }
svg .curve { fill: none; stroke: var(--accent); stroke-width: 2.5; stroke-linejoin: round; }
.stack { display: flex; height: 16px; border-radius: 8px; overflow: hidden; gap: 2px; margin: 12px 0;
  background: var(--sunk); }
.stack i { min-width: 2px; }
i.accent { background: var(--accent); }
i.c0 { background: #3f7fc4; } i.c1 { background: #d9704a; } i.c2 { background: #2fa08c; } i.c3 { background: #b8842f; }
i.c4 { background: #8a67c2; } i.c5 { background: #c45a8a; } i.c6 { background: #6d9a3a; } i.c7 { background: #868e97; }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 7px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; font-weight: 500; color: var(--soft); font-size: 13px; vertical-align: bottom; }
td, th { padding: 5px 10px 5px 0; border-bottom: 1px solid var(--line); }
tr:last-child td { border-bottom: 0; }
td.n, th.n { text-align: right; white-space: nowrap; padding-left: 10px; }
td.name { overflow-wrap: anywhere; min-width: 9em; }
td.bar { width: 22%; min-width: 70px; }
.meter { display: block; height: 9px; border-radius: 5px; background: var(--sunk); overflow: hidden; }
.meter i { display: block; height: 100%; min-width: 2px; border-radius: 5px; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Noto Sans CJK SC", monospace;
  font-size: 13px; }
pre { background: var(--sunk); border-radius: 8px; padding: 12px 14px; white-space: pre-wrap; overflow-wrap: anywhere;
  margin: 8px 0 14px; }
.examples { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); gap: 12px; }
.example { border: 1px solid var(--line); border-radius: 9px; padding: 10px 13px; min-width: 0; }
.example header { color: var(--soft); font-size: 12.5px; margin-bottom: 6px; overflow-wrap: anywhere; }
.example .body { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 14px; max-height: 15.5em; overflow-y: auto;
  unicode-bidi: plaintext; }
.group { margin-top: 14px; }
mark { background: var(--mark); color: inherit; border-radius: 3px; }
details { margin-top: 10px; } summary { cursor: pointer; color: var(--soft); font-size: 14px; }
.narrow { display: none; }
footer { color: var(--soft); font-size: 13px; margin-top: 22px; }
@media (max-width: 700px) { main { padding: 18px 12px 40px; } section, .card { padding: 15px 14px; }
  h1 { font-size: 25px; } .lead { font-size: 16px; } .wide { display: none; }
  .narrow { display: block; } .tiles { gap: 8px; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); }
  .tile { padding: 9px 12px; }
  .tile b { font-size: 21px; }
  svg text.axis { font-size: 15px; } svg text.small { font-size: 15px; } }
@media print { section, .tile { break-inside: avoid; } body { background: white; }
  .example .body { max-height: none; } }
"""
