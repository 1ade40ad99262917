// On the photo, its depth or the histogram a click sets the border; with a brush the photo is drawn on.
const strokes = document.createElement("canvas"); // what was drawn, at the size of the preview
const brush = () => {
  const part = document.querySelector("#brush"); // hidden where nothing can be drawn
  return part?.offsetParent ? part.querySelector("input:checked").value : "border";
};
let overlay = null; // shows a stroke until the preview has it
let last = null;

const place = (event, box) => ({
  x: (event.clientX - box.left) / box.width,
  y: (event.clientY - box.top) / box.height,
});

const line = (context, from, to, image) => {
  context.strokeStyle = brush();
  context.lineWidth = image.naturalWidth / 16;
  context.lineCap = "round";
  context.beginPath();
  context.moveTo(from.x * strokes.width, from.y * strokes.height);
  context.lineTo(to.x * strokes.width, to.y * strokes.height);
  context.stroke();
};

watch("value", () => overlay?.remove());

element.addEventListener("click", (event) => {
  const target = event.target.closest("img.photo, img.depth, svg.histogram");
  if (!target || (target.matches("img.photo") && brush() !== "border")) return;
  const { x, y } = place(event, target.getBoundingClientRect());
  trigger("click", target.tagName === "IMG" ? { x, y } : { depth: x });
});

element.addEventListener("pointerdown", (event) => {
  const image = event.target.closest("img.photo");
  if (!image || brush() === "border") return;
  event.preventDefault();
  const figure = image.parentElement;
  if (!figure.dataset.drawn || strokes.width !== image.naturalWidth) {
    strokes.width = image.naturalWidth; // which also clears it
    strokes.height = image.naturalHeight;
  }
  overlay = document.createElement("canvas");
  overlay.width = strokes.width;
  overlay.height = strokes.height;
  figure.append(overlay);
  overlay.setPointerCapture(event.pointerId);
  last = place(event, image.getBoundingClientRect());
  const move = (moved) => {
    const next = place(moved, overlay.getBoundingClientRect());
    for (const canvas of [strokes, overlay]) line(canvas.getContext("2d"), last, next, image);
    last = next;
  };
  move(event);
  overlay.addEventListener("pointermove", move);
  overlay.addEventListener("pointerup", () => {
    trigger("apply", { strokes: strokes.toDataURL("image/png") });
  });
});
