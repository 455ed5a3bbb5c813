// The page's side of the chat. What others wrote is only ever set as text, never as HTML.

const $ = (id) => document.getElementById(id);

const log = $("log");
const composer = $("composer");
const text = $("text");
const door = $("door");

const address = new URL(document.body.dataset.address, location.href);
address.protocol = address.protocol.replace("http", "ws");

const FIRST_WAIT = 500; // milliseconds; doubles with every failure
const LONGEST_WAIT = 15_000;

let name = sessionStorage.getItem("name"); // one for each tab
let me = null;
let people = new Map();
let socket = null;
let failures = 0;
let timer = 0;
let atEnd = true; // the log is scrolled down, and stays so
const shown = new Map(); // messages on the page: their row by ref
const pending = new Map(); // said, but not yet heard back from the server: text by ref

// ---- The connection -------------------------------------------------------------

function connect() {
  clearTimeout(timer);
  if (socket && socket.readyState <= WebSocket.OPEN) return;
  showState("connecting", failures ? "Reconnecting" : "Connecting");
  socket = new WebSocket(address);
  socket.onopen = () => tell({ type: "join", name, again: me !== null });
  socket.onmessage = (event) => hear(JSON.parse(event.data));
  socket.onclose = (event) => {
    socket = null;
    if (event.code === 1008) {
      showState("refused", "Refused by the server");
      return;
    }
    wait();
  };
}

function wait() {
  const longest = Math.min(FIRST_WAIT * 2 ** failures++, LONGEST_WAIT);
  const until = Date.now() + longest * (0.5 + Math.random() / 2); // not all at once
  showState("waiting", me ? "Connection lost" : "No connection");
  const tick = () => {
    const left = until - Date.now();
    if (left <= 0) return connect();
    $("state-wait").textContent = `· retry in ${Math.ceil(left / 1000)} s`;
    timer = setTimeout(tick, Math.min(left, 250));
  };
  tick();
}

function tell(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

const hears = {
  welcome({ you, people: present, messages }) {
    const returned = me !== null;
    me = you;
    failures = 0;
    people = new Map(present.map((person) => [person.id, person]));
    showPeople();
    showState("open", "Connected");
    log.setAttribute("aria-live", "off"); // a history is not read out
    for (const message of messages) show(message);
    requestAnimationFrame(() => log.removeAttribute("aria-live"));
    if (returned) notice("You", "are back.");
    for (const [ref, said] of pending) tell({ type: "say", text: said, ref });
  },
  joined({ person, again }) {
    people.set(person.id, person);
    showPeople();
    if (!again) notice(person.name, "came in.");
  },
  left({ person }) {
    people.delete(person.id);
    showPeople();
    notice(person.name, "left.");
  },
  renamed({ person, before }) {
    people.set(person.id, person);
    if (person.id === me.id) me = person;
    showPeople();
    notice(before, `is now \u2068${person.name}\u2069.`);
  },
  said({ message }) {
    show(message);
  },
};

function hear(message) {
  hears[message.type]?.(message);
}

// ---- What the page shows --------------------------------------------------------

function showState(state, words) {
  $("state").dataset.state = state;
  $("state-text").textContent = words;
  $("state-wait").textContent = "";
  $("retry").hidden = state === "open" || (state === "connecting" && !failures);
}

function element(tag, className, content = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = content;
  return made;
}

function face(person) {
  const initials = [...person.name.matchAll(/(?<=^|\s)\S/gu)].map(String).slice(0, 2);
  const made = element("span", "face", initials.join("").toUpperCase());
  made.setAttribute("aria-hidden", "true");
  let hash = 0;
  for (const letter of person.name) hash = Math.imul(hash ^ letter.codePointAt(0), 0x9e3779b1);
  made.style.setProperty("--hue", (hash >>> 8) % 360);
  return made;
}

function showPeople() {
  for (const place of document.querySelectorAll("[data-count]")) place.textContent = people.size;
  const mine = ({ id }) => id === me.id;
  const sorted = [...people.values()].sort(
    (a, b) => mine(b) - mine(a) || a.name.localeCompare(b.name),
  );
  $("people-list").replaceChildren(
    ...sorted.map((person) => {
      const row = element("li", "");
      row.append(face(person), element("bdi", "name", person.name));
      if (mine(person)) row.append(element("span", "you", "you"));
      return row;
    }),
  );
}

function append(row) {
  log.append(row);
  $("empty").hidden = true;
  if (atEnd || row.classList.contains("mine")) toEnd();
  else $("latest").hidden = false;
}

function toEnd() {
  log.scrollTop = log.scrollHeight;
  atEnd = true;
  $("latest").hidden = true;
}

function notice(who, words) {
  const row = element("li", "notice");
  row.append(element("bdi", "", who), ` ${words}`);
  append(row);
}

function show({ ref, person, text: said, time }, isPending = false) {
  const earlier = shown.get(ref);
  if (earlier) {
    earlier.classList.remove("pending");
    pending.delete(ref);
    return;
  }
  const isMine = isPending || refs.has(ref);
  const above = log.lastElementChild;
  const author = isMine ? "me" : `${person.id}`;
  const follows = above?.dataset.author === author && time - above.dataset.time < 300_000;
  const row = element("li", `row last${isMine ? " mine" : ""}${isPending ? " pending" : ""}`);
  row.dataset.author = author;
  row.dataset.time = time;
  if (follows) {
    above.classList.remove("last");
    row.append(element("span", "unseen", `${person.name}: `));
  } else {
    row.classList.add("first");
    if (!isMine) row.append(face(person));
    const who = element("p", "who");
    const clock = element("time", "", new Date(time).toLocaleTimeString([], { timeStyle: "short" }));
    clock.dateTime = new Date(time).toISOString();
    who.append(element("bdi", isMine ? "unseen" : "", isMine ? "You" : person.name), clock);
    row.append(who);
  }
  const bubble = element("div", "bubble", said);
  bubble.dir = "auto";
  row.append(bubble);
  shown.set(ref, row);
  append(row);
}

// ---- What the person does -------------------------------------------------------

const refs = new Set(JSON.parse(sessionStorage.getItem("refs") ?? "[]")); // what this tab said

function newRef() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  const ref = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  refs.add(ref);
  sessionStorage.setItem("refs", JSON.stringify([...refs].slice(-100)));
  return ref;
}

function fit() {
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + 2}px`;
  composer.querySelector(".send").disabled = !text.value.trim();
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const said = text.value.trim();
  if (!said || !me) return;
  const ref = newRef();
  pending.set(ref, said);
  show({ ref, person: me, text: said, time: Date.now() }, true);
  tell({ type: "say", text: said, ref });
  text.value = "";
  fit();
  text.focus();
});

text.addEventListener("input", fit);
text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  composer.requestSubmit();
});

log.addEventListener("scroll", () => {
  atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  if (atEnd) $("latest").hidden = true;
});
// A phone's keyboard came or went, or the field below grew.
new ResizeObserver(() => atEnd && toEnd()).observe(log);
$("latest").addEventListener("click", toEnd);

function showPeoplePanel(wanted) {
  $("people").classList.toggle("shown", wanted);
  $("people-switch").setAttribute("aria-expanded", wanted);
}
$("people-switch").addEventListener("click", () => {
  showPeoplePanel(!$("people").classList.contains("shown"));
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") showPeoplePanel(false);
});

function openDoor() {
  $("name").value = name ?? "";
  door.showModal();
  $("name").select();
}

door.addEventListener("close", () => {
  if (!name) openDoor(); // nobody comes in without one
});

$("door-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const chosen = $("name").value.trim();
  if (!chosen) return;
  if (me && name !== chosen) tell({ type: "rename", name: chosen });
  name = chosen;
  sessionStorage.setItem("name", name);
  door.close();
  showPeoplePanel(false);
  text.focus();
  connect();
});

$("rename").addEventListener("click", openDoor);
$("retry").addEventListener("click", connect);
addEventListener("online", () => name && connect());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && name) connect();
});

if (name) {
  connect();
  text.focus();
} else {
  openDoor();
}
