"use strict";
// The page's charts. Curves, icons and plotly are fetched when one of them comes into view.

const MOST_CURVES = 12; // where nothing is chosen
let charts = null; // a promise of plotly and its data
const near = new Set(); // the charts that are on the screen or nearly

function load(source) {
  return new Promise((resolve, reject) => {
    document.head.append(make("script", { src: source, onload: resolve, onerror: () => reject(new Error(`${source} is missing`)) }));
  });
}

async function draw() {
  if (!near.size) return;
  charts ??= Promise.all([load("gallery/plotly.min.js"), load("gallery/charts.js")]);
  await charts;
  if (near.has("curve-plot")) drawCurves();
  if (near.has("scatter-plot")) drawScatter();
}

let drawing = 0;
function drawSoon() {
  cancelAnimationFrame(drawing);
  drawing = requestAnimationFrame(draw);
}

const plain = (words) => words.replace(/&/g, "&amp;").replace(/</g, "&lt;"); // plotly reads tags
const themed = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function axis(title, log) {
  return { title: { text: plain(title) }, type: log ? "log" : "linear", gridcolor: themed("--line"), linecolor: themed("--line"), zeroline: false, exponentformat: "power" };
}

function layout(more) {
  return { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: themed("--ink"), family: "system-ui, sans-serif", size: 12 }, margin: { l: 64, r: 16, t: 12, b: 48 }, ...more };
}

const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

function drawCurves() {
  const term = byId("curve-term").value;
  const runs = (chosen.size ? [...chosen] : order.slice(0, MOST_CURVES)).filter((run) => CHARTS.curves[run][term]);
  const log = byId("curve-log").checked;
  const traces = runs.map((run, i) => ({
    x: CHARTS.curves[run].step,
    y: CHARTS.curves[run][term].map((value) => (log && value <= 0 ? null : value)),
    name: plain(describe(run)),
    mode: "lines",
    line: { color: colourOf(i), width: 2 },
    hovertemplate: `step %{x}: %{y:.4g}<extra>${plain(describe(run))}</extra>`,
  }));
  byId("curve-status").textContent = chosen.size ? `${runs.length} chosen` : `none chosen: the first ${runs.length} shown`;
  Plotly.react("curve-plot", traces, layout({
    xaxis: axis("step", false), yaxis: axis(term, log), showlegend: runs.length <= 24 && innerWidth > 700,
    legend: { bgcolor: "rgba(0,0,0,0)" }, hovermode: "closest",
  }), CONFIG);
}

const SIGNS = { high: -1, low: 1 }; // of numbers of which one way is better; settings have none

function front(runs, names) {
  const points = runs.map((run) => names.map((name) => SIGNS[DATA.numbers[name]] * valueOf(run, name)));
  const beats = (a, b) => a.every((value, i) => value <= b[i]) && a.some((value, i) => value < b[i]);
  return runs.filter((_, i) => !points.some((other) => beats(other, points[i])));
}

function drawScatter() {
  const [x, y, z] = ["x", "y", "colour"].map((end) => byId(`scatter-${end}`).value);
  const log = byId("scatter-log").checked;
  const names = [...new Set([x, y, z].filter(Boolean))];
  const runs = order.filter((run) => RUNS[run].picture && names.every((name) => typeof valueOf(run, name) === "number") && !(log && (valueOf(run, x) <= 0 || valueOf(run, y) <= 0)));
  const ranked = names.filter((name) => DATA.numbers[name] in SIGNS);
  const best = (ranked.length ? front(runs, ranked) : []).sort((a, b) => valueOf(a, x) - valueOf(b, x));
  const isBest = new Set(best);
  const side = runs.length <= 30 ? 44 : runs.length <= 120 ? 28 : 16;
  const trace = {
    x: runs.map((run) => valueOf(run, x)), y: runs.map((run) => valueOf(run, y)), customdata: runs, mode: "markers", hoverinfo: "none",
    marker: {
      symbol: "square", size: side + 6, opacity: 1,
      color: z ? runs.map((run) => valueOf(run, z)) : themed("--line"), colorscale: "Viridis", showscale: Boolean(z), colorbar: { title: { text: plain(z) }, thickness: 12, outlinewidth: 0 },
      line: { color: themed("--accent"), width: runs.map((run) => (isBest.has(run) ? Math.max(2, side / 11) : 0)) },
    },
  };
  const line = { x: best.map((run) => valueOf(run, x)), y: best.map((run) => valueOf(run, y)), mode: "lines", line: { color: themed("--accent"), width: 1.5, dash: "dot" }, hoverinfo: "skip" };
  const plot = byId("scatter-plot");
  const margin = { l: 64, r: z ? 90 : 24, t: 24, b: 48 };
  const place = (value) => (log ? Math.log10(value) : value);
  const pixels = { x: Math.max(1, plot.clientWidth - margin.l - margin.r), y: Math.max(1, plot.clientHeight - margin.t - margin.b) };
  const span = (values, length) => {
    const [low, high] = [Math.min(...values.map(place)), Math.max(...values.map(place))];
    const edge = Math.min(0.4, (side / 2 + 12) / length); // so that no picture is cut by the frame
    const room = ((high - low || Math.abs(high) || 1) * edge) / (1 - 2 * edge);
    return [low - room, high + room];
  };
  const ranges = runs.length ? { x: span(trace.x, pixels.x), y: span(trace.y, pixels.y) } : {};
  // An image's size is in the axis's units, so it follows from the range and the plot's pixels.
  const images = (range) => runs.map((run) => ({
    source: CHARTS.icons[run], xref: "x", yref: "y", x: place(valueOf(run, x)), y: place(valueOf(run, y)), xanchor: "center", yanchor: "middle", sizing: "stretch",
    sizex: (side * Math.abs(range.x[1] - range.x[0])) / pixels.x,
    sizey: (side * Math.abs(range.y[1] - range.y[0])) / pixels.y,
  }));
  const whole = layout({
    margin, showlegend: false, hovermode: "closest", images: runs.length ? images(ranges) : [],
    xaxis: { ...axis(x, log), range: ranges.x }, yaxis: { ...axis(y, log), range: ranges.y },
  });
  Plotly.react(plot, best.length > 1 && names.length === 2 && ranked.length === 2 ? [line, trace] : [trace], whole, CONFIG);
  plot.removeAllListeners("plotly_hover");
  for (const event of ["plotly_unhover", "plotly_click", "plotly_relayout"]) plot.removeAllListeners(event);
  plot.on("plotly_hover", ({ points: [point], event }) => hover(point.customdata, event, names));
  plot.on("plotly_unhover", () => (byId("hover").hidden = true));
  plot.on("plotly_click", ({ points: [point] }) => {
    byId("hover").hidden = true;
    enlarge(point.customdata);
  });
  plot.on("plotly_relayout", (change) => {
    if (Object.keys(change).some((key) => key.startsWith("images"))) return;
    Plotly.relayout(plot, { images: images({ x: plot.layout.xaxis.range, y: plot.layout.yaxis.range }) });
  });
  const item = (run) => make("li", {}, make("button", { type: "button", onclick: () => enlarge(run) }, make("img", { src: CHARTS.icons[run], alt: "", loading: "lazy" }), make("span", {}, describe(run), make("small", {}, names.map((name) => `${name} ${text(valueOf(run, name))}`).join(", ")))));
  const words = `Not beaten in ${ranked.join(", ")} at once: ${best.length} of ${runs.length} runs`;
  byId("front").replaceChildren(...(ranked.length ? [words, make("ul", {}, ...best.slice(0, 40).map(item))] : []));
}

function hover(run, event, names) {
  const box = byId("hover");
  box.replaceChildren(make("img", { src: RUNS[run].thumbnail, alt: "" }), make("p", {}, describe(run)), make("p", {}, names.map((name) => `${name} ${text(valueOf(run, name))}`).join(", ")));
  box.hidden = false;
  box.style.left = `${Math.max(8, Math.min(event.clientX + 24, innerWidth - 260))}px`;
  box.style.top = `${Math.max(8, Math.min(event.clientY - 100, innerHeight - 260))}px`;
}
