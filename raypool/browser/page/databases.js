// The databases of an origin, read and made. Runs in a document of that origin, in a world of its own.
const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

const over = (transaction) => new Promise((resolve, reject) => {
  transaction.oncomplete = () => resolve();
  transaction.onerror = transaction.onabort = () => reject(transaction.error ?? new Error('aborted'));
});

// Opens a database that is there; another version than the present one is never asked for.
async function open(name) {
  const request = indexedDB.open(name);
  request.onupgradeneeded = () => request.transaction.abort(); // it is gone meanwhile: make no empty one
  const database = await done(request);
  database.onversionchange = () => database.close(); // never in the way of the site's own upgrade
  return database;
}

async function databaseNames() {
  return (await indexedDB.databases()).map(({ name }) => name);
}

function storeShape(store) {
  const indexes = [...store.indexNames].map((name) => {
    const { keyPath, unique, multiEntry } = store.index(name);
    return { name, keyPath, unique, multiEntry };
  });
  return { name: store.name, keyPath: store.keyPath, autoIncrement: store.autoIncrement, indexes };
}

// Returns a database as one transaction sees it: { version, stores: [shape], records: { store: [[key,
// value]] }, lost: [why] }; records is null when there are more than *limit* or they are larger than
// *bytes*: then they are asked for store by store. Returns null when there is no such database.
async function databaseOf(name, limit, bytes) {
  if (!(await databaseNames()).includes(name)) return null;
  const database = await open(name);
  let found, raw;
  try {
    const names = [...database.objectStoreNames];
    found = { version: database.version, stores: [], records: {}, lost: [] };
    if (!names.length) return found;
    const transaction = database.transaction(names);
    const stores = names.map((n) => transaction.objectStore(n));
    found.stores = stores.map(storeShape);
    const counts = await Promise.all(stores.map((store) => done(store.count())));
    if (counts.reduce((a, b) => a + b) > limit) return { ...found, records: null };
    raw = await Promise.all(stores.map(async (store) =>
      [store.name, await done(store.getAllKeys()), await done(store.getAll())]));
  } finally {
    database.close();
  }
  let left = bytes;
  for (const [storeName, keys, values] of raw) {
    const encoded = await encodeRecords(keys, values, left);
    if (encoded.next !== undefined) return { ...found, records: null };
    found.records[storeName] = encoded.records;
    found.lost.push(...encoded.lost);
    left -= encoded.size;
  }
  return found;
}

async function encodeRecords(keys, values, bytes) {
  const found = { records: [], lost: [], size: 0 };
  for (let i = 0; i < keys.length; i++) {
    const key = await encode(keys[i]);
    try {
      const record = [key, await encode(values[i])];
      found.size += JSON.stringify(record).length;
      found.records.push(record);
    } catch (error) {
      found.lost.push(error.message);
    }
    if (found.size > bytes && i < keys.length - 1) return { ...found, next: key };
  }
  return found;
}

// Returns up to *limit* records, and not many more than *bytes*, after the key *after* (encoded; null:
// from the first): { records: [[key, value]], lost: [why], next: key or undefined }.
async function recordsOf(name, storeName, after, limit, bytes) {
  const database = await open(name);
  let keys, values;
  try {
    const store = database.transaction(storeName).objectStore(storeName);
    const range = after === null ? null : IDBKeyRange.lowerBound(await decode(after), true);
    [keys, values] = await Promise.all([done(store.getAllKeys(range, limit)), done(store.getAll(range, limit))]);
  } finally {
    database.close();
  }
  const found = await encodeRecords(keys, values, bytes);
  if (found.next === undefined && keys.length === limit) found.next = await encode(keys.at(-1));
  return found;
}

// Returns the next key of a store's generator. Nothing is written: the transaction is taken back.
async function nextKey(name, storeName) {
  const database = await open(name);
  try {
    const transaction = database.transaction(storeName, 'readwrite');
    const key = await done(transaction.objectStore(storeName).add({}));
    transaction.abort();
    return key;
  } catch {
    return undefined; // an index wants a field, or the generator is used up
  } finally {
    database.close();
  }
}

// Makes a database with empty stores; one that is there already is left alone: returns whether it was made.
async function makeDatabase(name, shape) {
  if ((await databaseNames()).includes(name)) return false;
  const request = indexedDB.open(name, shape.version);
  request.onupgradeneeded = () => {
    for (const { name: storeName, keyPath, autoIncrement, next, indexes } of shape.stores) {
      const store = request.result.createObjectStore(storeName, { keyPath, autoIncrement });
      if (next > 1) wind(store, next - 1);
      for (const { name: indexName, keyPath: path, unique, multiEntry } of indexes) {
        store.createIndex(indexName, path, { unique, multiEntry });
      }
    }
  };
  (await done(request)).close();
  return true;
}

// Has a store's generator go on after *last*: a record that is taken out again moves it.
function wind(store, last) {
  if (store.keyPath === null) store.put({}, last);
  else store.put(store.keyPath.split('.').reduceRight((inner, name) => ({ [name]: inner }), last));
  store.delete(last);
}

async function putRecords(name, storeName, records) {
  const decoded = [];
  for (const [key, value] of records) decoded.push([await decode(key), await decode(value)]);
  const database = await open(name);
  try {
    const transaction = database.transaction(storeName, 'readwrite');
    const ended = over(transaction);
    const store = transaction.objectStore(storeName);
    for (const [key, value] of decoded) {
      if (store.keyPath === null) store.put(value, key);
      else store.put(value);
    }
    await ended;
  } finally {
    database.close();
  }
}
