// localStorage and sessionStorage of a document, as what changed since they were last asked for.
const given = { local: { epoch: 0, items: new Map() }, session: { epoch: 0, items: new Map() } };

// Returns { epoch, whole, changed: [[name, value]], gone: [name] }, null for a document without storage.
// *epoch* is the one that the asker got last: if it is another, an answer was lost and all is told.
function changesOf(which, epoch) {
  let now;
  try {
    now = new Map(Object.entries(which === 'local' ? localStorage : sessionStorage));
  } catch {
    return null;
  }
  const before = given[which];
  const whole = before.epoch !== epoch;
  const known = whole ? new Map() : before.items;
  const changed = [...now].filter(([name, value]) => known.get(name) !== value);
  const gone = [...known.keys()].filter((name) => !now.has(name));
  given[which] = { epoch: before.epoch + 1, items: now };
  return { epoch: before.epoch + 1, whole, changed, gone };
}

// *wanted*: { local: epoch, session: epoch }, either may be missing.
function look(wanted) {
  return {
    local: 'local' in wanted ? changesOf('local', wanted.local) : null,
    session: 'session' in wanted ? changesOf('session', wanted.session) : null,
    scroll: [Math.round(scrollX), Math.round(scrollY)],
  };
}

// Writes items into a storage that has none; one that has some is newer than they are. Returns whether
// the document may use this storage.
function fillStorage(which, items) {
  let storage;
  try {
    storage = which === 'local' ? localStorage : sessionStorage;
  } catch {
    return false;
  }
  if (!storage.length) for (const [name, value] of items) storage.setItem(name, value);
  return true;
}
