// The origin private file system, read and written. Runs in a document of its origin, in a world of its own.
const LONGEST_PATH = 4096;
const SWAP = '.crswap'; // what is being written: Chromium shows it beside the file that it is to replace

const gone = (error) => {
  if (error.name !== 'NotFoundError') throw error; // removed while we look: that is no loss
  return null;
};

async function* entriesOf(folder, path = '') {
  let empty = true;
  const entries = folder.entries();
  for (;;) {
    const { value, done } = await entries.next().catch(gone) ?? { done: true };
    if (done) break;
    const [name, handle] = value;
    if (name.endsWith(SWAP)) continue;
    empty = false;
    if (handle.kind === 'directory' && path.length < LONGEST_PATH) yield* entriesOf(handle, `${path}${name}/`);
    else yield [path + name, handle];
  }
  if (empty && path) yield [path, null];
}

// Returns { files: [[path, size, modified]], folders: [path of an empty one], lost: [[path, why]] };
// nothing where there is no such file system: in an insecure document, or where the site may store nothing.
// A list that would be longer than *most* characters ends early and says that there is more.
async function listFiles(most) {
  const found = { files: [], folders: [], lost: [], more: false };
  const root = await navigator.storage?.getDirectory().catch((error) => {
    if (error.name !== 'SecurityError') throw error;
  });
  if (!root) return found;
  const asked = [];
  for await (const [path, handle] of entriesOf(root)) {
    most -= path.length + 40;
    if (most < 0) {
      found.more = true;
      break;
    }
    if (!handle) found.folders.push(path);
    else if (handle.kind === 'directory') found.lost.push([path.slice(0, 80), 'it lies too deep']);
    else asked.push(handle.getFile().catch(gone).then(
      (file) => file && found.files.push([path, file.size, file.lastModified]),
      (error) => found.lost.push([path, error.name])));
  }
  await Promise.all(asked);
  return found;
}

async function markFiles(most) {
  const { files, folders, lost } = await listFiles(most);
  const listing = new TextEncoder().encode(JSON.stringify([files, folders, lost].map((list) => list.sort())));
  const hash = await crypto.subtle?.digest('SHA-256', listing); // without it there is no file system either
  return hash ? Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, '0')).join('') : '';
}

async function handleOf(path, create = false) {
  const names = path.split('/');
  const last = names.pop();
  let folder = await navigator.storage.getDirectory();
  for (const name of names) folder = await folder.getDirectoryHandle(name, { create });
  return last ? folder.getFileHandle(last, { create }) : folder;
}

const contentOf = (blob) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(',') + 1));
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(blob);
});

// Returns the base64 of each [path, size, modified, from, to], null when it is gone, or { lost: why }: also when
// the file is not the one that was listed, of which other pieces were read.
function readPieces(pieces) {
  return Promise.all(pieces.map(async ([path, size, modified, from, to]) => {
    try {
      const file = await (await handleOf(path)).getFile();
      if (file.size !== size || file.lastModified !== modified) return { lost: 'it changed meanwhile' };
      return await contentOf(file.slice(from, to));
    } catch (error) {
      return error.name === 'NotFoundError' ? null : { lost: error.name };
    }
  }));
}

// Writes each [path, from, base64]; of a folder only the path. Returns [[path, why]] of what failed.
async function writePieces(pieces) {
  const lost = [];
  for (const [path, from, base64] of pieces) {
    await writePiece(path, from, base64).catch((error) => lost.push([path, error.name]));
  }
  return lost;
}

async function writePiece(path, from, base64) {
  const data = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const handle = await handleOf(path, true);
  if (handle.kind === 'directory') return;
  try {
    const stream = await handle.createWritable({ keepExistingData: true });
    await stream.write({ type: 'write', position: from, data });
    await stream.close();
  } catch (error) {
    await handle.remove(); // half a file is worse than none
    throw error;
  }
}
