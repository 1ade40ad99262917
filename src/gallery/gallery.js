"use strict";
// The page's behaviour: lay out, filter, enlarge, compare. Data comes from the page itself (#data);
// curves, icons and plotly are fetched from beside it when a chart comes into view.

const DATA = JSON.parse(document.getElementById("data").textContent);
const RUNS = DATA.runs;
const COLOURS = ["#4477aa", "#ee6677", "#228833", "#ccaa22", "#66b5d6", "#aa3377", "#888888", "#ee8833", "#44aa99", "#999933"];
const MOST_CURVES = 12; // where nothing is chosen

const byId = (id) => document.getElementById(id);
const cells = new Map(); // run -> its element: moved, not made again
const chosen = new Set();
const filters = [];
let order = RUNS.map((_, i) => i); // the runs that are shown, as they are laid out
let open = null;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function text(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value).includes("/") ? String(value).split("/").pop() : String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  const digits = Number(value.toPrecision(4));
  return size >= 1e5 || size < 1e-3 ? digits.toExponential().replace("e+", "e") : String(digits);
}

const valueOf = (run, name) => (name in DATA.keys ? RUNS[run].keys[name] : RUNS[run].numbers[name]) ?? null;

function compareValues(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "number" || typeof b === "number") return typeof a === "number" ? -1 : 1;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

const settings = (run, without = []) =>
  Object.keys(DATA.keys).filter((key) => !without.includes(key) && RUNS[run].keys[key] !== null);

function describe(run) {
  const keys = settings(run).slice(0, 4).map((key) => `${key} ${text(RUNS[run].keys[key])}`);
  return keys.join(", ") || RUNS[run].name;
}

// ---------------------------------------------------------------- filter and sort

const TESTS = {
  is: (value, wanted) => text(value) === wanted || String(value) === wanted || (typeof value === "number" && wanted !== "" && value === Number(wanted)),
  not: (value, wanted) => !TESTS.is(value, wanted),
  least: (value, wanted) => typeof value === "number" && value >= Number(wanted),
  most: (value, wanted) => typeof value === "number" && value <= Number(wanted),
  contains: (value, wanted) => String(value).toLowerCase().includes(wanted.toLowerCase()),
};

function visible() {
  const key = byId("sort").value;
  const sign = byId("descending").checked ? -1 : 1;
  const kept = RUNS.map((_, i) => i)
    .filter((i) => RUNS[i].picture || settings(i).length)
    .filter((i) => filters.every(({ field, how, value }) => TESTS[how](valueOf(i, field), value)));
  const missing = (i) => key !== "" && valueOf(i, key) === null;
  return kept.sort((a, b) => missing(a) - missing(b) || sign * (key ? compareValues(valueOf(a, key), valueOf(b, key)) : a - b) || a - b);
}

byId("filter").addEventListener("submit", (event) => {
  event.preventDefault();
  const [field, how, input] = [byId("filter-field").value, byId("filter-how").value, byId("filter-value")];
  const number = ["least", "most"].includes(how);
  input.setCustomValidity(number && (input.value.trim() === "" || Number.isNaN(Number(input.value))) ? "A number" : "");
  if (!input.reportValidity()) return;
  filters.push({ field, how, value: input.value.trim() });
  input.value = "";
  showFilters();
});
byId("filter-value").addEventListener("input", (event) => event.target.setCustomValidity(""));
byId("filter-how").addEventListener("change", () => byId("filter-value").setCustomValidity(""));
byId("filter-field").addEventListener("change", suggest);

function suggest() {
  const values = DATA.keys[byId("filter-field").value] ?? [];
  byId("filter-values").replaceChildren(...values.slice(0, 100).map((value) => make("option", { value: value === null ? "–" : String(value) })));
}

function showFilters() {
  const words = byId("filter-how").options;
  byId("filters").replaceChildren(
    ...filters.map((filter) => {
      const how = [...words].find((option) => option.value === filter.how).textContent;
      const remove = () => {
        filters.splice(filters.indexOf(filter), 1);
        showFilters();
        byId("filter-value").focus();
      };
      const button = make("button", { type: "button", "aria-label": `Remove filter: ${filter.field} ${how} ${filter.value}`, onclick: remove }, `${filter.field} ${how} ${filter.value} ✕`);
      return make("li", {}, button);
    }),
  );
  layOut();
}

// ---------------------------------------------------------------- the grid

function cell(run) {
  if (cells.has(run)) return cells.get(run);
  const { picture, thumbnail, width, height, status } = RUNS[run];
  const figure = make("figure", { class: "cell", "data-run": run });
  if (picture) {
    const image = make("img", { loading: "lazy", decoding: "async", width, height, src: thumbnail, alt: `Pastiche: ${describe(run)}` });
    figure.append(make("button", { type: "button", class: "picture", title: RUNS[run].name, onclick: () => enlarge(run) }, image));
  } else {
    figure.append(make("a", { class: "missing", href: `#problem-${run}`, title: RUNS[run].reason }, `${status}: no picture`));
  }
  const box = make("input", { type: "checkbox", "aria-label": `Compare curves of ${describe(run)}`, onchange: (event) => choose(run, event.target.checked) });
  figure.append(make("figcaption", {}, make("span", { class: "settings" }), make("span", { class: "values" }), make("label", {}, box, " curve")));
  cells.set(run, figure);
  return figure;
}

function caption(run, without) {
  const figure = cell(run);
  const keys = settings(run, without);
  const words = keys.slice(0, 3).map((key) => `${key} ${text(RUNS[run].keys[key])}`).join(", ");
  const parts = Object.keys(DATA.keys).length ? words + (keys.length > 3 ? " …" : "") : RUNS[run].name;
  const status = RUNS[run].picture && RUNS[run].status !== "done" ? `${RUNS[run].status}: ` : "";
  figure.querySelector(".settings").textContent = status + parts;
  const shown = [...document.querySelectorAll("#shown input:checked")].map((box) => box.value);
  const sort = byId("sort").value;
  if (sort in DATA.numbers && !shown.includes(sort)) shown.push(sort);
  figure.querySelector(".values").replaceChildren(
    ...shown
      .filter((name) => RUNS[run].numbers[name] !== null)
      .flatMap((name) => [`${name} `, make("b", {}, text(RUNS[run].numbers[name])), " "]),
  );
  return figure;
}

function groupBy(runs, key) {
  const groups = new Map((DATA.keys[key] ?? [null]).map((value) => [value, []]));
  for (const run of runs) groups.get(key ? RUNS[run].keys[key] : null).push(run);
  return [...groups].filter(([, members]) => members.length);
}

const breakable = (key) => key.split(/(?<=[._])/).flatMap((part) => [part, make("wbr")]);

function layOut() {
  const [rows, columns] = [byId("rows").value, byId("columns").value];
  const runs = visible();
  const axes = [rows, columns].filter(Boolean);
  let content;
  if (rows && columns && rows !== columns) {
    const across = groupBy(runs, columns);
    const most = (value) => Math.max(1, ...groupBy(runs, rows).map(([, members]) => members.filter((run) => RUNS[run].keys[columns] === value).length));
    const widths = new Map(across.map(([value]) => [value, Math.min(4, Math.ceil(Math.sqrt(most(value))))]));
    const body = groupBy(runs, rows).map(([value, members]) =>
      make("tr", {}, make("th", { scope: "row", title: String(value) }, text(value)), ...across.map(([other]) => {
        const here = members.filter((run) => RUNS[run].keys[columns] === other);
        return make("td", {}, make("div", { class: "cells", style: `--across: ${widths.get(other)}` }, ...here.map((run) => caption(run, axes))));
      })),
    );
    const over = make("tr", { class: "names" }, make("td"), make("th", { scope: "colgroup", colspan: across.length }, columns));
    const head = make("tr", {}, make("td", { class: "names" }, ...breakable(rows)), ...across.map(([value]) => make("th", { scope: "col", title: String(value) }, text(value))));
    content = make("table", { class: "grid" }, make("thead", {}, over, head), make("tbody", {}, ...body));
  } else if (axes.length) {
    const groups = groupBy(runs, axes[0]);
    const wide = groups.length < runs.length ? "wide" : "";
    content = make("div", { class: "grid groups" }, ...groups.map(([value, members]) =>
      make("section", { class: wide, style: "margin: 0" }, make("h3", { title: String(value) }, make("small", {}, `${axes[0]} `), text(value)), make("div", { class: "cells" }, ...members.map((run) => caption(run, axes)))),
    ));
  } else {
    content = make("div", { class: "grid cells" }, ...runs.map((run) => caption(run, [])));
  }
  byId("grid").replaceChildren(content);
  order = [...byId("grid").querySelectorAll(".cell")].map((figure) => Number(figure.dataset.run));
  byId("status").textContent = `${order.length} of ${RUNS.length} runs shown`;
  colour();
  drawTable();
  drawSoon();
}

// ---------------------------------------------------------------- moving between runs

function neighbour(from, key) {
  const buttons = [...byId("grid").querySelectorAll("button.picture")];
  const here = buttons.findIndex((button) => Number(button.closest(".cell").dataset.run) === from);
  if (here < 0) return null;
  if (key === "ArrowLeft") return buttons[here - 1];
  if (key === "ArrowRight") return buttons[here + 1];
  const middle = (button) => {
    const box = button.getBoundingClientRect();
    return { x: box.left + box.width / 2, top: box.top, bottom: box.bottom };
  };
  const start = middle(buttons[here]);
  const away = (box) => (key === "ArrowDown" ? box.top - start.bottom : start.top - box.bottom);
  const candidates = buttons
    .map((button) => ({ button, box: middle(button) }))
    .filter(({ box }) => away(box) > -1)
    .map(({ button, box }) => ({ button, distance: 4 * away(box) + Math.abs(box.x - start.x) }))
    .sort((a, b) => a.distance - b.distance);
  return candidates[0]?.button;
}

function move(from, event) {
  if (!event.key.startsWith("Arrow") || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return null;
  const button = neighbour(from, event.key);
  event.preventDefault();
  return button ?? null;
}

byId("grid").addEventListener("keydown", (event) => {
  if (event.target.matches("button.picture")) move(Number(event.target.closest(".cell").dataset.run), event)?.focus();
});

// ---------------------------------------------------------------- enlarged

const viewer = byId("viewer");

function entries(list, pairs) {
  byId(list).replaceChildren(...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", { title: String(value) }, text(value))]));
}

function enlarge(run) {
  open = run;
  const { name, picture, width, height, inputs, numbers, keys, reason, command } = RUNS[run];
  byId("viewer-title").textContent = describe(run) === name ? name : `${describe(run)} (${name})`;
  byId("stage").style.setProperty("--aspect", width && height ? width / height : 1.5);
  byId("stage").classList.toggle("pair", Boolean(picture && inputs.content));
  for (const [id, source, words] of [["before", picture && inputs.content, "Content"], ["after", picture, `Pastiche: ${describe(run)}`]]) {
    byId(id).hidden = !source;
    byId(id).alt = words;
    if (source) byId(id).src = source;
    else byId(id).removeAttribute("src");
  }
  for (const id of ["split", "split-hint"]) byId(id).hidden = !(picture && inputs.content);
  byId("viewer-inputs").replaceChildren(...Object.entries(inputs).map(([input, source]) => {
    const words = input.replace("_", " ").replace(/^./, (letter) => letter.toUpperCase());
    return make("figure", {}, make("a", { href: source, target: "_blank" }, make("img", { src: source, alt: words })), make("figcaption", {}, words));
  }));
  entries("viewer-numbers", Object.entries(numbers).filter(([, value]) => value !== null));
  entries("viewer-keys", Object.entries(keys).filter(([, value]) => value !== null));
  byId("viewer-reason").textContent = reason;
  byId("viewer-command").textContent = command ?? "";
  byId("viewer-chosen").checked = chosen.has(run);
  byId("previous").disabled = !neighbour(run, "ArrowLeft");
  byId("next").disabled = !neighbour(run, "ArrowRight");
  if (!viewer.open) viewer.showModal();
  if (!viewer.contains(document.activeElement) || document.activeElement.disabled) byId("viewer-title").focus();
}

function step(button) {
  if (button) enlarge(Number(button.closest(".cell").dataset.run));
}

function split() {
  byId("stage").style.setProperty("--split", `${byId("split").value}%`);
}

viewer.addEventListener("keydown", (event) => {
  if (event.target !== byId("split")) step(move(open, event));
});
viewer.addEventListener("click", (event) => {
  if (event.target === viewer) viewer.close(); // the backdrop
});
viewer.addEventListener("close", () => {
  cells.get(open)?.querySelector("button.picture")?.focus();
  open = null;
});
byId("close").addEventListener("click", () => viewer.close());
byId("previous").addEventListener("click", () => step(neighbour(open, "ArrowLeft")));
byId("next").addEventListener("click", () => step(neighbour(open, "ArrowRight")));
byId("viewer-chosen").addEventListener("change", (event) => choose(open, event.target.checked));
byId("split").addEventListener("input", split);
// After a drag the arrow keys belong to the runs again.
byId("split").addEventListener("pointerup", () => byId("viewer-title").focus());
for (const button of document.querySelectorAll("[data-open]")) {
  button.addEventListener("click", () => enlarge(Number(button.dataset.open)));
}

// ---------------------------------------------------------------- chosen runs

function choose(run, on) {
  if (on) chosen.add(run);
  else chosen.delete(run);
  colour();
  drawSoon();
}

const colourOf = (place) => COLOURS[place % COLOURS.length];

function colour() {
  const places = new Map([...chosen].map((run, i) => [run, i]));
  for (const [run, figure] of cells) {
    figure.classList.toggle("chosen", places.has(run));
    figure.querySelector("input").checked = places.has(run);
    figure.style.setProperty("--colour", colourOf(places.get(run) ?? 0));
  }
}

byId("choose-all").addEventListener("click", () => {
  for (const run of order) chosen.add(run);
  colour();
  drawSoon();
});
byId("choose-none").addEventListener("click", () => {
  chosen.clear();
  colour();
  drawSoon();
});

// ---------------------------------------------------------------- charts

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

const better = (name) => (DATA.numbers[name] === "high" ? -1 : 1);

function front(runs, names) {
  const points = runs.map((run) => names.map((name) => better(name) * valueOf(run, name)));
  const beats = (a, b) => a.every((value, i) => value <= b[i]) && a.some((value, i) => value < b[i]);
  return runs.filter((_, i) => !points.some((other) => beats(other, points[i])));
}

function drawScatter() {
  const [x, y, z] = ["x", "y", "colour"].map((end) => byId(`scatter-${end}`).value);
  const log = byId("scatter-log").checked;
  const names = [...new Set([x, y, z].filter(Boolean))];
  const runs = order.filter((run) => RUNS[run].picture && names.every((name) => typeof valueOf(run, name) === "number") && !(log && (valueOf(run, x) <= 0 || valueOf(run, y) <= 0)));
  const best = front(runs, names).sort((a, b) => valueOf(a, x) - valueOf(b, x));
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
  Plotly.react(plot, best.length > 1 && names.length === 2 ? [line, trace] : [trace], whole, CONFIG);
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
  byId("front").replaceChildren(`Not beaten in ${names.join(", ")} at once: ${best.length} of ${runs.length} runs`, make("ul", {}, ...best.slice(0, 40).map(item)));
}

function hover(run, event, names) {
  const box = byId("hover");
  box.replaceChildren(make("img", { src: RUNS[run].thumbnail, alt: "" }), make("p", {}, describe(run)), make("p", {}, names.map((name) => `${name} ${text(valueOf(run, name))}`).join(", ")));
  box.hidden = false;
  box.style.left = `${Math.max(8, Math.min(event.clientX + 24, innerWidth - 260))}px`;
  box.style.top = `${Math.max(8, Math.min(event.clientY - 100, innerHeight - 260))}px`;
}

// ---------------------------------------------------------------- the table

function drawTable() {
  if (!byId("table").open) return;
  const [keys, numbers] = [Object.keys(DATA.keys), Object.keys(DATA.numbers)];
  const sortBy = (name) => {
    byId("descending").checked = byId("sort").value === name && !byId("descending").checked;
    byId("sort").value = name;
    layOut();
    byId("table").querySelectorAll("th button").forEach((button) => button.textContent === name && button.focus());
  };
  const sorted = (name) => (byId("sort").value === name ? { "aria-sort": byId("descending").checked ? "descending" : "ascending" } : {});
  const head = [...keys, ...numbers].map((name) => make("th", { scope: "col", ...sorted(name) }, make("button", { type: "button", onclick: () => sortBy(name) }, name)));
  const body = visible().map((run) =>
    make("tr", {}, make("th", { scope: "row" }, RUNS[run].picture ? make("button", { type: "button", onclick: () => enlarge(run) }, RUNS[run].name) : RUNS[run].name),
      ...[...keys, ...numbers].map((name) => make("td", { class: typeof valueOf(run, name) === "number" ? "number" : "" }, text(valueOf(run, name))))),
  );
  byId("table").querySelector("div").replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Run"), ...head)), make("tbody", {}, ...body)));
}

// ---------------------------------------------------------------- begin

for (const id of ["rows", "columns", "sort", "descending"]) byId(id).addEventListener("change", layOut);
byId("shown").addEventListener("change", layOut);
byId("table").addEventListener("toggle", drawTable);
byId("size").addEventListener("input", (event) => document.documentElement.style.setProperty("--cell", `${event.target.value}px`));
for (const id of ["curve-term", "curve-log", "scatter-x", "scatter-y", "scatter-colour", "scatter-log"]) byId(id)?.addEventListener("change", drawSoon);
for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawSoon);
byId("size").value = parseInt(getComputedStyle(document.documentElement).getPropertyValue("--cell"), 10);
suggest();
layOut();
const watcher = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    if (isIntersecting) near.add(target.id);
    else near.delete(target.id);
  }
  drawSoon();
}, { rootMargin: "200px" });
for (const plot of document.querySelectorAll(".plot")) watcher.observe(plot);
