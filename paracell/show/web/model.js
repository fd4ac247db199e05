// The events of a trace in columns, and what is asked of them.
class Model {
  constructor(data) {
    this.data = data;
    const count = this.count = data.at.length;
    this.at = new Float64Array(count);
    let now = 0;
    for (let i = 0; i < count; i += 1) this.at[i] = now += data.at[i];
    this.row = Int32Array.from(data.row);
    this.lane = Uint8Array.from(data.lane);
    this.group = Uint8Array.from(data.rows, (row) => data.groupOf[row[0]]);
    this.shown = data.groups.map(() => true);
    this.byOrder = false;
    this.matches = [];
    this.isMatch = new Uint8Array(count);
    this.select();
  }
  of(i) { return this.data.rows[this.row[i]]; }
  groupOf(i) { return this.group[this.row[i]]; }
  label(i) { return this.of(i)[4]; }
  // The place of an event on the axis, and where its lane's slice begins: time, or, where many events cost nothing, order.
  x(i) { return this.byOrder ? i + 1 : this.at[i]; }
  from(i) { return i ? this.x(i - 1) : this.byOrder ? 0 : Math.max(0, this.at[0] - this.of(0)[1]); }
  get start() { return this.from(0); }
  get end() { return Math.max(this.x(this.count - 1), this.start + 1); }
  // The first event at or behind a place.
  first(x) {
    let low = 0, high = this.count;
    while (low < high) { const middle = (low + high) >> 1; if (this.x(middle) < x) low = middle + 1; else high = middle; }
    return low;
  }
  // What is listed: the events of the groups that are shown.
  select() {
    const found = new Int32Array(this.count);
    let n = 0;
    const shown = this.data.rows.map((_, row) => this.shown[this.group[row]]);
    for (let i = 0; i < this.count; i += 1) if (shown[this.row[i]]) found[n++] = i;
    this.listed = found.subarray(0, n);
  }
  position(i) {
    let low = 0, high = this.listed.length;
    while (low < high) { const middle = (low + high) >> 1; if (this.listed[middle] < i) low = middle + 1; else high = middle; }
    return low;
  }
  counts() {
    const counts = this.data.groups.map(() => 0);
    for (let i = 0; i < this.count; i += 1) counts[this.groupOf(i)] += 1;
    return counts;
  }
  // Every word must occur in an event's label, symbol, lane or numbers.
  search(text) {
    const wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
    this.isMatch.fill(0);
    this.matches = [];
    if (!wanted.length) return;
    this.texts ??= this.data.rows.map((row) => [row[4], row[2], row[3], ...row[5].map(([name, value, says]) => `${name}=${value} ${says}`)].join(" ").toLowerCase());
    const lanes = this.data.lanes.map((lane) => lane.name.toLowerCase());
    const known = new Map();
    for (let i = 0; i < this.count; i += 1) {
      const key = this.row[i] * lanes.length + this.lane[i];
      let fits = known.get(key);
      if (fits === undefined) known.set(key, fits = wanted.every((word) => this.texts[this.row[i]].includes(word) || lanes[this.lane[i]].includes(word)));
      if (fits) { this.isMatch[i] = 1; this.matches.push(i); }
    }
  }
  registers(i) {
    const found = {};
    for (let j = 0; j <= i; j += 1) if (this.data.registers[j]) Object.assign(found, this.data.registers[j]);
    return found;
  }
  time(cycles) {
    const ns = cycles * 1e9 / this.data.hz;
    return ns < 1e3 ? `${ns.toFixed(0)} ns` : ns < 1e6 ? `${(ns / 1e3).toFixed(2)} µs` : ns < 1e9 ? `${(ns / 1e6).toFixed(3)} ms` : `${(ns / 1e9).toFixed(4)} s`;
  }
}
