// Values of IndexedDB as JSON and back: all that a structured clone holds and that can be read here.
//
// JSON's own kinds stand for themselves. Everything else is {"$": kind, …}. Objects are numbered in the
// order in which they are met, so that {"$": "same", "v": n} can name one that was met before: cycles and
// shared objects come back as they were.
const TYPED = ['Int8Array', 'Uint8Array', 'Uint8ClampedArray', 'Int16Array', 'Uint16Array', 'Int32Array',
  'Uint32Array', 'Float16Array', 'Float32Array', 'Float64Array', 'BigInt64Array', 'BigUint64Array', 'DataView'];
const ERRORS = { Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };

const kindOf = (value) => Object.prototype.toString.call(value).slice(8, -1);

function toBase64(buffer) {
  const bytes = new Uint8Array(buffer);
  let text = '';
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
}

// Throws for what cannot be carried; the message says what it is.
async function encode(value, seen = new Map()) {
  switch (typeof value) {
    case 'boolean': case 'string': return value;
    case 'undefined': return { $: 'undefined' };
    case 'bigint': return { $: 'bigint', v: String(value) };
    case 'number':
      return Number.isFinite(value) && !Object.is(value, -0)
        ? value : { $: 'number', v: Object.is(value, -0) ? '-0' : String(value) };
  }
  if (value === null) return null;
  if (seen.has(value)) return { $: 'same', v: seen.get(value) };
  seen.set(value, seen.size);
  return encodeObject(value, kindOf(value), (inner) => encode(inner, seen));
}

async function encodeObject(value, kind, inner) {
  const all = async (items) => {
    const found = [];
    for (const item of items) found.push(await inner(item)); // in order: the numbers depend on it
    return found;
  };
  switch (kind) {
    case 'Array': return encodeArray(value, inner);
    case 'Object': return encodeFields(value, inner);
    case 'Date': return { $: 'date', v: await inner(value.getTime()) };
    case 'RegExp': return { $: 'regexp', v: [value.source, value.flags] };
    case 'Map': return { $: 'map', v: await all([...value].flat()) };
    case 'Set': return { $: 'set', v: await all(value) };
    case 'Boolean': case 'Number': case 'String': case 'BigInt': return { $: 'boxed', v: await inner(value.valueOf()) };
    case 'ArrayBuffer':
      return { $: 'buffer', v: toBase64(value), ...(value.resizable && { most: value.maxByteLength }) };
    case 'Blob': return { $: 'blob', type: value.type, v: toBase64(await value.arrayBuffer()) };
    case 'File':
      return { $: 'file', name: value.name, type: value.type, modified: value.lastModified,
        v: toBase64(await value.arrayBuffer()) };
    case 'Error':
      return { $: 'error', name: value.name, stack: value.stack,
        ...(Object.hasOwn(value, 'message') && { message: value.message }),
        ...('cause' in value && { cause: await inner(value.cause) }) };
    case 'DOMException': return { $: 'exception', name: value.name, message: value.message };
    case 'CryptoKey': return encodeKey(value);
  }
  if (TYPED.includes(kind)) {
    const length = kind === 'DataView' ? value.byteLength : value.length;
    return { $: 'view', kind, offset: value.byteOffset, length, v: await inner(value.buffer) };
  }
  throw new Error(kind);
}

async function encodeArray(value, inner) {
  const items = [];
  for (let i = 0; i < value.length; i++) items.push(i in value ? await inner(value[i]) : { $: 'hole' });
  return items;
}

async function encodeFields(value, inner) {
  const fields = [];
  for (const name of Object.keys(value)) fields.push([name, await inner(value[name])]);
  // Object.fromEntries would lose "__proto__", and "$" means something else.
  const plain = fields.every(([name]) => name !== '$' && name !== '__proto__');
  return plain ? Object.fromEntries(fields) : { $: 'object', v: fields };
}

async function encodeKey(key) {
  if (!key.extractable) throw new Error('CryptoKey that cannot be exported');
  return { $: 'key', jwk: await crypto.subtle.exportKey('jwk', key), algorithm: await encode(key.algorithm),
    usages: [...key.usages] };
}

async function decode(data, seen = []) {
  if (typeof data !== 'object' || data === null) return data;
  const place = (made) => { seen.push(made); return made; };
  if (Array.isArray(data)) {
    const made = place(new Array(data.length));
    for (let i = 0; i < data.length; i++) if (data[i]?.$ !== 'hole') made[i] = await decode(data[i], seen);
    return made;
  }
  switch (data.$) {
    case undefined: return fill(place({}), Object.entries(data), seen);
    case 'object': return fill(place({}), data.v, seen);
    case 'undefined': return undefined;
    case 'bigint': return BigInt(data.v);
    case 'number': return Number(data.v);
    case 'same': return seen[data.v];
    case 'date': return place(new Date(await decode(data.v)));
    case 'regexp': return place(new RegExp(...data.v));
    case 'map': return fillMap(place(new Map()), data.v, seen);
    case 'set': return fillSet(place(new Set()), data.v, seen);
    case 'boxed': return place(Object(await decode(data.v)));
    case 'buffer': return place(decodeBuffer(data));
    case 'blob': return place(new Blob([fromBase64(data.v)], { type: data.type }));
    case 'file':
      return place(new File([fromBase64(data.v)], data.name, { type: data.type, lastModified: data.modified }));
    case 'error': return withCause(place(decodeError(data)), data, seen);
    case 'exception': return place(new DOMException(data.message, data.name));
    case 'key': return place(await crypto.subtle.importKey('jwk', data.jwk, await decode(data.algorithm), true, data.usages));
    case 'view': {
      const index = seen.push(null) - 1; // the view was met before its buffer
      const buffer = await decode(data.v, seen);
      return (seen[index] = new globalThis[data.kind](buffer, data.offset, data.length));
    }
  }
  throw new Error(`unknown kind ${data.$}`);
}

async function fill(made, fields, seen) {
  for (const [name, value] of fields) {
    const field = { value: await decode(value, seen), writable: true, enumerable: true, configurable: true };
    Object.defineProperty(made, name, field); // "__proto__" too is only a name here
  }
  return made;
}

async function fillMap(made, flat, seen) {
  for (let i = 0; i < flat.length; i += 2) {
    const key = await decode(flat[i], seen);
    made.set(key, await decode(flat[i + 1], seen));
  }
  return made;
}

async function fillSet(made, items, seen) {
  for (const item of items) made.add(await decode(item, seen));
  return made;
}

function decodeBuffer({ v, most }) {
  const content = fromBase64(v);
  if (most === undefined) return content;
  const made = new ArrayBuffer(content.byteLength, { maxByteLength: most });
  new Uint8Array(made).set(new Uint8Array(content));
  return made;
}

async function withCause(made, data, seen) {
  if ('cause' in data) {
    const cause = { value: await decode(data.cause, seen), writable: true, configurable: true };
    Object.defineProperty(made, 'cause', cause);
  }
  return made;
}

function decodeError(data) {
  const made = new (ERRORS[data.name] ?? Error)(data.message);
  Object.defineProperty(made, 'stack', { value: data.stack, writable: true, configurable: true });
  return made;
}
