"""The HTML document of a report: its markup and its style, self-contained."""

from __future__ import annotations

from string import Template

DOCUMENT = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root {
  color-scheme: light dark;
  --page: $light; --ink: #1f2328; --soft: #59636e; --rule: #dfe2e6; --panel: #f6f7f9; --accent: #d1492e;
}
@media (prefers-color-scheme: dark) {
  :root { --page: $dark; --ink: #e3e6ea; --soft: #9aa4af; --rule: #30363d; --panel: #1c2026; --accent: #ff8a6b; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 1.0625rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif;
  overflow-wrap: break-word;
}
main { max-width: 46rem; margin: 0 auto; padding: clamp(1.75rem, 6vw, 4.5rem) 1.25rem 5rem; }
h1, h2 { line-height: 1.25; letter-spacing: -0.012em; text-wrap: balance; overflow-wrap: anywhere; }
h1 { margin: 0 0 1.75rem; font-size: clamp(1.6rem, 1.2rem + 2vw, 2.2rem); font-weight: 680; }
h2 { margin: 3.25rem 0 0.75rem; font-size: 1.3rem; font-weight: 650; }
p { margin: 0 0 1rem; text-wrap: pretty; overflow-wrap: anywhere; }
.verdict {
  padding: 1.2rem 1.35rem; background: var(--panel); border-left: 4px solid var(--accent); border-radius: 0 8px 8px 0;
}
.verdict p { margin: 0.7rem 0 0; }
.verdict p:first-child { margin: 0; font-size: 1.2rem; font-weight: 650; line-height: 1.35; text-wrap: balance; }
figure { margin: 1.25rem 0 2rem; }
figure img { display: block; width: 100%; max-width: 39rem; height: auto; margin: 0 auto; }
figure .scroll img { min-width: 33rem; max-width: none; }
figcaption { margin-top: 0.7rem; color: var(--soft); font-size: 0.9rem; line-height: 1.5; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; border-radius: 2px; }
table {
  width: 100%; border-collapse: collapse; font-size: 0.9rem; line-height: 1.4; font-variant-numeric: tabular-nums;
}
th, td { padding: 0.45rem 0 0.45rem 1.1rem; text-align: right; white-space: nowrap; font-weight: 400; }
th:first-child { padding-left: 0; text-align: left; }
thead th { color: var(--soft); font-size: 0.8rem; vertical-align: bottom; border-bottom: 1.5px solid var(--rule); }
tbody tr + tr > * { border-top: 1px solid var(--rule); }
tbody th[scope="row"] { min-width: 6.5rem; font-weight: 550; white-space: normal; }
thead th:first-child, tbody th[scope="row"] { position: sticky; left: 0; background: var(--page); }
td:last-child { white-space: normal; }
.group th { padding-top: 1.5rem; color: var(--soft); font-size: 0.8rem; }
.group span { position: sticky; left: 0; }
tbody .group + tr > * { border-top: 1.5px solid var(--rule); }
@media print { main { max-width: none; padding: 0; } .scroll { overflow: visible; } }
</style>
</head>
<body>
<main>
<h1>$title</h1>
<section class="verdict" aria-label="Verdict">
<p>$verdict</p>
$findings
</section>
$sections
</main>
</body>
</html>
""")
