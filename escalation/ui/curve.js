// The assumed curves, drawn so that every point can be dragged, or moved with the arrow keys.
const NS = "http://www.w3.org/2000/svg"
const HEIGHT = 250, LEFT = 44, RIGHT = 40, TOP = 24, BOTTOM = 30
const DASHES = ["", "7 4", "2 3", "9 3 2 3"]

function drawn(parent, name, attributes, text) {
  const found = document.createElementNS(NS, name)
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value)
  if (text !== undefined) found.textContent = text
  parent.append(found)
  return found
}

// Circle, square, triangle, diamond: a curve is told by its marks as well as by its colour.
function mark(shape, r) {
  if (shape === 0) return `M ${-r} 0 A ${r} ${r} 0 1 0 ${r} 0 A ${r} ${r} 0 1 0 ${-r} 0 Z`
  if (shape === 1) return `M ${-r} ${-r} H ${r} V ${r} H ${-r} Z`
  if (shape === 2) return `M 0 ${-r - 1} L ${r + 1} ${r} H ${-r - 1} Z`
  return `M 0 ${-r - 2} L ${r + 2} 0 L 0 ${r + 2} L ${-r - 2} 0 Z`
}

class Curves {
  constructor(root) {
    this.svg = drawn(root, "svg", { height: HEIGHT, role: "group" })
    this.moved = new Map() // points moved and not answered yet, with where they are now
    this.asked = null // the move whose answer is awaited
    new ResizeObserver(() => this.draw()).observe(root.host ?? root)
  }

  show(data, send) {
    if (this.asked && this.moved.get(this.asked.point) === this.asked.value) this.moved.delete(this.asked.point)
    const top = this.svg.onpointermove ? this.data.top : data.top // the scale stays under a finger
    Object.assign(this, { data: { ...data, top }, send, asked: null })
    this.draw()
    this.tell()
  }

  // One question at a time: the next is asked once the page has answered the last.
  tell() {
    if (this.asked || !this.moved.size) return
    const [point, value] = this.moved.entries().next().value
    this.asked = { point, value }
    this.send(this.asked)
  }

  value(k) {
    return this.moved.get(k) ?? this.data.values[k]
  }

  get width() {
    return Math.max(this.svg.getBoundingClientRect().width, 240)
  }

  x(k) {
    const { columns, column } = this.data
    return LEFT + ((column[k] + 0.5) * (this.width - LEFT - RIGHT)) / columns.length
  }

  y(value) {
    return TOP + (1 - value / this.data.top) * (HEIGHT - TOP - BOTTOM)
  }

  draw() {
    if (!this.data) return
    const { columns, series, column, target, within, top, label } = this.data
    const focused = this.svg.getRootNode().activeElement?.dataset.point
    const right = this.width - RIGHT
    this.svg.replaceChildren()
    this.svg.setAttribute("aria-label", label)
    for (let percent = 0; percent <= top; percent += 10) {
      drawn(this.svg, "line", { x1: LEFT, x2: right, y1: this.y(percent), y2: this.y(percent), class: "rule" })
      drawn(this.svg, "text", { x: LEFT - 6, y: this.y(percent) + 4, "text-anchor": "end" }, `${percent}%`)
    }
    if (within > 0) {
      const [from, to] = [this.y(Math.min(target + within, top)), this.y(target - within)]
      drawn(this.svg, "rect", { x: LEFT, y: from, width: right - LEFT, height: to - from, class: "band" })
    }
    drawn(this.svg, "line", { x1: LEFT, x2: right, y1: this.y(target), y2: this.y(target), class: "target" })
    drawn(this.svg, "text", { x: LEFT + 4, y: this.y(target) - 5 }, `target ${target / 100}`)
    const step = (right - LEFT) / columns.length
    columns.forEach((name, c) =>
      drawn(this.svg, "text", { x: LEFT + (c + 0.5) * step, y: HEIGHT - 8, "text-anchor": "middle" }, name),
    )
    series.forEach((one, s) => {
      const line = one.points.map((k) => `${this.x(k)},${this.y(this.value(k))}`).join(" ")
      drawn(this.svg, "polyline", { points: line, class: "curve", stroke: one.colour, "stroke-dasharray": DASHES[s % 4] })
      const last = one.points.at(-1)
      const beside = { x: this.x(last) + 14, y: this.y(this.value(last)) + 4, class: "name" }
      if (series.length > 1) drawn(this.svg, "text", beside, one.name)
    })
    series.forEach((one, s) => one.points.forEach((k) => this.point(k, one, s % 4, column[k])))
    if (focused !== undefined) this.svg.querySelector(`[data-point="${focused}"]`)?.focus()
  }

  point(k, one, shape) {
    const value = this.value(k)
    const point = drawn(this.svg, "g", {
      role: "slider",
      tabindex: 0,
      class: this.data.series.length > 1 ? "point quiet" : "point",
      transform: `translate(${this.x(k)} ${this.y(value)})`,
      "data-point": k,
      "aria-label": `Drag ${this.data.names[k]}`,
      "aria-orientation": "vertical",
      "aria-valuemin": 0,
      "aria-valuemax": this.data.most,
      "aria-valuenow": value,
      "aria-valuetext": `${value} %`,
    })
    drawn(point, "circle", { r: 20, class: "reach" })
    drawn(point, "path", { d: mark(shape, 6), fill: one.colour, class: "mark" })
    drawn(point, "text", { y: -14, "text-anchor": "middle", class: "value" }, `${value}%`)
    point.onpointerdown = (event) => {
      event.preventDefault()
      point.focus()
      this.svg.setPointerCapture(event.pointerId)
      this.svg.onpointermove = (to) => this.move(k, this.at(to.clientY))
      this.svg.onpointerup = this.svg.onpointercancel = () => (this.svg.onpointermove = null)
    }
    point.onkeydown = (event) => {
      const by = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 }[event.key]
      if (by === undefined) return
      event.preventDefault()
      this.move(k, this.value(k) + by * this.data.step)
    }
  }

  at(clientY) {
    const box = this.svg.getBoundingClientRect()
    return this.data.top * (1 - (clientY - box.top - TOP) / (HEIGHT - TOP - BOTTOM))
  }

  move(k, value) {
    const { step, most } = this.data
    this.moved.set(k, Math.min(Math.max(Math.round(value / step) * step, 0), most))
    this.draw()
    this.tell()
  }
}

const shown = new WeakMap()

export default function ({ parentElement, data, setTriggerValue }) {
  if (!shown.has(parentElement)) shown.set(parentElement, new Curves(parentElement))
  shown.get(parentElement).show(data, (move) => setTriggerValue("moved", move))
}
