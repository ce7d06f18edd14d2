"use strict";
// The viewers of a page: each has its data beside it as JSON, written by viewer.py. Positions are in mm along
// axes near right, anterior and superior of the patient; every plane shows the higher end of one on the left or on top.

const PLANES = [
  { across: 0, down: 1, through: 2 },
  { across: 0, down: 2, through: 1 },
  { across: 1, down: 2, through: 0 },
];
const LETTERS = ["RL", "AP", "SI"];
const REGIONS = { core: "core", whole_tumor: "whole tumour" };
// Colour, thickness and dashes: those of the legend.
const SEGMENTED = { core: ["#e69f00", 2, []], whole_tumor: ["#56b4e9", 2, [5, 3]] };
const FORECAST = { core: ["#ffffff", 1, []], whole_tumor: ["#ffffff", 1, [3, 3]] };
const HALO = "rgba(0, 0, 0, 0.6)";
const TALLEST = 430, GAP = 12, NARROW = 640;
// The share of a map's highest value below which it fades.
const FADES = 0.15;

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const codes = [...Array(256).keys()];
const greys = codes.map((code) => [code, code, code, 255]);
const voxels = (grid) => grid.shape[0] * grid.shape[1] * grid.shape[2];
const indexOf = (grid, axis, mm) => Math.round((mm - grid.origin[axis]) / grid.step);

// The inverse of `packed` in viewer.py.
async function unpacked(text, stride) {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const found = new Uint8Array(await new Response(stream).arrayBuffer());
  for (let i = stride; i < found.length; i++) found[i] += found[i - stride];
  return found;
}

// The plane through a position, row 0 on top, of the volume that starts at `first`; null outside the grid.
function cut(grid, volume, first, { across, down, through }, position) {
  const index = indexOf(grid, through, position[through]);
  if (index < 0 || index >= grid.shape[through]) return null;
  const strides = [grid.shape[1] * grid.shape[2], grid.shape[2], 1];
  const width = grid.shape[across], height = grid.shape[down], found = new Uint8Array(width * height);
  for (let row = 0, i = 0; row < height; row++) {
    let place = first + index * strides[through] + (height - 1 - row) * strides[down] + (width - 1) * strides[across];
    for (let column = 0; column < width; column++, place -= strides[across]) found[i++] = volume[place];
  }
  return { width, height, found };
}

// A picture with a pixel per voxel; `table` has red, green, blue and opacity of every code.
function painted({ width, height, found }, table) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  found.forEach((code, i) => image.data.set(table[code], 4 * i));
  context.putImageData(image, 0, 0);
  return canvas;
}

// The path between pixels of at least `level` and the others; a straight run is one line, for its dashes' sake.
function outline(context, { width, height, found }, level, place) {
  const inside = (column, row) =>
    column >= 0 && row >= 0 && column < width && row < height && found[row * width + column] >= level;
  const runs = (lines, length, isEdge, point) => {
    for (let line = 0; line <= lines; line++)
      for (let i = 0, first = -1; i <= length; i++) {
        const edge = i < length && isEdge(line, i);
        if (edge && first < 0) first = i;
        if (edge || first < 0) continue;
        context.moveTo(...place(...point(line, first)));
        context.lineTo(...place(...point(line, i)));
        first = -1;
      }
  };
  context.beginPath();
  runs(height, width, (row, column) => inside(column, row) !== inside(column, row - 1), (row, column) => [column, row]);
  runs(width, height, (column, row) => inside(column, row) !== inside(column - 1, row), (column, row) => [column, row]);
}

function stroke(context, [color, thickness, dashes]) {
  for (const [style, width, pattern] of [[HALO, thickness + 1.5, []], [color, thickness, dashes]]) {
    [context.strokeStyle, context.lineWidth] = [style, width];
    context.setLineDash(pattern);
    context.stroke();
  }
}

function crosshair(context, column, row, width, height) {
  const open = 7;
  context.beginPath();
  for (const [x0, y0, x1, y1] of [
    [0, row, column - open, row], [column + open, row, width, row],
    [column, 0, column, row - open], [column, row + open, column, height],
  ]) {
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
  }
  stroke(context, ["#7fe3ff", 1, []]);
}

function letters(context, { across, down }, width, height) {
  [context.font, context.textAlign, context.textBaseline] = ["bold 13px sans-serif", "center", "middle"];
  [context.strokeStyle, context.lineWidth, context.fillStyle] = ["#000", 3, "#fff"];
  for (const [letter, x, y] of [
    [LETTERS[across][0], 9, 11], [LETTERS[across][1], width - 9, 11],
    [LETTERS[down][0], width / 2, 11], [LETTERS[down][1], width / 2, height - 11],
  ]) {
    context.strokeText(letter, x, y);
    context.fillText(letter, x, y);
  }
}

// Lowest and highest mm of each axis over some grids.
function extent(grids) {
  return [0, 1, 2].map((axis) => {
    const low = grids.map((grid) => grid.origin[axis] - grid.step / 2);
    return [Math.min(...low), Math.max(...grids.map((grid, i) => low[i] + grid.step * grid.shape[axis]))];
  });
}

async function start(figure) {
  const data = JSON.parse(figure.querySelector("script").textContent), { grids } = data;
  for (const scan of data.scans) scan.volume = await unpacked(scan.codes, 1);
  for (const map of data.maps) {
    map.volume = await unpacked(map.codes, voxels(grids.map));
    const colors = bytes(map.colors);
    map.table = codes.map((code) => [...colors.subarray(3 * code, 3 * code + 3), Math.min(255, code / FADES)]);
  }
  for (const time in data.outlines) data.outlines[time] = await unpacked(data.outlines[time], 1);

  const part = (name) => figure.querySelector(`[data-part=${name}]`);
  const canvases = [...figure.querySelectorAll("canvas.plane")];
  const views = { forecast: extent([grids.map]), whole: extent([grids.scan, grids.map]) };
  let position = [...data.start], view = views.forecast, scale = 1;
  const length = (axis) => view[axis][1] - view[axis][0];

  function resize() {
    view = views[part("view").value];
    const room = part("planes").clientWidth, widths = PLANES.map((plane) => length(plane.across));
    const beside = (room - 2 * GAP) / (widths[0] + widths[1] + widths[2]);
    const tallest = TALLEST / Math.max(...PLANES.map((plane) => length(plane.down)));
    scale = Math.min(room >= NARROW ? beside : room / Math.max(...widths), tallest);
    const density = window.devicePixelRatio || 1;
    canvases.forEach((canvas, i) => {
      const [width, height] = [length(PLANES[i].across) * scale, length(PLANES[i].down) * scale];
      [canvas.width, canvas.height] = [Math.round(width * density), Math.round(height * density)];
      [canvas.style.width, canvas.style.height] = [`${width}px`, `${height}px`];
      canvas.getContext("2d").setTransform(density, 0, 0, density, 0, 0);
    });
    draw();
  }

  function drawPlane(canvas, plane, time) {
    const context = canvas.getContext("2d"), { across, down } = plane;
    const [width, height] = [length(across) * scale, length(down) * scale];
    const x = (mm) => (view[across][1] - mm) * scale, y = (mm) => (view[down][1] - mm) * scale;
    // The plane of a volume on a grid, and where the corners of its pixels lie on the canvas.
    const shown = (grid, volume, index, use) => {
      const picture = cut(grid, volume, index * voxels(grid), plane, position);
      const edge = (axis) => grid.origin[axis] + (grid.shape[axis] - 0.5) * grid.step;
      if (picture) use(picture, (column, row) => [x(edge(across) - column * grid.step), y(edge(down) - row * grid.step)]);
    };
    const lay = (grid, volume, index, table, opacity) => shown(grid, volume, index, (picture, place) => {
      const pixel = grid.step * scale;
      context.globalAlpha = opacity;
      context.drawImage(painted(picture, table), ...place(0, 0), picture.width * pixel, picture.height * pixel);
      context.globalAlpha = 1;
    });
    const draw = (grid, volume, index, level, line) => shown(grid, volume, index, (picture, place) => {
      outline(context, picture, level, place);
      stroke(context, line);
    });
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    const scan = data.scans[part("scan").value], map = data.maps[part("map").value], outlined = data.outlines[time];
    if (scan) lay(grids.scan, scan.volume, 0, greys, 1);
    if (map) lay(grids.map, map.volume, time, map.table, part("opacity").value / 100);
    if (part("boundary")?.checked)
      for (const i of data.boundaries) draw(grids.map, data.maps[i].volume, time, 128, FORECAST[data.maps[i].region]);
    if (outlined && part("segmentation").checked) {
      draw(grids.outline, outlined, 0, 1, SEGMENTED.whole_tumor);
      draw(grids.outline, outlined, 0, 2, SEGMENTED.core);
    }
    crosshair(context, x(position[across]), y(position[down]), width, height);
    letters(context, plane, width, height);
  }

  function draw() {
    const time = Number(part("day").value), map = data.maps[part("map").value];
    canvases.forEach((canvas, i) => drawPlane(canvas, PLANES[i], time));
    part("day-label").textContent = data.days[time];
    part("day").setAttribute("aria-valuetext", data.days[time]);
    part("readout").textContent = readout(time);
    part("bar").hidden = !map;
    if (!map) return;
    const opaque = map.table.map(([red, green, blue]) => [red, green, blue, 255]);
    part("ramp").getContext("2d").drawImage(painted({ width: 256, height: 1, found: codes }, opaque), 0, 0);
    part("middle").textContent = Number((map.top / 2).toPrecision(2));
    part("top").textContent = Number(map.top.toPrecision(2));
    part("unit").textContent = `${map.label} (${map.unit})`;
  }

  function readout(time) {
    const patient = data.axes.map((row) => row.reduce((sum, cosine, axis) => sum + cosine * position[axis], 0));
    const where = patient.map((mm, axis) => `${LETTERS[axis][mm < 0 ? 1 : 0]} ${Math.abs(mm).toFixed(1)}`).join(", ");
    const { shape } = grids.map, index = position.map((mm, axis) => indexOf(grids.map, axis, mm));
    if (index.some((i, axis) => i < 0 || i >= shape[axis])) return `${where} mm: outside of what was forecast`;
    const place = time * voxels(grids.map) + (index[0] * shape[1] + index[1]) * shape[2] + index[2];
    const [mean, deviation] = data.maps.map((map) => ((map.volume[place] * map.top) / 255).toFixed(2));
    const chances = data.boundaries.map((i) => data.maps[i]).map(
      (map) => `${REGIONS[map.region]} visible in ${Math.round(map.volume[place] / 2.55)} % of the draws`);
    return [`${where} mm: density ${mean} ± ${deviation} (s.d.)`, ...chances].join("; ");
  }

  function move(axis, mm) {
    const [low, high] = views.whole[axis];
    position[axis] = Math.min(Math.max(mm, low + 0.01), high - 0.01);
  }

  canvases.forEach((canvas, i) => {
    const { across, down, through } = PLANES[i];
    const steps = {
      ArrowLeft: [across, 1], ArrowRight: [across, -1], ArrowUp: [down, 1], ArrowDown: [down, -1],
      PageUp: [through, 1], PageDown: [through, -1],
    };
    const follow = (event) => {
      if (!event.buttons) return;
      move(across, view[across][1] - event.offsetX / scale);
      move(down, view[down][1] - event.offsetY / scale);
      draw();
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      follow(event);
    });
    canvas.addEventListener("pointermove", follow);
    canvas.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      if (step) move(step[0], position[step[0]] + step[1] * grids.map.step);
      else if (event.key === "Home") position = [...data.start];
      else return;
      event.preventDefault();
      draw();
    });
  });
  for (const control of figure.querySelectorAll("select, input"))
    control.addEventListener("input", control === part("view") ? resize : draw);
  window.addEventListener("resize", resize);
  figure.hidden = false;
  figure.previousElementSibling.hidden = true;
  resize();
}

// In a browser that cannot unpack the data, as in one without JavaScript, the note and the figures remain.
if ("DecompressionStream" in window) for (const figure of document.querySelectorAll("figure.viewer")) start(figure);
