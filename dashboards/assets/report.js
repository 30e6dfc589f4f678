const dark = matchMedia("(prefers-color-scheme: dark)");
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const specs = new Map(all("[data-figure]").map(source => [source.dataset.figure, JSON.parse(source.textContent)]));
async function start() {
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent.trim()), c => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  // a figure is drawn when it comes near the window: two hundred cells open as fast as ten
  const near = new IntersectionObserver(entries => entries.filter(e => e.isIntersecting).forEach(e => draw(e.target.id)), {rootMargin: "600px"});
  all(".figure").forEach(figure => near.observe(figure));
  dark.addEventListener("change", redraw);
  addEventListener("beforeprint", () => specs.forEach((_, id) => draw(id)));
}
const drawn = new Set();
function redraw() { drawn.forEach(draw); }
function draw(id) {
  drawn.add(id);
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink"), line = style.getPropertyValue("--line");
  const figure = specs.get(id);
  const layout = {...figure.layout, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {color: ink}};
  for (const axis of Object.keys(layout).filter(name => /^[xy]axis/.test(name))) layout[axis] = {...layout[axis], gridcolor: line, zerolinecolor: line};
  Plotly.react(id, figure.data.map(kept), layout, {responsive: true, displaylogo: false, displayModeBar: false});
}
function wanted() { return all("#filters select").filter(s => s.value).map(s => [s.dataset.axis, s.value]); }
const fits = (axes, wishes) => wishes.every(([axis, value]) => axes?.[axis] === undefined || axes[axis] === value);
function kept(trace) {
  const wishes = wanted();
  if (!wishes.length) return trace;
  const here = fits(trace.meta, wishes);
  if (!Array.isArray(trace.customdata)) return {...trace, visible: here};
  return {...trace, visible: here, y: trace.y.map((value, at) => fits(trace.customdata[at], wishes) ? value : null)};
}
function filter() {
  const wishes = wanted(), words = document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of all("[data-filtered] tbody tr")) {
    const text = row.closest("#cells") && words.length ? row.textContent.toLowerCase() : "";
    row.hidden = !fits(row.dataset, wishes) || (row.closest("#cells") && !words.every(word => text.includes(word)));
  }
  all(".drawn").forEach(section => { section.hidden = !fits(section.dataset, wishes); });
  const rows = all("#cells tbody tr");
  document.getElementById("shown").textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length} cells`;
  if (window.Plotly) redraw();
}
function search() {
  const words = document.getElementById("search").value.toLowerCase().split(/\s+/).filter(Boolean), asked = all(".asked");
  for (const one of asked) one.hidden = !words.every(word => one.textContent.toLowerCase().includes(word));
  document.getElementById("found").textContent = words.length ? `${asked.filter(one => !one.hidden).length} of ${asked.length} prompts` : "";
}
const quoted = value => /[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? "");
function save(name, rows) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([rows.map(row => row.map(quoted).join(",")).join("\n") + "\n"], {type: "text/csv"}));
  link.download = name + ".csv";
  link.click();
  URL.revokeObjectURL(link.href);
}
function numbers(figure) {
  const rows = [["series", "panel", "x", "y", "low", "high", "label"]];
  for (const trace of figure.data.map(kept).filter(t => t.visible !== false && Array.isArray(t.x) && Array.isArray(t.y)))
    trace.x.forEach((x, i) => trace.y[i] !== null && rows.push([trace.name, trace.xaxis ?? "x", x, trace.y[i],
      trace.error_y?.arrayminus ? trace.y[i] - trace.error_y.arrayminus[i] : "", trace.error_y?.array ? trace.y[i] + trace.error_y.array[i] : "",
      Array.isArray(trace.text) ? trace.text[i] : trace.text]));
  return rows;
}
document.addEventListener("click", event => {
  const {export: kind, of} = event.target.dataset ?? {};
  if (!kind) return;
  if (kind === "table") return save(of, all(`#${of} tr`).filter(row => !row.hidden).map(row => [...row.cells].map(cell => cell.textContent)));
  const name = document.getElementById(of).closest("section").querySelector("h2").textContent;
  if (kind === "csv") return save(name, numbers(specs.get(of)));
  draw(of);
  Plotly.downloadImage(of, {format: kind, filename: name, width: 1000, height: 600});
});
document.getElementById("filters").addEventListener("change", filter);
document.getElementById("filters").addEventListener("reset", () => setTimeout(filter));
document.getElementById("filter").addEventListener("input", filter);
document.getElementById("search")?.addEventListener("input", search);
filter();
start();
