"""The report's look, and the few lines of script that sort its tables."""

from __future__ import annotations

CSS = """
:root{--ink:#1b2430;--soft:#52606d;--line:#d9dfe5;--fill:#f5f7f9;--blue:#2f6690;--teal:#0f766e;
--red:#b91c1c;--amber:#92400e}
*{box-sizing:border-box}
body{margin:0;background:#fff;color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","DejaVu Sans",sans-serif}
body>*{max-width:1120px;margin:0 auto;padding:0 32px}
header.top{padding-top:36px}
h1{font-size:28px;line-height:1.2;margin:0 0 6px;font-weight:650;letter-spacing:-.01em}
h2{font-size:20px;line-height:1.3;margin:44px 0 10px;padding-top:18px;font-weight:650;
border-top:1px solid var(--line)}
h3{font-size:16px;margin:28px 0 8px;font-weight:650}
p{margin:0 0 12px;max-width:78ch}
.lead{color:var(--soft)}
.note{color:var(--soft);font-size:13px}
a{color:var(--blue)}
code{font:13px/1.45 ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;
overflow-wrap:anywhere}
nav ol{columns:2;column-gap:40px;margin:6px 0 0;padding-left:20px;font-size:14px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));gap:14px;
margin:14px 0 18px}
.card{border:1px solid var(--line);border-radius:8px;padding:14px 16px 12px}
.card .what{font-size:13px;color:var(--soft)}
.card .big{font-size:27px;line-height:1.25;font-weight:650;letter-spacing:-.01em;
font-variant-numeric:tabular-nums}
.card .more{font-size:13px;color:var(--soft)}
.hint{border:1px solid var(--line);border-left:4px solid var(--soft);border-radius:4px;
padding:10px 14px;margin:12px 0;max-width:none}
.hint.bad{border-left-color:var(--red)}
.hint.fine{border-left-color:var(--teal)}
.hint strong{display:block}
.scroll{overflow-x:auto;margin:10px 0 16px}.plot{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:6px 10px;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
thead th{font-weight:600;font-size:13px;color:var(--soft);vertical-align:bottom;
border-bottom:2px solid var(--line)}
th.num,td.num{text-align:right}
td.num{white-space:nowrap}
table.results td.num{white-space:normal}
table.results th,table.results td{padding:6px 7px;font-size:13px}
table.results .sem{display:block;white-space:nowrap}
table.results td.name{min-width:104px}
tbody th{font-weight:400}
td.name{overflow-wrap:break-word}
table.fixed{table-layout:fixed}
table.plain{table-layout:fixed}
table.plain tbody th{width:230px;color:var(--soft)}
table.plain td{overflow-wrap:anywhere}
thead button{all:unset;cursor:pointer}
thead button:hover,thead button:focus-visible{color:var(--ink);text-decoration:underline}
.sem{color:var(--soft);font-size:12px}
.empty{color:var(--soft)}
.recall{display:inline-block;vertical-align:middle;margin-right:8px}
svg{max-width:100%;height:auto;display:block}
svg text{font-size:11px;fill:var(--ink);font-family:inherit}
svg .tick,svg .label{fill:var(--soft)}
svg .row-name{font-size:13px}svg .row-note{font-size:12px;fill:var(--soft)}
svg .axis{stroke:#8895a3;fill:none}
svg .base{stroke:#c3ccd5;fill:none}
svg .grid{stroke:#e7ebef;fill:none}
svg .threshold{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:5 3;fill:none}
svg .threshold-label{font-weight:600}
svg path.good,svg rect.good,svg circle.good{fill:#5b8db8}
svg path.defect,svg rect.defect{fill:#2a9187}
svg path.wrong,svg rect.wrong,svg circle.wrong{fill:#c62828}
svg path.rejected,svg rect.rejected,svg circle.rejected{fill:#c2570c}
svg .track{fill:#e7ebef}
svg .curve{stroke:var(--blue);stroke-width:2;fill:none;stroke-linejoin:round}
svg .chance{stroke:#9aa6b2;stroke-dasharray:3 3;fill:none}
svg .operating{fill:#fff;stroke:#c62828;stroke-width:2}
.key{display:flex;flex-wrap:wrap;gap:4px 20px;font-size:13px;color:var(--soft);margin:4px 0 10px}
.key svg{display:inline-block;margin-right:6px;vertical-align:-1px}
.curves{display:grid;grid-template-columns:repeat(4,1fr);gap:8px;margin:8px 0}
.curves figure,.gallery figure{margin:0}
.curves figcaption{font-size:13px;font-weight:600}
.beside{display:grid;grid-template-columns:430px 1fr;gap:32px;align-items:start}
.gallery{display:grid;grid-template-columns:repeat(3,1fr);gap:20px 18px;margin:12px 0 8px}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:3px}
.pair img{width:100%;height:auto;display:block;background:var(--fill)}
.pair.one{grid-template-columns:1fr}
.whole img{width:100%;height:auto;display:block}
.pair.one img{max-width:calc(50% - 1.5px)}
.gallery figcaption{font-size:12.5px;line-height:1.4;padding-top:6px;overflow-wrap:anywhere}
.gallery .verdict{font-weight:600}
.gallery .verdict.bad{color:var(--red)}
.gallery .verdict.fine{color:var(--teal)}
.gallery .file{color:var(--soft)}
.missing{display:flex;align-items:center;justify-content:center;min-height:110px;padding:8px;
background:var(--fill);color:var(--soft);font-size:12.5px;text-align:center}
footer{color:var(--soft);font-size:12.5px;margin-top:48px!important;padding-bottom:48px!important}
@media(max-width:700px){.plot svg{max-width:none;width:1040px}}
@media(max-width:900px){.beside{grid-template-columns:1fr}
.curves{grid-template-columns:repeat(2,1fr)}
.gallery{grid-template-columns:repeat(2,1fr)}body>*{padding:0 16px}}
@media print{@page{size:A4;margin:13mm 12mm}
body{font-size:10pt;-webkit-print-color-adjust:exact;print-color-adjust:exact}
body>*{max-width:none;padding:0}header.top{padding-top:0}
nav{display:none}a{color:inherit;text-decoration:none}
h1{font-size:18pt}h2{font-size:13pt;margin-top:18pt;padding-top:8pt}h3{font-size:11pt}
h2,h3{break-after:avoid}
.beside{grid-template-columns:3fr 4fr;gap:12pt}
.curves{grid-template-columns:repeat(4,1fr)}.gallery{grid-template-columns:repeat(3,1fr)}
section.run{break-before:page}h2+.note,.legend,.key{break-after:avoid}
.beside,.card,.hint,figure,tr,.gallery figure,svg{break-inside:avoid}
.intro{break-inside:avoid}
thead{display:table-header-group}
table{font-size:8pt}th,td{padding:3pt 5pt}thead th{font-size:7.5pt}
.cards{grid-template-columns:repeat(4,1fr);gap:6pt}.card{padding:7pt 8pt}
.card .big{font-size:14pt}.card .what,.card .more,.note{font-size:8pt}
.gallery{gap:9pt 8pt}.gallery figcaption{font-size:7.5pt}
.scroll,.plot{overflow:visible}.plot svg{max-width:100%}table.plain tbody th{width:42mm}
code{font-size:8pt}}
"""

SORT_SCRIPT = """
document.querySelectorAll("table.sortable").forEach(function(table){
  var heads = table.tHead.rows[0].cells;
  Array.prototype.forEach.call(heads, function(head, column){
    var button = document.createElement("button");
    button.type = "button";
    button.title = "sort by this column";
    while (head.firstChild) button.appendChild(head.firstChild);
    head.appendChild(button);
    button.addEventListener("click", function(){
      var down = head.getAttribute("aria-sort") === "ascending";
      Array.prototype.forEach.call(heads, function(h){ h.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      var body = table.tBodies[0], rows = Array.prototype.slice.call(body.rows);
      function value(row){
        var cell = row.cells[column], number = cell.getAttribute("data-value");
        return number === null ? cell.textContent : number === "" ? null : Number(number);
      }
      rows.sort(function(a, b){
        var x = value(a), y = value(b);
        if (x === null || y === null) return (x === null) - (y === null);
        var order = typeof x === "number" ? x - y : x.localeCompare(y);
        return down ? -order : order;
      });
      rows.forEach(function(row){ body.appendChild(row); });
    });
  });
});
"""
