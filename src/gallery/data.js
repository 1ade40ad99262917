"use strict";
// What the page's scripts share: the runs, which come from the page itself (#data), and helpers.

const DATA = JSON.parse(document.getElementById("data").textContent);
const RUNS = DATA.runs;
const COLOURS = ["#4477aa", "#ee6677", "#228833", "#ccaa22", "#66b5d6", "#aa3377", "#888888", "#ee8833", "#44aa99", "#999933"];

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

const colourOf = (place) => COLOURS[place % COLOURS.length];
