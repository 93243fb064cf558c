"""What the report of a dataset adds to the style of every page: the colours of the outcomes, lists of tokens."""

from __future__ import annotations

STYLE = """
:root { --kept: #2a8c6a; --duplicate: #d6942a; --rejected: #cf5a43; --quarantined: #7d5bb0; --read: #8a929b; }
@media (prefers-color-scheme: dark) { :root {
  --kept: #45b48c; --duplicate: #e0a94a; --rejected: #e57a63; --quarantined: #a287d4; --read: #7d858e; } }
svg .band { opacity: .26; }
svg .read { fill: var(--read); } svg .kept { fill: var(--kept); } svg .duplicate { fill: var(--duplicate); }
svg .rejected { fill: var(--rejected); } svg .quarantined { fill: var(--quarantined); }
i.read { background: var(--read); } i.kept { background: var(--kept); } i.duplicate { background: var(--duplicate); }
i.rejected { background: var(--rejected); } i.quarantined { background: var(--quarantined); }
.sub td.name { padding-left: 20px; color: var(--soft); }
.tokens { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 2px 26px; font-size: 14px; }
.tokens div { display: flex; gap: 8px; align-items: baseline; border-bottom: 1px solid var(--line); padding: 2px 0; }
.tokens .rank { color: var(--soft); width: 2.2em; text-align: right; font-size: 12px; }
.tokens code { flex: 1; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.example.kept { border-left: 4px solid var(--kept); } .example.duplicate { border-left: 4px solid var(--duplicate); }
.example.rejected { border-left: 4px solid var(--rejected); }
.example.quarantined { border-left: 4px solid var(--quarantined); }
"""
