"""Colours and type, as one style sheet for pages and pictures.

Colours come from a palette that people with the common colour blindnesses can tell apart (after Okabe and Ito, 2008), made
darker for light paper and lighter for dark; every line colour has a contrast of 3:1 or more against its card. Shape, dash
and label repeat what colour says. Nothing is set in ``style`` attributes, so a page can forbid every style but this sheet.
"""

SERIES_COLOURS = 8

_COLOURS = """
:root,svg.gm{
--page:#f4f6f8;--card:#ffffff;--ink:#18212b;--muted:#566270;--grid:#e4e8ed;--axis:#a3adb8;--edge:#dde3e9;--accent:#0067ac;
--s0:#0072b2;--s1:#d55e00;--s2:#008c66;--s3:#b3558d;--s4:#8a6a00;--s5:#2f8fc6;--s6:#5b6672;--s7:#7a4fc0;
--good:#00795a;--caution:#9a6a00;--warn:#c05200;--bad:#b3261e;--neutral:#5b6672;
--good-back:#e2f3ee;--caution-back:#fbf2d9;--warn-back:#fdeadb;--bad-back:#fae3e1;--neutral-back:#edf0f3;
--low:#c24a00;--high:#005f9e;--on-strong:#ffffff;--tip:#18212b;--on-tip:#ffffff}
@media (prefers-color-scheme:dark){:root,svg.gm{
--page:#0d1218;--card:#151c24;--ink:#e4eaf0;--muted:#94a2b1;--grid:#242e39;--axis:#4c5a68;--edge:#26313c;--accent:#63b8f0;
--s0:#4aaee8;--s1:#f0883e;--s2:#2dbd92;--s3:#dd8fbd;--s4:#d9b13b;--s5:#a0d4f5;--s6:#a5b1bd;--s7:#b497f0;
--good:#35c296;--caution:#e0b33c;--warn:#f0883e;--bad:#ff7b72;--neutral:#94a2b1;
--good-back:#10302a;--caution-back:#332a10;--warn-back:#3a2413;--bad-back:#3b1a1c;--neutral-back:#1e2730;
--low:#f08a4b;--high:#4aaee8;--on-strong:#0d1218;--tip:#e4eaf0;--on-tip:#0d1218}}
@media print{:root,svg.gm{
--page:#ffffff;--card:#ffffff;--ink:#000000;--muted:#444c55;--grid:#dddddd;--axis:#888888;--edge:#cccccc;--accent:#005a96;
--s0:#0072b2;--s1:#d55e00;--s2:#008c66;--s3:#b3558d;--s4:#8a6a00;--s5:#2f8fc6;--s6:#5b6672;--s7:#7a4fc0;
--good:#00795a;--caution:#9a6a00;--warn:#c05200;--bad:#b3261e;--neutral:#5b6672;
--good-back:#e2f3ee;--caution-back:#fbf2d9;--warn-back:#fdeadb;--bad-back:#fae3e1;--neutral-back:#edf0f3;
--low:#c24a00;--high:#005f9e;--on-strong:#ffffff;--tip:#18212b;--on-tip:#ffffff}}
"""

_SERIES = "".join(f".gm .s{n}{{--c:var(--s{n})}}" for n in range(SERIES_COLOURS))
_TONES = "".join(
    f".gm .{tone},.{tone}{{--c:var(--{tone});--c-back:var(--{tone}-back)}}"
    for tone in ("good", "caution", "warn", "bad", "neutral")
)

PICTURE_STYLE = (
    _COLOURS
    + _SERIES
    + _TONES
    + """
svg.gm{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"Liberation Sans",sans-serif;font-variant-numeric:tabular-nums;color:var(--ink)}
.gm text{fill:var(--muted)}
.gm .title{font-size:15px;font-weight:600;fill:var(--ink)}
.gm .key,.gm .name{fill:var(--ink)}
.gm .foot{font-size:11px}
.gm .context{font-size:11px}
.gm .empty{font-size:14px;fill:var(--muted)}
.gm .card{fill:var(--card)}
.gm .void{fill:var(--neutral-back);opacity:.5}
.gm .grid{stroke:var(--grid);stroke-width:1;shape-rendering:crispEdges}
.gm .axis{stroke:var(--axis);stroke-width:1;fill:none;shape-rendering:crispEdges}
.gm .line{fill:none;stroke:var(--c);stroke-width:1.6;stroke-linejoin:round;stroke-linecap:round}
.gm .lone{fill:none;stroke:var(--c);stroke-width:5;stroke-linecap:round}
.gm .crisp{shape-rendering:crispEdges}
.gm .thin{stroke-width:1.1}
.gm .area{fill:var(--c);fill-opacity:.16;stroke:none}
.gm .band{fill:var(--c);fill-opacity:.2;stroke:none}
.gm .block{fill:var(--c)}
.gm .bin{fill:var(--c);fill-opacity:.75}
.gm .bin.over{fill-opacity:.22;stroke:var(--c);stroke-width:1.2}
.gm .span{fill:var(--c);fill-opacity:.13;stroke:none}
.gm .level{stroke:var(--c,var(--muted));stroke-width:1.2;stroke-dasharray:5 4;fill:none}
.gm .level-name{fill:var(--c,var(--muted));font-size:11px;paint-order:stroke;stroke:var(--card);stroke-width:3px;stroke-linejoin:round}
.gm .mark{fill:var(--c);stroke:var(--card);stroke-width:.8}
.gm .point{fill:var(--c);fill-opacity:.6}
.gm .point.ring{fill:var(--card);fill-opacity:1;stroke:var(--c);stroke-width:1.6}
.gm .cloud{fill:none;stroke:var(--c);stroke-width:3;stroke-linecap:round;stroke-opacity:.45}
.gm .cell-low{fill:var(--low)}.gm .cell-high{fill:var(--high)}.gm .cell-none{fill:var(--neutral-back)}
.gm .cell-cross{stroke:var(--axis);stroke-width:1}
.gm .cell-text{font-size:11px;fill:var(--ink)}.gm .cell-text.strong{fill:var(--on-strong)}
.gm .cursor{stroke:var(--muted);stroke-width:1;stroke-dasharray:3 3;pointer-events:none}
.gm .dot{fill:var(--c);stroke:var(--card);stroke-width:1.5;pointer-events:none}
"""
)

PAGE_STYLE = (
    ":root{color-scheme:light dark}"
    + PICTURE_STYLE
    + """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"Liberation Sans",sans-serif}
main,header.top,nav.contents,footer{max-width:1120px;margin:0 auto;padding:0 24px}
header.top{padding-top:30px}
h1{font-size:26px;line-height:1.25;margin:0;letter-spacing:-.01em}
.subtitle{color:var(--muted);margin:4px 0 0}
nav.contents{margin-top:14px}
nav.contents a{display:inline-block;margin:0 16px 4px 0;color:var(--accent);text-decoration:none;font-size:14px}
nav.contents a:hover{text-decoration:underline}
a:focus-visible,button:focus-visible,svg:focus-visible,.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
section{margin:30px 0 0}
h2{font-size:18px;margin:0 0 4px}
p{margin:6px 0 10px;max-width:78ch}
.intro{color:var(--muted)}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(168px,1fr));gap:12px;margin:14px 0;padding:0;list-style:none}
.tile{background:var(--card);border:1px solid var(--edge);border-left:4px solid var(--c,var(--edge));border-radius:8px;padding:11px 14px}
.tile .label{display:block;color:var(--muted);font-size:12.5px}
.tile .value{display:block;font-size:22px;font-weight:600;line-height:1.3;font-variant-numeric:tabular-nums;color:var(--ink);overflow-wrap:anywhere}
.tile .value.long{font-size:17px;line-height:1.68}
.tile .value.longer{font-size:14.5px;line-height:1.97}
.tile.good .value,.tile.bad .value,.tile.warn .value,.tile.caution .value{color:var(--c)}
.tile .more{display:block;color:var(--muted);font-size:12.5px}
.charts{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:14px;margin:14px 0}
.panel{margin:14px 0;background:var(--card);border:1px solid var(--edge);border-radius:8px;padding:8px 10px;position:relative;min-width:0}
.charts .panel{margin:0}.panel.full{grid-column:1/-1}
.panel svg{display:block;width:100%;height:auto}
.panel svg[data-hover]{cursor:crosshair;touch-action:pan-y}
.tip{position:absolute;z-index:2;pointer-events:none;background:var(--tip);color:var(--on-tip);border-radius:6px;padding:6px 9px;font-size:12px;line-height:1.45;font-variant-numeric:tabular-nums;white-space:nowrap;opacity:.95}
.tip b{display:block;font-weight:600}
.note{border-left:4px solid var(--c);background:var(--c-back);border-radius:0 8px 8px 0;padding:9px 14px;margin:12px 0;max-width:none}
.note b{color:var(--c);margin-right:6px}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--edge);border-radius:8px;margin:14px 0}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:10px 14px 6px;font-weight:600}
caption .more{font-weight:400;color:var(--muted);margin-left:8px}
th,td{padding:6px 14px;text-align:left;border-top:1px solid var(--grid);vertical-align:top}
thead th{border-top:0;border-bottom:1px solid var(--axis);color:var(--muted);font-weight:600;white-space:nowrap}
tbody tr:first-child td,tbody tr:first-child th{border-top:0}
tbody tr:hover{background:var(--neutral-back)}
tbody th{font-weight:500}
.number{text-align:right;white-space:nowrap}
td.good,td.bad,td.warn,td.caution{color:var(--c);font-weight:600}
th button{all:unset;cursor:pointer;font:inherit}
th button::after{content:"\\2195";opacity:.35;margin-left:5px}
th[aria-sort=ascending] button::after{content:"\\2191";opacity:1}
th[aria-sort=descending] button::after{content:"\\2193";opacity:1}
pre{background:var(--card);border:1px solid var(--edge);border-radius:8px;padding:10px 14px;overflow-x:auto;font-size:13px}
footer{color:var(--muted);font-size:13px;padding-top:26px;padding-bottom:34px}
@media screen and (max-width:760px){.charts{grid-template-columns:minmax(0,1fr)}.panel{overflow-x:auto}.panel.full svg{min-width:860px}.panel svg{min-width:430px}main,header.top,nav.contents,footer{padding-left:12px;padding-right:12px}}
@media print{body{font-size:10pt;print-color-adjust:exact;-webkit-print-color-adjust:exact}main,header.top,footer{padding:0}nav.contents{display:none}.panel,.tile,.note,tr{break-inside:avoid}h2{break-after:avoid}.scroll{overflow:visible}th button::after{content:""}}
"""
)
