"""What the report of a run adds to the style of every page: the colours of its lines, samples over time."""

from __future__ import annotations

STYLE = """
:root { --train: #2f6db5; --val: #cf5a43; --ema: #2a8c6a; --spike: #c98a1b; --other: #6d757e; }
@media (prefers-color-scheme: dark) { :root {
  --train: #6aa5ea; --val: #ec7d66; --ema: #4cbd93; --spike: #e8b04e; --other: #9aa1a9; } }
svg .curve.train { stroke: var(--train); } svg .curve.val { stroke: var(--val); } svg .curve.ema { stroke: var(--ema); }
svg .curve.other { stroke: var(--other); stroke-width: 1.8; }
svg .curve.pale { stroke: var(--train); stroke-width: 1.2; opacity: .38; }
svg .point.train, svg .point.pale { fill: var(--train); } svg .point.val { fill: var(--val); }
svg .point.ema { fill: var(--ema); } svg .point.spike { fill: var(--spike); } svg .point.other { fill: var(--other); }
svg .halt { fill: var(--card); stroke: var(--soft); stroke-width: 1.5; }
i.train { background: var(--train); } i.pale { background: var(--train); opacity: .38; }
i.val { background: var(--val); }
i.ema { background: var(--ema); } i.spike { background: var(--spike); } i.other { background: var(--other); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; font-size: 13.5px; margin: 6px 0 0; }
.legend b { font-weight: 600; }
.sample { display: grid; grid-template-columns: 8.5em 1fr; gap: 2px 14px; padding: 9px 0;
  border-top: 1px solid var(--line); }
.sample:first-of-type { border-top: 0; }
.sample .at { color: var(--soft); font-size: 13px; padding-top: 1px; }
.sample .text { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 14px; min-width: 0;
  unicode-bidi: plaintext; }
.sample .text b { font-weight: 650; }
td.words { min-width: 14em; overflow-wrap: anywhere; }
td { vertical-align: top; }
@media (max-width: 700px) { .sample { grid-template-columns: 1fr; } }
"""
