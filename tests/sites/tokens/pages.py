"""What the sites show: ``#who`` when somebody is signed in, else a button ``#sign-in``."""

NO_STORAGE = "no storage"
_HEAD = '<!doctype html><link rel="icon" href="data:,"><title>{title}</title>'
_BODY = """<p id="who" hidden>Signed in</p><button id="sign-in" hidden>Sign in</button>
<script>
const show = (signedIn) => {
  document.getElementById("who").hidden = !signedIn;
  document.getElementById("sign-in").hidden = signedIn;
};
const post = async (path, body) => {
  const answer = await fetch(path, { method: "POST", body });
  return answer.ok ? answer.text() : null;
};
const onSignIn = (work) => { document.getElementById("sign-in").onclick = work; };
</script>"""

OIDC = (
    _HEAD.replace("{title}", "oidc")
    + """<script>
// What is not there for the first script is missing for good, as with oidc-client.
const found = sessionStorage.getItem("oidc.user");
</script>"""
    + _BODY
    + """<script>
const keep = (token) => {
  if (token) sessionStorage.setItem("oidc.user", token);
  else sessionStorage.removeItem("oidc.user");
  show(Boolean(token));
};
const renew = async () => keep(await post("renew", sessionStorage.getItem("oidc.user") ?? ""));
const start = () => { setInterval(renew, EVERY); return renew(); };
onSignIn(async () => { sessionStorage.setItem("oidc.user", await post("sign-in")); await start(); });
if (found) start();
else post("sign-out").then(() => show(false));
</script>"""
)

FIREBASE = (
    _HEAD.replace("{title}", "firebase")
    + _BODY
    + """<script>
const NAME = "firebaseLocalStorageDb", STORE = "firebaseLocalStorage";
const KEY = "firebase:authUser:key:[DEFAULT]";
const settled = (request) => new Promise((done, fail) => {
  request.onsuccess = () => done(request.result);
  request.onerror = () => fail(request.error);
});
const opened = async () => {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "fbase_key" });
  const database = await settled(request);
  if (database.objectStoreNames.contains(STORE)) return database;
  database.close();
  await settled(indexedDB.deleteDatabase(NAME));
  return opened();
};
const read = async () => {
  const database = await opened();
  const kept = await settled(database.transaction(STORE).objectStore(STORE).get(KEY));
  return kept?.value.stsTokenManager.refreshToken;
};
onSignIn(async () => {
  const refreshToken = await post("sign-in");
  const change = (await opened()).transaction(STORE, "readwrite");
  const value = { uid: "owner", stsTokenManager: { refreshToken, expirationTime: Date.now() } };
  change.objectStore(STORE).put({ fbase_key: KEY, value });
  change.oncomplete = () => location.assign(WELCOME);
});
read().then(async (token) => show(Boolean(token && await post("who", token) !== null)));
</script>"""
)

WELCOME = _HEAD.replace("{title}", "welcome") + '<p id="who">Signed in</p>'

FRAMED = (
    _HEAD.replace("{title}", "framed")
    + _BODY
    + """<iframe src="WIDGET"></iframe><script>
const frame = document.querySelector("iframe").contentWindow;
addEventListener("message", (event) => { if (event.source === frame) show(event.data.signedIn); });
onSignIn(() => frame.postMessage("sign-in", "*"));
</script>"""
)

WIDGET = (
    _HEAD.replace("{title}", "widget")
    + """<script>
const post = (path, body) => fetch(path, { method: "POST", body });
// A browser may refuse storage to frames of other sites; the cookie is all there is then.
const storage = (() => { try { return localStorage; } catch { return null; } })();
const look = async () => {
  const answer = await post("who", storage ? storage.getItem("widget.token") ?? "" : "REFUSED");
  await answer.text();
  parent.postMessage({ signedIn: answer.ok }, "*");
};
addEventListener("message", async (event) => {
  if (event.data !== "sign-in") return;
  const token = await (await post("sign-in")).text();
  storage?.setItem("widget.token", token);
  await look();
});
look();
</script>"""
)

ELSEWHERE = _HEAD.replace("{title}", "elsewhere") + "<p>Nothing to see here</p>"
AROUND = _HEAD.replace("{title}", "around") + '<iframe name="inner" src="INNER"></iframe>'
