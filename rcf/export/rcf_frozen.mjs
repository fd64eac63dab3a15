/* A frozen model in JavaScript, for browsers and Node.js. It calls rcf_frozen.c, which is compiled to WebAssembly by
 *
 *     clang --target=wasm32 -std=c99 -O3 -ffp-contract=off -msimd128 -mbulk-memory -nostdlib -Wl,--no-entry \
 *         -Wl,--export=rcf_open,--export=rcf_keep_boxes,--export=rcf_score,--export=rcf_attribution,--export=__heap_base \
 *         -o rcf_frozen.wasm rcf_frozen.c
 *
 *     const module = await WebAssembly.compile(bytesOfWasm)   // once, for any number of models
 *     const forest = new FrozenForest(module, bytesOfModel)
 *     forest.score([1.0, 2.0, 3.0]) > forest.threshold
 */
export class FrozenForest {
  constructor(module, file, { boxes = true } = {}) { // boxes: keep the boxes in memory to score seven times as fast
    this.c = new WebAssembly.Instance(module).exports
    this.end = this.c.__heap_base.value
    const model = this.model = this.take(128) // room for the struct rcf_model, whose first fields are read below
    const data = this.take(file.byteLength)
    new Uint8Array(this.c.memory.buffer).set(new Uint8Array(file.buffer ?? file, file.byteOffset ?? 0, file.byteLength), data)
    const wrong = this.c.rcf_open(model, data, file.byteLength)
    const view = new DataView(this.c.memory.buffer)
    if (wrong) {
      const text = new Uint8Array(this.c.memory.buffer, wrong)
      throw new Error(new TextDecoder().decode(text.slice(0, text.indexOf(0))))
    }
    this.features = view.getUint32(model, true)
    this.threshold = view.getFloat64(model + 16, true)
    const [work, memory] = [24, 28].map(at => view.getUint32(model + at, true))
    this.work = this.take(work)
    if (boxes) this.c.rcf_keep_boxes(model, this.take(memory))
    this.x = this.take(8 * this.features)
    this.out = this.take(16 * this.features)
  }

  take(bytes) { // allocates memory and returns its address, which is divisible by 8
    const at = this.end = Math.ceil(this.end / 8) * 8
    this.end += bytes
    const missing = this.end - this.c.memory.buffer.byteLength
    if (missing > 0) this.c.memory.grow(Math.ceil(missing / 65536))
    return at
  }

  put(record) {
    if (record.length !== this.features) throw new RangeError(`the record has ${record.length} features, not ${this.features}`)
    new Float64Array(this.c.memory.buffer, this.x, this.features).set(record)
  }

  score(record) { // NaN if a number is not finite
    this.put(record)
    return this.c.rcf_score(this.model, this.x, this.work)
  }

  attribution(record) { // for each feature two numbers: the part for a high value and the part for a low value
    this.put(record)
    if (!this.c.rcf_attribution(this.model, this.x, this.work, this.out)) return new Float64Array(2 * this.features).fill(NaN)
    return new Float64Array(this.c.memory.buffer, this.out, 2 * this.features).slice()
  }
}
