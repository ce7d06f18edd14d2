"use strict";
// Each viewer of the page: its data stand beside it as JSON, written by viewer.py.

// World axes are right, anterior, superior; every plane shows the higher end of an axis on the left or on top.
const PLANES = [
  { across: 0, down: 1, through: 2 },
  { across: 0, down: 2, through: 1 },
  { across: 1, down: 2, through: 0 },
];
const LETTERS = ["RL", "AP", "SI"];
const TALLEST = 430, GAP = 12;
const LINES = {
  segmentation: { core: ["#e69f00", 2, []], whole: ["#56b4e9", 2, [5, 3]] },
  forecast: { core: ["#ffffff", 1, []], whole: ["#ffffff", 1, [3, 3]] },
};

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

// The inverse of viewer.py's `packed`.
async function unpacked(text, stride) {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const codes = new Uint8Array(await new Response(stream).arrayBuffer());
  for (let i = stride; i < codes.length; i++) codes[i] += codes[i - stride];
  return codes;
}

const size = (grid) => grid.shape[0] * grid.shape[1] * grid.shape[2];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function voxel(grid, position) {
  const index = position.map((mm, axis) => Math.round((mm - grid.origin[axis]) / grid.step));
  return index.every((i, axis) => i >= 0 && i < grid.shape[axis]) ? index : null;
}

// The codes of a plane through `position`, row 0 on top; null outside the grid.
function cut(grid, codes, start, plane, position) {
  const { across, down, through } = plane;
  const index = Math.round((position[through] - grid.origin[through]) / grid.step);
  if (index < 0 || index >= grid.shape[through]) return null;
  const strides = [grid.shape[1] * grid.shape[2], grid.shape[2], 1];
  const width = grid.shape[across], height = grid.shape[down];
  const found = new Uint8Array(width * height);
  for (let row = 0, i = 0; row < height; row++) {
    let place = start + index * strides[through] + (height - 1 - row) * strides[down] + (width - 1) * strides[across];
    for (let column = 0; column < width; column++, place -= strides[across]) found[i++] = codes[place];
  }
  return { width, height, found };
}

// `table` gives [red, green, blue, opacity] of a code.
function painted({ width, height, found }, table) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  for (let i = 0; i < found.length; i++) image.data.set(table[found[i]], 4 * i);
  context.putImageData(image, 0, 0);
  return canvas;
}

// The edges between pixels that are inside and pixels that are not; a straight run is one line, for its dashes' sake.
function outline(context, { width, height, found }, inside, place) {
  const at = (column, row) => column >= 0 && row >= 0 && column < width && row < height && inside(found[row * width + column]);
  const runs = (lines, length, differs, point) => {
    for (let line = 0; line <= lines; line++)
      for (let i = 0, first = -1; i <= length; i++) {
        const edge = i < length && differs(line, i);
        if (edge && first < 0) first = i;
        if (!edge && first >= 0) {
          context.moveTo(...place(...point(line, first)));
          context.lineTo(...place(...point(line, i)));
          first = -1;
        }
      }
  };
  context.beginPath();
  runs(height, width, (row, column) => at(column, row) !== at(column, row - 1), (row, column) => [column, row]);
  runs(width, height, (column, row) => at(column, row) !== at(column - 1, row), (column, row) => [column, row]);
}

async function start(figure) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const { grids } = data, part = (name) => figure.querySelector(`[data-part=${name}]`);
  for (const scan of data.scans) scan.codes = await unpacked(scan.codes, 1);
  for (const map of data.maps) {
    map.codes = await unpacked(map.codes, size(grids.map));
    const colors = bytes(map.colors);
    map.table = Array.from({ length: 256 }, (_, code) => [...colors.slice(3 * code, 3 * code + 3), Math.min(255, code / 0.15)]);
  }
  for (const time in data.outlines) data.outlines[time] = await unpacked(data.outlines[time], 1);
  const greys = Array.from({ length: 256 }, (_, code) => [code, code, code, 255]);
  const box = (names) => [0, 1, 2].map((axis) => {
    const low = names.map((name) => grids[name].origin[axis] - grids[name].step / 2);
    const high = names.map((name, i) => low[i] + grids[name].step * grids[name].shape[axis]);
    return [Math.min(...low), Math.max(...high)];
  });
  const views = { forecast: box(["map"]), whole: box(["scan", "map"]) };
  const canvases = [...figure.querySelectorAll("canvas.plane")];
  let position = [...data.start], view = views.forecast, scale = 1;

  function resize() {
    view = views[part("view").value];
    const extent = (axis) => view[axis][1] - view[axis][0];
    const room = part("planes").clientWidth, widths = PLANES.map((plane) => extent(plane.across));
    const side = (room - 2 * GAP) / (widths[0] + widths[1] + widths[2]);
    const fits = room >= 640 ? side : room / Math.max(...widths);
    scale = Math.min(fits, TALLEST / Math.max(...PLANES.map((plane) => extent(plane.down))));
    canvases.forEach((canvas, i) => {
      const [width, height] = [extent(PLANES[i].across) * scale, extent(PLANES[i].down) * scale];
      const density = window.devicePixelRatio || 1;
      [canvas.width, canvas.height] = [Math.round(width * density), Math.round(height * density)];
      [canvas.style.width, canvas.style.height] = [`${width}px`, `${height}px`];
      canvas.getContext("2d").setTransform(density, 0, 0, density, 0, 0);
    });
    draw();
  }

  function drawPlane(canvas, plane, time) {
    const context = canvas.getContext("2d"), { across, down } = plane;
    const width = (view[across][1] - view[across][0]) * scale, height = (view[down][1] - view[down][0]) * scale;
    const x = (mm) => (view[across][1] - mm) * scale, y = (mm) => (view[down][1] - mm) * scale;
    const top = (grid, axis) => grid.origin[axis] + (grid.shape[axis] - 0.5) * grid.step;
    const lay = (name, codes, time, table, opacity) => {
      const grid = grids[name], found = cut(grid, codes, time * size(grid), plane, position);
      if (!found) return;
      context.globalAlpha = opacity;
      context.drawImage(painted(found, table), x(top(grid, across)), y(top(grid, down)), found.width * grid.step * scale, found.height * grid.step * scale);
      context.globalAlpha = 1;
    };
    const drawOutline = (name, codes, time, inside, [color, thickness, dashes]) => {
      const grid = grids[name], found = cut(grid, codes, time * size(grid), plane, position);
      if (!found) return;
      const place = (column, row) => [x(top(grid, across) - column * grid.step), y(top(grid, down) - row * grid.step)];
      outline(context, found, inside, place);
      for (const [stroke, extra, pattern] of [["rgba(0,0,0,0.55)", 1.5, []], [color, 0, dashes]]) {
        [context.strokeStyle, context.lineWidth] = [stroke, thickness + extra];
        context.setLineDash(pattern);
        context.stroke();
      }
      context.setLineDash([]);
    };
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    const scan = data.scans[part("scan").value], map = data.maps[part("map").value];
    if (scan) lay("scan", scan.codes, 0, greys, 1);
    if (map) lay("map", map.codes, time, map.table, part("opacity").value / 100);
    if (part("boundary")?.checked)
      for (const i of data.boundaries)
        drawOutline("map", data.maps[i].codes, time, (code) => code >= 128, LINES.forecast[data.maps[i].region === "core" ? "core" : "whole"]);
    const segmented = data.outlines[time];
    if (segmented && part("segmentation")?.checked) {
      drawOutline("outline", segmented, 0, (code) => code >= 1, LINES.segmentation.whole);
      drawOutline("outline", segmented, 0, (code) => code >= 2, LINES.segmentation.core);
    }
    const [column, row] = [x(position[across]), y(position[down])], open = 7;
    for (const [stroke, thickness] of [["rgba(0,0,0,0.6)", 3], ["#7fe3ff", 1]]) {
      context.beginPath();
      for (const [a, b, c, d] of [[0, row, column - open, row], [column + open, row, width, row], [column, 0, column, row - open], [column, row + open, column, height]]) {
        context.moveTo(a, b);
        context.lineTo(c, d);
      }
      [context.strokeStyle, context.lineWidth] = [stroke, thickness];
      context.stroke();
    }
    context.font = "bold 13px sans-serif";
    [context.textAlign, context.textBaseline] = ["center", "middle"];
    const marks = [[LETTERS[across][0], 9, height / 2], [LETTERS[across][1], width - 9, height / 2], [LETTERS[down][0], width / 2, 10], [LETTERS[down][1], width / 2, height - 10]];
    for (const [letter, left, above] of marks) {
      [context.strokeStyle, context.lineWidth, context.fillStyle] = ["#000", 3, "#fff"];
      context.strokeText(letter, left, above);
      context.fillText(letter, left, above);
    }
  }

  function draw() {
    const time = Number(part("day").value), map = data.maps[part("map").value];
    canvases.forEach((canvas, i) => drawPlane(canvas, PLANES[i], time));
    part("day-label").textContent = data.days[time];
    part("day").setAttribute("aria-valuetext", data.days[time]);
    part("bar").hidden = !map;
    if (map) {
      const ramp = { width: 256, height: 1, found: Uint8Array.from({ length: 256 }, (_, code) => code) };
      part("ramp").getContext("2d").drawImage(painted(ramp, map.table.map(([r, g, b]) => [r, g, b, 255])), 0, 0);
      part("middle").textContent = Number((map.top / 2).toPrecision(2));
      part("top").textContent = Number(map.top.toPrecision(2));
      part("unit").textContent = `${map.label} (${map.unit})`;
    }
    part("readout").textContent = readout(time);
  }

  function readout(time) {
    const where = position.map((mm, axis) => `${LETTERS[axis][mm < 0 ? 1 : 0]} ${Math.abs(mm).toFixed(1)}`).join(", ");
    const index = voxel(grids.map, position);
    if (!index) return `${where} mm: outside the part that was forecast`;
    const [, rows, columns] = grids.map.shape, place = (index[0] * rows + index[1]) * columns + index[2];
    const values = data.maps.map((map) => (map.codes[time * size(grids.map) + place] * map.top) / 255);
    const chances = data.boundaries.map((i) => `${data.maps[i].region} visible in ${Math.round(100 * values[i])} % of draws`);
    return [`${where} mm: density ${values[0].toFixed(2)} ± ${values[1].toFixed(2)} (s.d.)`, ...chances].join("; ");
  }

  function move(axis, mm) {
    position[axis] = clamp(mm, views.whole[axis][0] + 0.01, views.whole[axis][1] - 0.01);
  }

  canvases.forEach((canvas, i) => {
    const { across, down, through } = PLANES[i];
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
      const steps = { ArrowLeft: [across, 1], ArrowRight: [across, -1], ArrowUp: [down, 1], ArrowDown: [down, -1], PageUp: [through, 1], PageDown: [through, -1] };
      const step = steps[event.key];
      if (step) move(step[0], position[step[0]] + step[1] * grids.map.step);
      else if (event.key === "Home") position = [...data.start];
      else return;
      event.preventDefault();
      draw();
    });
  });
  for (const control of figure.querySelectorAll("select, input"))
    control.addEventListener("input", control.dataset.part === "view" ? resize : draw);
  window.addEventListener("resize", resize);
  figure.hidden = false;
  figure.previousElementSibling.hidden = true;
  resize();
}

// Of a browser too old to unpack the data, and of one without JavaScript, the note and the pictures remain.
if ("DecompressionStream" in window) for (const figure of document.querySelectorAll("figure.viewer")) start(figure);
