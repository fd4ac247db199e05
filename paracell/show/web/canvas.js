// The lanes: a slice for each stay of whoever runs, a tick for each event; an overview of all above them.
const LABELS = 136, OVERVIEW = 34, AXIS = 26, LANE = 46, GAP = 8;

class Lanes {
  constructor(model, choose, changed) {
    Object.assign(this, { model, choose, changed, chosen: -1 });
    this.from = model.start; this.to = model.end;
    this.width = this.span = 1;
    this.height = OVERVIEW + AXIS + model.data.lanes.length * (LANE + GAP) + 4;
    this.canvas = el("canvas", { id: "lanes", tabindex: 0, role: "img", "aria-label": "who runs, and every event, over time" });
    this.canvas.style.height = this.height + "px";
    this.tip = el("div", { class: "tip", hidden: true });
    this.element = el("div", { class: "lanes" }, this.canvas, this.tip);
    new ResizeObserver(() => this.draw()).observe(this.element);
    Theme.listeners.push(() => this.draw());
    this.bindMouse();
  }
  px(x) { return LABELS + (x - this.from) / (this.to - this.from) * this.span; }
  place(px) { return this.from + (px - LABELS) / this.span * (this.to - this.from); }
  top(lane) { return OVERVIEW + AXIS + lane * (LANE + GAP); }

  view(from, to) {
    const { start, end } = this.model, least = this.model.byOrder ? 4 : 40;
    const wide = Math.min(Math.max(to - from, Math.min(least, end - start)), end - start);
    from = Math.min(Math.max((from + to) / 2 - wide / 2, start), end - wide);
    this.from = from; this.to = from + wide;
    this.draw();
  }
  zoom(factor, around = (this.from + this.to) / 2) { this.view(around - (around - this.from) * factor, around + (this.to - around) * factor); }
  move(share) { const by = (this.to - this.from) * share; this.view(this.from + by, this.to + by); }
  fit() { this.view(this.model.start, this.model.end); }
  show(i) {
    const x = this.model.x(i), wide = this.to - this.from;
    if (x < this.from + wide * 0.02 || x > this.to - wide * 0.02) this.view(x - wide / 2, x + wide / 2); else this.draw();
  }

  bindMouse() {
    const canvas = this.canvas;
    let held = null;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.move((event.deltaX || event.deltaY) / this.span);
      else this.zoom(Math.exp(event.deltaY / 300), this.place(event.offsetX));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      held = { x: event.offsetX, from: this.from, to: this.to, moved: false, overview: event.offsetY < OVERVIEW };
      canvas.setPointerCapture(event.pointerId);
      if (held.overview) this.jump(event.offsetX);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!held) { this.hover(event.offsetX, event.offsetY); return; }
      if (held.overview) { this.jump(event.offsetX); return; }
      if (Math.abs(event.offsetX - held.x) > 3) held.moved = true;
      if (held.moved) { const by = (held.x - event.offsetX) / this.span * (held.to - held.from); this.view(held.from + by, held.to + by); }
    });
    canvas.addEventListener("pointerup", (event) => {
      const was = held; held = null;
      if (was && !was.moved && !was.overview) { const i = this.near(event.offsetX, event.offsetY); if (i >= 0) this.choose(i); }
    });
    canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    canvas.addEventListener("dblclick", (event) => { if (event.offsetY >= OVERVIEW) this.zoom(0.2, this.place(event.offsetX)); });
  }
  jump(px) {
    const { start, end } = this.model, wide = this.to - this.from;
    const middle = start + (px - LABELS) / this.span * (end - start);
    this.view(middle - wide / 2, middle + wide / 2);
  }
  // The event nearest to a point: of its lane, if there is one within 6 pixels.
  near(px, py) {
    const model = this.model, lane = Math.floor((py - this.top(0)) / (LANE + GAP));
    const [first, last] = [model.first(this.place(px - 6)), model.first(this.place(px + 6))];
    let best = -1, least = 7;
    for (let i = first; i < Math.min(last + 1, model.count); i += 1) {
      if (model.lane[i] !== lane || !model.shown[model.groupOf(i)]) continue;
      const distance = Math.abs(this.px(model.x(i)) - px);
      if (distance < least) { least = distance; best = i; }
    }
    return best;
  }
  hover(px, py) {
    const i = this.near(px, py), tip = this.tip;
    this.canvas.style.cursor = i >= 0 ? "pointer" : py < OVERVIEW ? "ew-resize" : "grab";
    tip.hidden = i < 0;
    if (i < 0) return;
    tip.replaceChildren(el("b", {}, this.model.label(i)), el("br"), el("code", {}, this.model.of(i)[3]), el("br"),
      el("span", { class: "soft" }, `${grouped(this.model.at[i])} cycles, cost ${grouped(this.model.of(i)[1])}`));
    tip.style.left = Math.min(px + 12, this.width - 300) + "px";
    tip.style.top = py + 14 + "px";
  }

  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.paint(); this.changed(); });
  }
  paint() {
    const { canvas, model } = this, ratio = devicePixelRatio || 1, width = canvas.clientWidth;
    this.width = width; this.span = Math.max(width - LABELS - 12, 1); // asked for once: the document answers slowly
    if (!width) return;
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(this.height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const style = {};
    for (const name of ["paper", "panel", "ink", "soft", "line", "accent", "mark", ...GROUP_COLOURS, ...new Set(model.data.lanes.map((lane) => lane.colour))]) style[name] = colour(name);
    pen.font = "12px " + getComputedStyle(document.body).fontFamily;
    pen.textBaseline = "middle";
    pen.fillStyle = style.paper; pen.fillRect(0, 0, width, this.height);
    this.paintLanes(pen, style);
    this.paintOverview(pen, style);
  }
  paintLanes(pen, style) {
    const model = this.model;
    model.data.lanes.forEach((lane, number) => {
      const top = this.top(number);
      pen.fillStyle = style.panel; pen.fillRect(LABELS, top, this.span, LANE);
      pen.fillStyle = style[lane.colour]; pen.fillRect(12, top + LANE / 2 - 5, 10, 10);
      pen.fillStyle = style.ink; pen.fillText(lane.name, 29, top + LANE / 2);
    });
    this.paintAxis(pen, style);
    pen.save(); pen.beginPath(); pen.rect(LABELS, OVERVIEW, this.span, this.height); pen.clip();
    const first = Math.max(model.first(this.from) - 1, 0), last = Math.min(model.first(this.to) + 1, model.count);
    if (last - first > 2 * this.span) this.paintShares(pen, style, first, last); else this.paintStays(pen, style, first, last);
    pen.globalAlpha = 1;
    const drawn = new Int32Array(8 * model.data.lanes.length).fill(-1); // one tick for a pixel, lane and group
    for (let i = first; i < last; i += 1) {
      const group = model.groupOf(i);
      if (!model.shown[group]) continue;
      const px = Math.round(this.px(model.x(i)));
      const slot = model.lane[i] * 8 + group;
      if (drawn[slot] === px) continue;
      drawn[slot] = px;
      const band = (LANE - 8) / model.data.groups.length;
      pen.fillStyle = style[GROUP_COLOURS[group]];
      pen.fillRect(px - 1, this.top(model.lane[i]) + 4 + group * band, 2, band);
    }
    for (const i of model.matches.length < 5000 ? model.matches : []) {
      if (i < first || i >= last) continue;
      const px = this.px(model.x(i)), top = this.top(model.lane[i]) + LANE;
      pen.fillStyle = style.accent; pen.beginPath(); pen.moveTo(px, top + 1); pen.lineTo(px - 4, top + GAP - 1); pen.lineTo(px + 4, top + GAP - 1); pen.fill();
    }
    if (this.chosen >= 0) {
      const px = Math.round(this.px(model.x(this.chosen))), top = this.top(model.lane[this.chosen]);
      pen.fillStyle = style.ink; pen.fillRect(px - 0.5, OVERVIEW + AXIS - 4, 1, this.height);
      pen.strokeStyle = style.ink; pen.lineWidth = 2; pen.strokeRect(px - 4, top - 1, 8, LANE + 2);
    }
    pen.restore();
    this.labelStays(pen, style, first, last);
  }
  paintStays(pen, style, first, last) {
    const model = this.model, right = LABELS + this.span;
    pen.globalAlpha = 0.42;
    for (let i = first; i < last;) {
      const lane = model.lane[i], left = Math.max(this.px(model.from(i)), LABELS);
      let j = i;
      while (j + 1 < last && model.lane[j + 1] === lane) j += 1;
      pen.fillStyle = style[model.data.lanes[lane].colour];
      pen.fillRect(left, this.top(lane), Math.max(Math.min(this.px(model.x(j)), right) - left, 1), LANE);
      i = j + 1;
    }
  }
  // Where slices are narrower than a pixel, a pixel is as dark as its lane has a share in it.
  paintShares(pen, style, first, last) {
    const model = this.model, wide = Math.ceil(this.span) + 1, lanes = model.data.lanes.length, shares = new Float32Array(wide * lanes);
    let left = Math.max(this.px(model.from(first)) - LABELS, 0);
    for (let i = first; i < last; i += 1) {
      const right = Math.min(this.px(model.x(i)) - LABELS, this.span), base = model.lane[i] * wide;
      for (let cell = Math.floor(left); cell <= right && cell < wide; cell += 1) shares[base + cell] += Math.max(Math.min(right, cell + 1) - Math.max(left, cell), 0);
      if (right > left) left = right;
    }
    for (let lane = 0; lane < lanes; lane += 1) {
      pen.fillStyle = style[model.data.lanes[lane].colour];
      for (let cell = 0, until; cell < wide; cell = until) { // neighbours that look alike are one rectangle
        const step = Math.ceil(shares[lane * wide + cell] * 16);
        for (until = cell + 1; until < wide && Math.ceil(shares[lane * wide + until] * 16) === step;) until += 1;
        if (step) { pen.globalAlpha = 0.1 + 0.32 * Math.min(step / 16, 1); pen.fillRect(LABELS + cell, this.top(lane), until - cell, LANE); }
      }
    }
  }
  // Where a slice is wide enough, what happened at its end is written into it.
  labelStays(pen, style, first, last) {
    if (last - first > 400) return;
    const model = this.model, free = new Map();
    pen.save(); pen.beginPath(); pen.rect(LABELS, OVERVIEW, this.span, this.height); pen.clip();
    pen.font = "11px " + getComputedStyle(document.body).fontFamily;
    for (let i = last - 1; i >= first; i -= 1) {
      if (!model.shown[model.groupOf(i)]) continue;
      const lane = model.lane[i], px = this.px(model.x(i)), until = Math.max(this.px(model.from(i)), LABELS), text = model.label(i);
      const size = pen.measureText(text).width;
      if (px - until < size + 12 || px > (free.get(lane) ?? Infinity) || px - size - 6 < LABELS) continue;
      pen.fillStyle = style.ink; pen.fillText(text, px - size - 6, this.top(lane) + LANE / 2);
      free.set(lane, px - size - 8);
    }
    pen.restore();
  }
  paintAxis(pen, style) {
    const model = this.model, wide = this.to - this.from;
    const rough = wide / Math.max(this.span / 130, 1), power = 10 ** Math.floor(Math.log10(rough));
    const step = Math.max([1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough), 1);
    const y = OVERVIEW + AXIS / 2 + 2;
    pen.fillStyle = style.soft; pen.fillText(model.byOrder ? "event" : "cycles", 12, y);
    pen.textAlign = "center";
    for (let tick = Math.ceil(this.from / step) * step; tick <= this.to; tick += step) {
      const px = Math.round(this.px(tick));
      pen.fillStyle = style.line; pen.fillRect(px, OVERVIEW + AXIS - 3, 1, this.height);
      const text = grouped(tick), half = pen.measureText(text).width / 2;
      if (px - half > LABELS - 20 && px + half < this.width) { pen.fillStyle = style.soft; pen.fillText(text, px, y); }
    }
    pen.textAlign = "left";
  }
  paintOverview(pen, style) {
    const model = this.model, cells = Math.max(Math.floor(this.span / 2), 1), counts = new Float64Array(cells * model.data.lanes.length);
    const { start, end } = model;
    const key = `${cells} ${model.byOrder} ${model.shown}`;
    if (this.overviewKey !== key) {
      for (let i = 0; i < model.count; i += 1) {
        if (!model.shown[model.groupOf(i)]) continue;
        const cell = Math.min(Math.floor((model.x(i) - start) / (end - start) * cells), cells - 1);
        counts[cell * model.data.lanes.length + model.lane[i]] += 1;
      }
      this.overview = counts; this.overviewKey = key;
    }
    const lanes = model.data.lanes.length;
    let most = 1;
    for (let cell = 0; cell < cells; cell += 1) { let n = 0; for (let lane = 0; lane < lanes; lane += 1) n += this.overview[cell * lanes + lane]; most = Math.max(most, n); }
    pen.fillStyle = style.soft; pen.fillText("all events", 12, OVERVIEW / 2 + 2);
    for (let cell = 0; cell < cells; cell += 1) {
      let y = OVERVIEW - 2;
      for (let lane = 0; lane < lanes; lane += 1) {
        const n = this.overview[cell * lanes + lane];
        if (!n) continue;
        const high = Math.max(Math.log1p(n) / Math.log1p(most) * (OVERVIEW - 8) / 1.5, 1);
        pen.fillStyle = style[model.data.lanes[lane].colour]; pen.fillRect(LABELS + cell * 2, Math.max(y - high, 4), 2, Math.min(high, y - 4));
        y = Math.max(y - high, 4);
      }
    }
    const left = LABELS + (this.from - start) / (end - start) * this.span, wide = Math.max((this.to - this.from) / (end - start) * this.span, 3);
    pen.globalAlpha = 0.12; pen.fillStyle = style.accent; pen.fillRect(left, 2, wide, OVERVIEW - 4);
    pen.globalAlpha = 1; pen.strokeStyle = style.accent; pen.lineWidth = 1; pen.strokeRect(left + 0.5, 2.5, Math.max(wide - 1, 2), OVERVIEW - 5);
  }
}
