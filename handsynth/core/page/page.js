// What a page does: the gallery and its filters, the hand in 3-D, the charts. Texts from the data are set as text, never as markup.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const UNIT_M = 1e-4; // of meshes and keypoints
  const FINGERS = ["#ffffff", "#ff6050", "#ffbe3c", "#6edc5a", "#50aaff", "#c878ff"]; // wrist, thumb, ..., little finger
  const PREDICTED = "#ffffff";
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 980px)");
  const byId = (id) => document.getElementById(id);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const parent = (k) => (k % 4 === 1 ? 0 : k - 1);
  const finger = (k) => Math.floor((k + 3) / 4);

  function bytes(text) {
    const binary = atob(text);
    const array = new Uint8Array(binary.length);
    for (let k = 0; k < binary.length; k++) array[k] = binary.charCodeAt(k);
    return array.buffer;
  }

  function element(tag, attributes = {}, text = "") {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text) made.textContent = text;
    return made;
  }

  // ---- labels over an image ------------------------------------------------------------------------------------------------

  const SVG = "http://www.w3.org/2000/svg";

  function path(d, attributes) {
    const made = document.createElementNS(SVG, "path");
    made.setAttribute("d", d);
    for (const [name, value] of Object.entries({ fill: "none", "stroke-linecap": "round", ...attributes })) made.setAttribute(name, value);
    return made;
  }

  function pixels(item, keypoints) {
    const [fx, fy, cx, cy] = item.K;
    const xy = [];
    for (let k = 0; k < 21; k++) {
      const [x, y, z] = [0, 1, 2].map((axis) => item.origin[axis] + keypoints[3 * k + axis] * UNIT_M);
      xy.push([((fx * x) / z + cx).toFixed(1), ((fy * y) / z + cy).toFixed(1)]);
    }
    return xy;
  }

  function drawLabels(svg, item) {
    const line = item.side / 110;
    svg.setAttribute("viewBox", `0 0 ${item.side} ${item.side}`);
    svg.replaceChildren();
    if (item.outline) svg.append(path(item.outline, { stroke: "#00ffff", "stroke-width": line * 0.6 }));
    const xy = pixels(item, item.keypoints);
    const bones = ["", "", "", "", "", ""], seen = ["", "", "", "", "", ""], hidden = ["", "", "", "", "", ""];
    for (let k = 0; k < 21; k++) {
      if (k) bones[finger(k)] += `M${xy[parent(k)]}L${xy[k]}`;
      (item.seen[k] === "1" ? seen : hidden)[finger(k)] += `M${xy[k]}h0`;
    }
    for (let f = 0; f < 6; f++) {
      if (bones[f]) svg.append(path(bones[f], { stroke: FINGERS[f], "stroke-width": line }));
      if (hidden[f]) {
        svg.append(path(hidden[f], { stroke: FINGERS[f], "stroke-width": line * 3.4 }));
        svg.append(path(hidden[f], { stroke: "#222222", "stroke-width": line * 1.8 })); // hollow
      }
      if (seen[f]) svg.append(path(seen[f], { stroke: FINGERS[f], "stroke-width": line * 3.6 }));
    }
    if (!item.predicted) return;
    const guess = pixels(item, item.predicted.keypoints);
    let d = "";
    for (let k = 1; k < 21; k++) d += `M${guess[parent(k)]}L${guess[k]}`;
    svg.append(path(d, { stroke: "#000000", "stroke-width": line * 1.8, opacity: 0.6 }));
    svg.append(path(d, { stroke: PREDICTED, "stroke-width": line * 0.9 }));
  }

  // ---- turning things --------------------------------------------------------------------------------------------------------

  class Viewer {
    // A scene that turns about its middle: mouse, finger, arrow keys, + and -.
    constructor(canvas) {
      this.canvas = canvas;
      this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true, preserveDrawingBuffer: true });
      this.renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 2));
      this.scene = new THREE.Scene();
      this.camera = new THREE.PerspectiveCamera(32, 1, 0.01, 20);
      this.scene.add(new THREE.HemisphereLight(0xffffff, 0x8d8078, 1.5));
      this.lamp = new THREE.DirectionalLight(0xffffff, 1.9);
      this.scene.add(this.lamp);
      this.yaw = 0.6; this.pitch = 0.25; this.distance = 0.7; this.fov = 32;
      let last = null;
      canvas.addEventListener("pointerdown", (event) => { last = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); });
      canvas.addEventListener("pointermove", (event) => {
        if (!last) return;
        this.turn((last[0] - event.clientX) * 0.01, (event.clientY - last[1]) * 0.01);
        last = [event.clientX, event.clientY];
      });
      for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { last = null; });
      canvas.addEventListener("wheel", (event) => {
        if (document.activeElement !== canvas && !event.ctrlKey) return; // else the page scrolls
        event.preventDefault();
        this.zoom(Math.exp(event.deltaY * 0.001));
      }, { passive: false });
      canvas.addEventListener("keydown", (event) => {
        const step = 0.15;
        const turns = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
        if (turns[event.key]) this.turn(...turns[event.key]);
        else if (event.key === "+" || event.key === "=") this.zoom(0.85);
        else if (event.key === "-") this.zoom(1.18);
        else return;
        event.preventDefault();
      });
      new ResizeObserver(() => this.draw()).observe(canvas);
    }

    turn(yaw, pitch) {
      this.yaw += yaw;
      this.pitch = Math.max(-1.5, Math.min(1.5, this.pitch + pitch));
      this.draw();
    }

    zoom(factor) {
      this.distance = Math.max(0.1, Math.min(8, this.distance * factor));
      this.draw();
    }

    draw() {
      const size = this.canvas.clientWidth;
      if (!size) return;
      this.renderer.setSize(size, this.canvas.clientHeight, false);
      const flat = Math.cos(this.pitch);
      this.camera.position.set(Math.sin(this.yaw) * flat, Math.sin(this.pitch), Math.cos(this.yaw) * flat).multiplyScalar(this.distance);
      this.camera.fov = this.fov;
      this.camera.updateProjectionMatrix();
      this.camera.lookAt(0, 0, 0);
      this.lamp.position.copy(this.camera.position).add(new THREE.Vector3(0.15, 0.35, 0.1));
      this.renderer.render(this.scene, this.camera);
      this.canvas.dataset.yaw = this.yaw.toFixed(3);
      this.canvas.dataset.pitch = this.pitch.toFixed(3);
    }
  }

  const faces = data.faces ? new Uint16Array(bytes(data.faces)) : null;

  function handMesh(mesh, unit, flip, tint, opacity) {
    // Vertices of the OpenCV frame (y down, z away) turned to WebGL's; without faces they are points.
    const steps = new Int16Array(bytes(mesh));
    const positions = new Float32Array(steps.length);
    for (let k = 0; k < steps.length; k++) positions[k] = steps[k] * unit * (k % 3 && flip ? -1 : 1);
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(positions, 3));
    if (!faces) return new THREE.Points(geometry, new THREE.PointsMaterial({ color: tint, size: 2, sizeAttenuation: false }));
    geometry.setIndex(new THREE.BufferAttribute(faces, 1));
    geometry.computeVertexNormals();
    const material = new THREE.MeshLambertMaterial({ color: tint, side: THREE.DoubleSide, transparent: opacity < 1, opacity });
    return new THREE.Mesh(geometry, material);
  }

  function segments(points, tint, opacity = 1, above = false) {
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(new Float32Array(points.flat()), 3));
    const material = new THREE.LineBasicMaterial({ color: tint, transparent: opacity < 1 || above, opacity, depthTest: !above });
    const made = new THREE.LineSegments(geometry, material);
    if (above) made.renderOrder = 2;
    return made;
  }

  function skeleton(keypoints, tint) {
    const group = new THREE.Group();
    const at = (k) => [keypoints[3 * k] * UNIT_M, -keypoints[3 * k + 1] * UNIT_M, -keypoints[3 * k + 2] * UNIT_M];
    const ball = new THREE.SphereGeometry(tint ? 0.0022 : 0.0032, 12, 8);
    for (let k = 0; k < 21; k++) {
      const shade = tint || FINGERS[finger(k)];
      if (k) group.add(segments([at(parent(k)), at(k)], shade, 1, true));
      const dot = new THREE.Mesh(ball, new THREE.MeshBasicMaterial({ color: shade, depthTest: false, transparent: true }));
      dot.position.set(...at(k));
      dot.renderOrder = 3;
      group.add(dot);
    }
    return group;
  }

  class Stage {
    // One sample: the hand in 3-D before its image, the image with labels, and what is known of it.
    constructor() {
      this.shown = { mesh: true, keypoints: true, image: true, predicted: true };
      this.group = null;
      try {
        this.viewer = new Viewer(byId("hand"));
      } catch {
        byId("hand").hidden = true;
        byId("no-3d").hidden = false;
      }
      for (const button of document.querySelectorAll("[data-show]")) {
        button.addEventListener("click", () => {
          this.shown[button.dataset.show] = !this.shown[button.dataset.show];
          button.setAttribute("aria-pressed", this.shown[button.dataset.show]);
          this.update();
        });
      }
      for (const button of document.querySelectorAll("[data-turn]")) button.addEventListener("click", () => this.look(button.dataset.turn));
      for (const button of document.querySelectorAll("[data-zoom]")) {
        button.addEventListener("click", () => this.viewer?.zoom(Number(button.dataset.zoom)));
      }
    }

    show(item) {
      this.item = item;
      byId("stage-title").textContent = item.title;
      byId("flat").src = item.image;
      byId("flat").alt = item.about;
      byId("hand").setAttribute("aria-label", `Hand in 3-D, ${item.about}`);
      drawLabels(byId("flat-labels"), item);
      byId("facts").replaceChildren(...item.facts.map(([name, value]) => {
        const row = element("div");
        row.append(element("dt", {}, name), element("dd", {}, value));
        return row;
      }));
      if (this.viewer) this.build(item);
    }

    build(item) {
      if (this.group) {
        this.viewer.scene.remove(this.group);
        this.group.traverse((part) => { part.geometry?.dispose(); part.material?.map?.dispose(); part.material?.dispose(); });
      }
      const group = (this.group = new THREE.Group());
      const add = (name, part) => { part.userData.name = name; group.add(part); };
      add("mesh", handMesh(item.mesh, UNIT_M, true, colour("hand"), item.predicted ? 0.75 : 1));
      add("keypoints", skeleton(item.keypoints));
      if (item.predicted) {
        add("predicted", handMesh(item.predicted.mesh, UNIT_M, true, colour("accent"), 0.85));
        add("predicted", skeleton(item.predicted.keypoints, PREDICTED));
      }
      // The image stands where the camera sees it, just behind the hand.
      let depth = 0;
      const steps = new Int16Array(bytes(item.mesh));
      for (let k = 2; k < steps.length; k += 3) depth = Math.max(depth, steps[k] * UNIT_M);
      depth += item.origin[2] + 0.015;
      const [fx, fy, cx, cy] = item.K;
      const corner = (u, v) => [
        ((u - cx) / fx) * depth - item.origin[0], -(((v - cy) / fy) * depth - item.origin[1]), -(depth - item.origin[2]),
      ];
      const corners = [corner(0, 0), corner(item.side, 0), corner(item.side, item.side), corner(0, item.side)];
      const eye = [-item.origin[0], item.origin[1], item.origin[2]];
      const plane = new THREE.BufferGeometry();
      plane.setAttribute("position", new THREE.BufferAttribute(new Float32Array(corners.flat()), 3));
      plane.setAttribute("uv", new THREE.BufferAttribute(new Float32Array([0, 1, 1, 1, 1, 0, 0, 0]), 2));
      plane.setIndex([0, 1, 2, 0, 2, 3]);
      const texture = new THREE.Texture();
      texture.colorSpace = THREE.SRGBColorSpace;
      const image = new Image();
      image.onload = () => { texture.image = image; texture.needsUpdate = true; this.viewer.draw(); };
      image.src = item.image;
      add("image", new THREE.Mesh(plane, new THREE.MeshBasicMaterial({ map: texture, side: THREE.DoubleSide })));
      add("image", segments(corners.flatMap((point) => [eye, point]), colour("quiet"), 0.7));
      this.viewer.scene.add(group);
      const length = Math.hypot(...eye);
      this.eye = { yaw: Math.atan2(eye[0], eye[2]), pitch: Math.asin(eye[1] / length), length };
      this.look("side");
    }

    look(from) {
      if (!this.viewer || !this.eye) return;
      const view = this.viewer;
      view.yaw = this.eye.yaw + (from === "camera" ? 0 : 0.7);
      view.pitch = this.eye.pitch + (from === "camera" ? 0 : 0.25);
      view.distance = from === "camera" ? this.eye.length : 0.7;
      view.fov = from === "camera" ? (2 * Math.atan(this.item.side / (2 * this.item.K[0])) * 180) / Math.PI * 1.08 : 32;
      this.update();
    }

    update() {
      if (!this.viewer || !this.group) return;
      const on = this.shown;
      for (const part of this.group.children) {
        const name = part.userData.name;
        const isBones = part.type === "Group";
        part.visible = name === "predicted" ? on.predicted && (isBones ? on.keypoints : on.mesh) : on[name];
      }
      this.viewer.draw();
    }
  }

  // ---- gallery ---------------------------------------------------------------------------------------------------------------

  const PAGE = 36;

  function startGallery() {
    const items = data.gallery.items;
    const list = byId("gallery"), form = byId("filters"), labels = byId("labels"), more = byId("more");
    const stage = new Stage();
    let found = items, current = null, drawn = 0;

    function choose(item, byHand) {
      current?.button?.setAttribute("aria-current", "false");
      current = item;
      item.button?.setAttribute("aria-current", "true");
      stage.show(item);
      if (byHand && narrow.matches) {
        byId("stage").scrollIntoView();
        byId("stage-title").focus({ preventScroll: true });
      }
    }

    function tile(item) {
      const button = element("button", { type: "button", "aria-current": String(item === current) });
      const svg = document.createElementNS(SVG, "svg");
      svg.setAttribute("aria-hidden", "true");
      drawLabels(svg, item);
      button.append(element("img", { src: item.image, alt: item.about, decoding: "async" }), svg);
      if (item.corner) button.append(element("span", { class: "corner" }, item.corner));
      button.addEventListener("click", () => choose(item, true));
      item.button = button;
      const entry = element("li");
      entry.append(button);
      return entry;
    }

    function extend() {
      list.append(...found.slice(drawn, drawn + PAGE).map(tile));
      drawn = Math.min(drawn + PAGE, found.length);
      more.hidden = drawn >= found.length;
      more.textContent = `Show more (${found.length - drawn})`;
    }

    function filter() {
      const wanted = [...new FormData(form)].filter(([, value]) => value);
      found = items.filter((item) => wanted.every(([name, value]) => (item.facets[name] || []).includes(value)));
      drawn = 0;
      list.replaceChildren();
      extend();
      const all = data.gallery.total.toLocaleString("en");
      const none = found.length ? "" : " Clear a filter to see more.";
      byId("count").textContent = `${found.length} of the ${items.length} samples on this page match; the dataset has ${all}.${none}`;
      if (found.length && !found.includes(current)) choose(found[0], false);
    }

    form.addEventListener("change", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(filter));
    more.addEventListener("click", () => {
      const next = drawn;
      extend();
      list.children[next]?.firstChild.focus();
    });
    labels.addEventListener("click", () => {
      labels.setAttribute("aria-pressed", String(list.classList.toggle("labelled")));
    });
    form.reset();
    filter();
    dark.addEventListener("change", () => current && stage.viewer && stage.build(current));
  }

  // ---- charts ----------------------------------------------------------------------------------------------------------------

  const CONFIG = { displayModeBar: false, responsive: true };

  function layout(more) {
    const axis = { gridcolor: colour("line"), linecolor: colour("line"), zeroline: false, fixedrange: true, automargin: true, ticks: "" };
    const { xaxis = {}, yaxis = {}, ...rest } = more;
    const titled = (given) => ({ ...axis, ...given, title: { text: given.title || "", standoff: 10, font: { size: 13 } } });
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: false, showlegend: false, hovermode: "closest",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: colour("quiet") },
      margin: { l: 8, r: 10, t: 6, b: 8 }, bargap: 0.06, height: 260,
      hoverlabel: { bgcolor: colour("panel"), bordercolor: colour("line"), font: { color: colour("text"), size: 13 } },
      legend: { orientation: "h", y: 1.0, yanchor: "bottom", x: 0 },
      ...rest, xaxis: titled(xaxis), yaxis: titled(yaxis),
    };
  }

  const SYMBOLS = ["circle", "diamond", "square"];
  // Texts that plotly.js would read as markup.
  const plain = (text) => String(text).replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);
  const unitOf = (axis) => (/\[(.*)\]/.exec(axis) || ["", ""])[1];

  const KINDS = {
    bars(chart) {
      const unit = plain(unitOf(chart.axis)), others = Object.entries(chart.others), labels = chart.labels.map(plain);
      const hover = labels.map((label, k) => `${label}: ${chart.values[k]} ${unit}${chart.counts.length ? ` (${chart.counts[k].toLocaleString("en")})` : ""}`);
      const traces = [{
        type: "bar", orientation: "h", y: labels, x: chart.values, hovertext: hover, hoverinfo: "text", name: plain(chart.series),
        marker: {
          color: chart.colours.length ? chart.colours : colour("accent"),
          line: { width: chart.colours.length ? 1 : 0, color: colour("line") },
        },
      }];
      others.forEach(([name, values], k) => traces.push({
        type: "scatter", mode: "markers", y: labels, x: values, name: plain(name), hovertemplate: `%{x} ${unit}<extra>${plain(name)}</extra>`,
        marker: { color: k ? colour("quiet") : colour("second"), size: 9, symbol: SYMBOLS[k % 3], line: { color: colour("panel"), width: 1.5 } },
      }));
      const height = 25 * labels.length + 64 + (others.length ? 30 : 0);
      return [traces, {
        height: Math.max(height, 150), showlegend: others.length > 0, bargap: 0.3, xaxis: { title: plain(chart.axis), rangemode: "tozero" },
        yaxis: { autorange: "reversed", gridcolor: "rgba(0,0,0,0)", type: "category", dtick: 1 },
      }];
    },
    histogram(chart) {
      const unit = plain(unitOf(chart.axis)), edges = chart.edges;
      const x = chart.shares.map((_, k) => (edges[k] + edges[k + 1]) / 2), width = chart.shares.map((_, k) => edges[k + 1] - edges[k]);
      const hover = chart.shares.map((share, k) => `${edges[k]} to ${edges[k + 1]} ${unit}: ${share} %`);
      return [
        [{ type: "bar", x, width, y: chart.shares, hovertext: hover, hoverinfo: "text", marker: { color: colour("accent") } }],
        { xaxis: { title: plain(chart.axis) }, yaxis: { title: plain(chart.share_axis) } },
      ];
    },
    heat(chart) {
      const z = chart.counts.map((row) => row.map((count) => count || null));
      const traces = [{
        type: "heatmap", x: chart.x, y: chart.y, z, colorscale: [[0, colour("heat-low")], [1, colour("heat-high")]], zmin: 0,
        hovertemplate: `%{z} samples<extra></extra>`, xgap: 1, ygap: 1,
        colorbar: { thickness: 10, outlinewidth: 0, title: { text: "samples", side: "right", font: { size: 12 } }, tickformat: "d", nticks: 6 },
      }];
      if (chart.points.length) traces.push({
        type: "scatter", mode: "markers", x: chart.points[0], y: chart.points[1], name: plain(chart.points_name), hoverinfo: "name",
        marker: { size: 3.5, color: colour("second"), opacity: 0.65 },
      });
      return [traces, {
        height: 320, xaxis: { title: plain(chart.axes[0]), gridcolor: "rgba(0,0,0,0)", nticks: 7 },
        yaxis: { title: plain(chart.axes[1]), gridcolor: "rgba(0,0,0,0)", nticks: 7, ...(chart.square ? { scaleanchor: "x" } : {}) },
      }];
    },
    ranges(chart) {
      const unit = plain(unitOf(chart.axis)), labels = chart.labels.map(plain);
      const bar = (from, to, width, shade, name) => ({
        type: "bar", orientation: "h", y: labels, base: from, x: to.map((value, k) => value - from[k]), width, name,
        marker: { color: shade }, hovertext: labels.map((label, k) => `${label}, ${name}: ${from[k]} to ${to[k]} ${unit}`), hoverinfo: "text",
      });
      const column = (rows, k) => rows.map((row) => row[k]);
      const q = (k) => column(chart.quantiles, k);
      return [[
        bar(column(chart.limits, 0), column(chart.limits, 1), 0.82, colour("band"), "limits"),
        bar(q(0), q(4), 0.14, colour("accent"), "all samples"),
        bar(q(1), q(3), 0.44, colour("accent"), "90 % of samples"),
        {
          type: "scatter", mode: "markers", y: labels, x: q(2), name: "median", hovertemplate: `%{y}, median: %{x} ${unit}<extra></extra>`,
          marker: { color: colour("panel"), size: 7, line: { color: colour("accent"), width: 2 } },
        },
      ], {
        height: 22 * labels.length + 90, barmode: "overlay", showlegend: true, xaxis: { title: plain(chart.axis) },
        yaxis: { autorange: "reversed", gridcolor: "rgba(0,0,0,0)", type: "category", dtick: 1 },
      }];
    },
    lines(chart) {
      const shades = [colour("accent"), colour("second"), colour("good"), colour("quiet")];
      const traces = chart.series.map((series, k) => ({
        type: "scatter", mode: series.x.length < 40 ? "lines+markers" : "lines", x: series.x, y: series.y, name: plain(series.name),
        line: { color: shades[k % shades.length], width: 2, dash: series.dash || "solid" }, marker: { size: 5 },
      }));
      return [traces, {
        height: 340, showlegend: true, hovermode: "x unified", xaxis: { title: plain(chart.axes[0]), nticks: Math.min(9, chart.series[0].x.length) },
        yaxis: { title: plain(chart.axes[1]), rangemode: "tozero" },
      }];
    },
  };

  function drawSphere(place, chart) {
    const canvas = element("canvas", { tabindex: "0", role: "img", "aria-label": `${chart.title}: drag or use the arrow keys to turn` });
    place.replaceChildren(canvas);
    let viewer;
    try {
      viewer = new Viewer(canvas);
    } catch {
      place.replaceChildren(element("p", { class: "note" }, "This browser has no WebGL: the sphere cannot be shown."));
      return;
    }
    viewer.distance = 3.9;
    const count = chart.points.length / 3;
    const positions = new Float32Array(chart.points.map((value) => value / 1000)), tints = new Float32Array(positions.length);
    const low = new THREE.Color(colour("second")), high = new THREE.Color(colour("accent"));
    for (let k = 0; k < count; k++) low.clone().lerp(high, (positions[3 * k + 1] + 1) / 2).toArray(tints, 3 * k);
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(positions, 3));
    geometry.setAttribute("color", new THREE.BufferAttribute(tints, 3));
    viewer.scene.add(new THREE.Points(geometry, new THREE.PointsMaterial({ size: count > 800 ? 3 : 5, sizeAttenuation: false, vertexColors: true })));
    for (const latitude of [-60, -30, 0, 30, 60]) {
      const points = [], phi = (latitude * Math.PI) / 180;
      for (let k = 0; k <= 72; k++) {
        const at = (n) => [Math.cos(phi) * Math.sin((n * Math.PI) / 36), Math.sin(phi), Math.cos(phi) * Math.cos((n * Math.PI) / 36)];
        points.push(at(k), at(k + 1));
      }
      viewer.scene.add(segments(points, colour("quiet"), latitude ? 0.25 : 0.6));
    }
    if (chart.mesh) viewer.scene.add(handMesh(chart.mesh, UNIT_M, false, colour("hand"), 1));
    viewer.draw();
  }

  const known = new Map(data.charts.map((chart) => [chart.id, chart]));

  function drawChart(place) {
    const chart = known.get(place.id);
    place.dataset.drawn = "true";
    if (chart.kind === "sphere") return drawSphere(place, chart);
    const [traces, more] = KINDS[chart.kind](chart);
    return Plotly.react(place, traces, layout(more), CONFIG);
  }

  // A chart is drawn when it comes near the screen: the page is there at once however many it has.
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      observer.unobserve(entry.target);
      drawChart(entry.target);
    }
  }, { rootMargin: "500px" });
  for (const place of document.querySelectorAll(".plot")) observer.observe(place);
  dark.addEventListener("change", () => {
    for (const place of document.querySelectorAll(".plot[data-drawn]")) drawChart(place);
  });

  if (byId("gallery")) startGallery();
  document.documentElement.dataset.ready = "true";
})();
